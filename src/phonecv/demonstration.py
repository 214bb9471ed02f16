"""The whole way on embedded pictures: data, training, evaluation, fusing, export, comparison, report.

About two minutes on two cores, without network or accelerator. It promises results and says when it misses them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from phonecv.api import evaluate, predict
from phonecv.benchmarking.count import count_cost, count_parameters
from phonecv.classify.config import ClassifyConfig, LossConfig
from phonecv.classify.predict import write_predictions
from phonecv.classify.result import ClassificationResult
from phonecv.data.folders.listing import Listing, read_split
from phonecv.data.folders.transforms import AugmentConfig, eval_transform
from phonecv.data.pictures.opening import open_image
from phonecv.data.samples import write_classification
from phonecv.exporting import EXPORTERS, ExportResult, export
from phonecv.files import write_json
from phonecv.models import VisionModel
from phonecv.models.fusing import FORM_TOLERANCE, form_difference, fuse
from phonecv.report import write_report
from phonecv.text import counted
from phonecv.training import train
from phonecv.training.groups import (
    DataConfig,
    EmaConfig,
    ModelConfig,
    OptimizerConfig,
    RunConfig,
    ScheduleConfig,
)
from phonecv.weights import load_checkpoint, save_checkpoint

#: What the demo promises: top-1 on held-out digits in percent, and how many classes ONNX Runtime may choose otherwise.
TOP1_PROMISE = 95.0
TRAIN_IMAGES, VAL_IMAGES, SIZE, EPOCHS = 9000, 1000, 64, 6


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the demo did.

    Attributes:
        folder: the run folder.
        report: the page to open.
        evaluation: of the trained network.
        forms: parameters, bytes, multiply-adds of both forms, and their largest relative difference.
        exported: the ONNX file.
        same: pictures for which ONNX Runtime and PyTorch choose the same class.
        seconds: everything.
        failures: promises missed; empty when all is well.
    """

    folder: Path
    report: Path
    evaluation: ClassificationResult
    forms: dict[str, Any]
    exported: ExportResult
    same: int
    seconds: float
    failures: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether every promise was kept."""
        return not self.failures


def demo_config(data: Path, folder: Path, seed: int, *, epochs: int = EPOCHS) -> ClassifyConfig:
    """The demo's training; every setting is one that `phonecv train` takes.

    The network is EMO-1M at its real widths with fewer blocks, which learned the digits with less than half of
    the computing that the whole EMO-1M, EMOv2-1M or MobileOne-S0 took. At 64 px its last maps have 4 x 4 and
    2 x 2 cells, so one attention window over the whole map replaces the 7 x 7 windows, which would be padding for
    the most part. The digits' shapes repeat, so held-out ones need strong augmentation (without: 95.5 % and no more);
    there is no flip, because digits are not mirrored.
    """
    return ClassifyConfig(
        model=ModelConfig(name="emo_1m", drop_path=0.0, overrides={"depths": [1, 1, 3, 1], "window": 0}),
        data=DataConfig(path=str(data), batch_size=32, eval_batch_size=100, size=SIZE, crop=1.0),
        augment=AugmentConfig(
            scale=(0.7, 1.0), hflip=0.0, auto_augment="rand-m5-n2-mstd0.5-inc1", interpolation="bilinear"
        ),
        loss=LossConfig(smoothing=0.05),
        optimizer=OptimizerConfig(lr=2e-3, lr_batch=0),
        schedule=ScheduleConfig(
            epochs=epochs, warmup_epochs=epochs / 10, warmup_lr=1e-5, min_lr=1e-5, scale_ends=False
        ),
        ema=EmaConfig(enabled=False),
        run=RunConfig(
            out=str(folder), seed=seed, device="cpu", channels_last=True, eval_every=2, log_every=25, audit=False
        ),
    )


def demo(
    out: Path | str,
    *,
    seed: int = 0,
    epochs: int | None = None,
    train_images: int = TRAIN_IMAGES,
    val_images: int = VAL_IMAGES,
    say: Callable[[str], None] = print,
) -> DemoResult:
    """Run the demo into a folder; the same call goes on where an interrupted one stopped.

    Args:
        out: run folder.
        seed: of pictures and training.
        epochs: instead of the demo's own number, for a quick look.
        train_images: pictures to train on.
        val_images: held-out pictures.
        say: takes the lines for the person.

    Returns:
        The figures; `failures` names promises that were missed.

    Raises:
        UserError: something it needs is not installed, or the folder holds another run.
    """
    start = time.perf_counter()
    folder = Path(out)
    EXPORTERS["onnx"].require()
    say(f"1/6  pictures: handwritten digits on photographs, {SIZE} px, into {folder / 'data'}")
    data = write_classification(folder / "data", train=train_images, val=val_images, size=SIZE, seed=seed)
    config = demo_config(data, folder, seed) if epochs is None else demo_config(data, folder, seed, epochs=epochs)
    say(f"2/6  training {config.model.name}: {counted(config.schedule.epochs, 'epochs')}, {train_images:,} pictures")
    result = train(config)
    network = load_checkpoint(None, result.best or result.last or folder / "best.safetensors")
    listing = read_split(data, "val")
    evaluation = evaluate(network, listing, device="cpu", out=folder / "evaluation")
    say(f"3/6  held-out digits: {evaluation.accuracy}")

    forms = compare_forms(network, listing, folder)
    say("4/6  fusing")
    for line in form_lines(forms):
        say(f"     {line}")

    exported = export(network, folder / "deploy.onnx")
    check: Any = evaluate(exported.path, listing)
    same = agreement(evaluation, check)
    say(f"5/6  {exported.path}: {exported.bytes / 1e6:.2f} MB, {counted(exported.operators, 'operators')}")
    say(
        f"     ONNX Runtime: {check.accuracy}; same top-1 as PyTorch for {same}/{check.count} "
        f"({100 * same / check.count:.2f} %)"
    )
    write_json(
        folder / "export.json",
        exported.to_dict()
        | {
            "agreement": {
                "runtime": "ONNX Runtime",
                "same": same,
                "count": check.count,
                "top1": check.top1,
                "reference_top1": evaluation.top1,
            }
        },
    )
    shown = [listing.samples[index] for index in range(0, len(listing), max(1, len(listing) // 24))][:24]
    write_predictions(
        predict(network, [sample.path for sample in shown], device="cpu"),
        folder / "predictions",
        title="Held-out digits (mistakes in colour)",
        truth={sample.path: listing.classes[sample.label] for sample in shown},
    )
    report = write_report(folder, title="phonecv demo: digits on photographs")
    seconds = time.perf_counter() - start
    say(f"6/6  report: {report} (opens in a browser, no network needed); {seconds:.0f} s in all")
    failures = missed(evaluation, forms, same, check.count)
    for failure in failures:
        say(f"FAILED: {failure}")
    return DemoResult(folder, report, evaluation, forms, exported, same, seconds, failures)


def compare_forms(network: VisionModel, listing: Listing, folder: Path) -> dict[str, Any]:
    """Save both forms, count them, and compare their outputs on pictures; also written to forms.json."""
    network = network.eval()
    fused = fuse(network)
    transform = eval_transform(network.preprocessing)
    step = max(1, len(listing) // 16)
    images = torch.stack([transform(open_image(listing.samples[i].path)) for i in range(0, len(listing), step)][:16])
    size = network.preprocessing.size
    rows: dict[str, dict[str, int]] = {}
    for form, model in (("training", network), ("deploy", fused)):
        path = save_checkpoint(model, folder / f"{form}.safetensors")
        rows[form] = {
            "parameters": count_parameters(model),
            "bytes": path.stat().st_size,
            "macs": count_cost(model, size).macs,
            "layers": sum(not any(m.children()) and not isinstance(m, torch.nn.Identity) for m in model.modules()),
        }
    forms = {"size": size, "forms": rows, "difference": form_difference(network, fused, images)}
    write_json(folder / "forms.json", forms)
    return forms


def form_lines(forms: dict[str, Any]) -> list[str]:
    """The two forms as lines for a terminal."""
    lines = [
        f"{form:8}  {row['parameters']:>9,} parameters  {row['bytes'] / 1e6:6.2f} MB  "
        f"{row['macs'] / 1e6:7.2f} M multiply-adds at {forms['size']} px"
        for form, row in forms["forms"].items()
    ]
    return [*lines, f"largest relative difference of their outputs: {forms['difference']:.1e}"]


def agreement(first: ClassificationResult, second: ClassificationResult) -> int:
    """For how many pictures two evaluations choose the same class."""
    chosen = {image.path: image.predicted for image in first.images}
    return sum(chosen.get(image.path) == image.predicted for image in second.images)


def missed(evaluation: ClassificationResult, forms: dict[str, Any], same: int, count: int) -> tuple[str, ...]:
    """The promises that were not kept, as texts."""
    failures = []
    if evaluation.top1_percent < TOP1_PROMISE:
        failures.append(f"top-1 {evaluation.top1_percent:.2f} % is below the promised {TOP1_PROMISE:g} %")
    if not forms["difference"] <= FORM_TOLERANCE:
        failures.append(f"the forms differ by {forms['difference']:.1e}, promised are at most {FORM_TOLERANCE:.0e}")
    if same != count:
        failures.append(f"ONNX Runtime chooses another class than PyTorch for {count - same} of {count} pictures")
    return tuple(failures)
