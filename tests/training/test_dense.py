"""Detectors and segmenters in the one engine: what a run leaves, where it starts from, what it refuses."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from conftest import TINY, mostly_long
from phonecv import (
    create_detector,
    create_model,
    create_segmenter,
    load_checkpoint,
    read_checkpoint,
    save_checkpoint,
)
from phonecv.api import evaluate
from phonecv.detect.config import DetectConfig
from phonecv.detect.tiling import Tiles
from phonecv.detect.training import DetectObjective, DetectSetup, train_transform
from phonecv.errors import UserError
from phonecv.exporting import export
from phonecv.inspection import info
from phonecv.segment.config import SegmentConfig
from phonecv.segment.training import SegmentSetup
from phonecv.training import load_config, recipe_names, train
from phonecv.training.guard import FiniteGuard, NonFiniteLoss
from phonecv.training.job import with_shared_batches
from phonecv.training.launch import launch
from phonecv.training.world import World
from training.conftest import DENSE, SEGMENTERS, TINIER, Configure

DIGITS = tuple("0123456789")
EVERY = mostly_long(DENSE, "ssdlite320", "mask_rcnn_fpn", "segformer")


@pytest.mark.parametrize("architecture", EVERY)
def test_a_run_leaves_its_files(architecture: str, configure_dense: Configure) -> None:
    result = train(configure_dense(architecture, "schedule.epochs=1"))
    assert result.finished
    names = {path.name for path in result.run_dir.iterdir()}
    assert names >= {"config.yaml", "metrics.csv", "summary.json", "state.pt", "last.safetensors"}
    task = "segment" if architecture in SEGMENTERS else "detect"
    summary = json.loads((result.run_dir / "summary.json").read_text())
    assert summary["score"] == ("miou" if task == "segment" else "ap")

    steps = result.steps
    losses = {"deeplabv3": ["ce", "aux"], "segformer": ["ce"]}.get(architecture, ["cls", "box"])
    losses += ["rpn_cls", "rpn_box", "mask"] if architecture == "mask_rcnn_fpn" else []
    assert len(steps) == 2
    for row in steps:
        assert row["loss"] == pytest.approx(
            sum(row[name] for name in losses if len(losses) > 1) or row["loss"], rel=1e-5
        )
    evaluated = next(row for row in result.history if f"val_{summary['score']}" in row)
    for net in ("val", "ema"):
        assert 0 <= evaluated[f"{net}_{summary['score']}"] <= 100
    if task == "detect":
        assert evaluated["val_images"] == 5
        assert ("val_mask_ap" in evaluated) == (architecture == "mask_rcnn_fpn")

    assert result.last is not None
    model = load_checkpoint(None, result.last)
    classes = ("background", *DIGITS) if task == "segment" else DIGITS
    assert (model.task, model.architecture, model.class_names) == (task, architecture, classes)
    assert model.preprocessing.size == (64 if architecture == "ssdlite320" else 48)
    record = read_checkpoint(result.last).record
    assert record is not None
    assert record["training"]["weights"] == "net"
    facts = dict(info(str(result.last)).fields())
    assert facts["task"] == f"{'segmenter' if task == 'segment' else 'detector'}, {architecture}"
    assert facts["backbone"] == "emov2_1m"


def test_rare_classes_count_for_more(configure_dense: Configure) -> None:
    plain = SegmentSetup(configure_dense("segformer"))
    assert plain.network().class_weights is None
    tuned = SegmentSetup(configure_dense("segformer", "segment.balance=0.5"))
    network = tuned.network()
    counts = torch.zeros(network.num_classes)
    for index in range(len(tuned.train)):
        labels = torch.from_numpy(tuned.train.read_label(index)).long()
        counts += torch.stack([(labels == label).sum() for label in range(network.num_classes)])
    expected = counts.clamp(min=float(counts[counts > 0].min())) ** -0.5
    assert network.class_weights is not None
    torch.testing.assert_close(network.class_weights / network.class_weights[0], expected / expected[0])
    assert "class_weights" not in network.state_dict()


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [((), 32), (("segment.transform=published",), 1), (("segment.multiple=16",), 16)],
)
def test_evaluation_pads_to_what_the_strides_divide(
    configure_dense: Configure, overrides: tuple[str, ...], expected: int
) -> None:
    assert SegmentSetup(configure_dense("segformer", *overrides)).network().preprocessing.multiple == expected


def evaluated(model: Any, config: Any) -> float:
    result: Any = evaluate(model, config.data.path)
    return result.figures["ap"] if config.task == "detect" else 100 * result.scores.miou


@pytest.mark.parametrize("architecture", ["ssdlite320", "segformer"])
def test_of_gray_pictures(architecture: str, configure_dense: Configure, tmp_path: Path) -> None:
    config = configure_dense(architecture, "model.in_chans=1", "schedule.epochs=1")
    result = train(config)
    assert result.best is not None
    net: Any = load_checkpoint(None, result.best)
    assert (net.in_chans, net.preprocessing.channels, net.backbone.in_chans) == (1, 1, 1)
    found = evaluated(net, config)
    assert found == pytest.approx(result.best_score, abs=0.01)
    if architecture == "segformer":
        done = export(net, tmp_path / "gray.onnx", images=config.data.path, bake=True)
        assert json.loads(done.record.read_text())["inputs"][0]["shape"][0] == 1
        assert evaluated(done.path, config) == pytest.approx(found, abs=0.1)


def test_a_run_learns(configure_dense: Configure) -> None:
    result = train(configure_dense("segformer", "schedule.epochs=12", "run.eval_every=12", "optimizer.lr=0.005"))
    rows = [row["loss"] for row in result.steps]
    assert rows[-1] < 0.8 * rows[0]
    assert result.best_score is not None


def test_the_settings_reach_network_and_steps(configure_dense: Configure) -> None:
    config = configure_dense(
        "ssdlite320", "data.passes=3", "schedule.epochs=1", "optimizer.accumulate=2", "data.mean=[0.1, 0.2, 0.3]"
    )
    result = train(config)
    state = torch.load(result.run_dir / "state.pt", weights_only=True)
    assert state["progress"]["step"] == 6  # 3 x 8 pictures in steps of 4
    assert load_checkpoint(None, str(result.last)).preprocessing.mean == (0.1, 0.2, 0.3)
    counted = train(configure_dense("segformer", "schedule.epochs=2", "schedule.epoch_steps=3", out="steps"))
    assert [row["step"] for row in counted.history if "val_miou" in row] == [3, 6]


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {name for name, value in before.items() if not torch.equal(value, after[name])}


def test_frozen_stages_and_fixed_statistics(configure_dense: Configure, tmp_path: Path) -> None:
    torch.manual_seed(1)
    backbone = create_model("emov2_1m", num_classes=4, **TINIER["emov2_1m"]).train()
    with torch.no_grad():
        backbone(torch.rand(8, 3, 64, 64))  # statistics that are not the initial ones
    start = save_checkpoint(backbone, tmp_path / "start.safetensors")
    config = configure_dense(
        "ssdlite320",
        f"model.weights={start}",
        "model.overrides.frozen_stages=1",
        "model.overrides.norm_eval=true",
        "schedule.epochs=1",
    )
    result = train(config)
    before = {f"backbone.{name}": value for name, value in load_file(start).items()}
    after = load_file(str(result.last))
    shared = {name: value for name, value in before.items() if name in after}
    assert len(shared) > 50
    moved = changed(shared, after)
    assert not any(name.startswith(("backbone.stage0.", "backbone.stage1.")) for name in moved)
    assert not any("running" in name or "num_batches" in name for name in moved)
    assert any(name.startswith("backbone.stage3.") for name in moved)
    assert any("norm.weight" in name for name in moved)  # scale and shift still train
    # The heads' statistics are not the backbone's.
    assert any("extras" in name and "running_mean" in name and bool(value.any()) for name, value in after.items())


def test_a_detector_goes_on_from_one_with_other_classes(
    configure_dense: Configure, caplog: pytest.LogCaptureFixture
) -> None:
    first = train(configure_dense("ssdlite320", "schedule.epochs=1", "model.num_classes=12", out="first"))
    assert load_checkpoint(None, str(first.last)).num_classes == 12
    still = ("optimizer.lr=1e-9", "schedule.warmup_lr=0", "schedule.min_lr=0")
    again = configure_dense("ssdlite320", f"model.weights={first.last}", "schedule.epochs=1", *still, out="second")
    second = train(again)
    assert "stay fresh" in caplog.text
    start, end = load_file(str(first.last)), load_file(str(second.last))
    same = [name for name in end if start[name].shape == end[name].shape and name.endswith("weight")]
    assert sum(start[name].shape != end[name].shape for name in end) == 12  # weight and bias of six class heads
    for name in same:
        torch.testing.assert_close(end[name], start[name], rtol=1e-3, atol=1e-5)
    # A segmenter takes over the backbone alone.
    third = configure_dense("segformer", f"model.weights={first.last}", "schedule.epochs=1", out="third")
    assert train(third).finished


def test_an_unreadable_picture_is_counted_and_replaced(
    configure_dense: Configure, scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(scenes, folder)
    for split in ("training", "validation"):
        next((folder / "images" / split).glob("*.jpg")).write_bytes(b"no picture")
    for architecture, figure in (("ssdlite320", "val_images"), ("segformer", "val_miou")):
        config = configure_dense(
            architecture, f"data.path={folder}", "data.max_bad=0.2", "schedule.epochs=1", out=architecture
        )
        result = train(config)
        assert result.finished
        assert len((result.run_dir / "bad_images.csv").read_text().splitlines()) == 3
        assert "2 pictures could not be read" in capsys.readouterr().out
        row = next(row for row in result.history if figure in row)
        assert figure != "val_images" or row[figure] == 4
    with pytest.raises(UserError, match=r"more than data\.max_bad=0"):
        train(configure_dense("ssdlite320", f"data.path={folder}", "data.max_bad=0", out="strict"))


def test_a_bad_annotation_is_told_before_training(
    configure_dense: Configure, scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "bad"
    shutil.copytree(scenes, folder)
    path = folder / "annotations" / "instances_train.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["bbox"] = [1, 2, -3, 4]
    path.write_text(json.dumps(content))
    assert train(configure_dense("ssdlite320", f"data.path={folder}", "schedule.epochs=1")).finished
    assert "negative width or height; it is left out" in capsys.readouterr().out


def edited(scenes: Path, folder: Path, edit: Callable[[dict[str, Any]], object], *splits: str) -> Path:
    """A copy of the scenes whose annotations are edited."""
    shutil.copytree(scenes, folder)
    for split in splits or ("train", "val"):
        path = folder / "annotations" / f"instances_{split}.json"
        content = json.loads(path.read_text())
        edit(content)
        path.write_text(json.dumps(content))
    return folder


def test_nothing_to_learn_is_refused(configure_dense: Configure, scenes: Path, tmp_path: Path) -> None:
    def empty(content: dict[str, Any]) -> None:
        content["annotations"] = []

    def crowds(content: dict[str, Any]) -> None:
        for record in content["annotations"]:
            record["iscrowd"] = 1

    for name, edit, message in (("empty", empty, "has an object"), ("crowds", crowds, "iscrowd=1")):
        folder = edited(scenes, tmp_path / name, edit, "train")
        with pytest.raises(UserError, match=f"nothing to learn: .*{message}"):
            train(configure_dense("ssdlite320", f"data.path={folder}", out=f"{name}-run"))
        assert not (tmp_path / f"{name}-run").exists()
        other = edited(scenes, tmp_path / f"{name}-val", edit, "val")
        told = DetectSetup(configure_dense("ssdlite320", f"data.path={other}")).findings()
        assert [line for line in told if "nothing judged by it" in line], told


def test_detectors_show_what_the_audit_finds(configure_dense: Configure, scenes: Path, tmp_path: Path) -> None:
    def corners(content: dict[str, Any]) -> None:
        for record in content["annotations"]:
            left, top, width, height = record["bbox"]
            record["bbox"] = [left, top, left + width, top + height]

    plain = DetectSetup(configure_dense("ssdlite320"))
    folder = edited(scenes, tmp_path / "corners", corners)
    told = DetectSetup(configure_dense("ssdlite320", f"data.path={folder}")).findings()
    (named,) = [line for line in told if "detect.boxes=xyxy" in line]
    assert named.startswith("error: annotations/instances_train.json"), told
    assert "instances_val.json" in named, "one line for both files"
    assert {line for line in told if line != named} == set(plain.findings())
    setup = DetectSetup(configure_dense("ssdlite320", f"data.path={folder}", "detect.boxes=xyxy"))
    assert setup.findings() == plain.findings()
    assert torch.equal(setup.train.targets(0)["boxes"], plain.train.targets(0)["boxes"])


def test_missing_pictures_count_as_bad_ones(configure_dense: Configure, scenes: Path, tmp_path: Path) -> None:
    folder = edited(scenes, tmp_path / "missing", lambda content: None)
    next((folder / "images" / "training").glob("*.jpg")).unlink()
    with pytest.raises(UserError, match=r"1 of \d+ pictures are not there, more than data\.max_bad=0\.01"):
        DetectSetup(configure_dense("ssdlite320", f"data.path={folder}", "data.max_bad=0.01"))
    result = train(configure_dense("ssdlite320", f"data.path={folder}", "data.max_bad=0.2", "schedule.epochs=1"))
    assert result.finished
    assert "no such file" in (result.run_dir / "bad_images.csv").read_text()


def test_pictures_of_other_sizes_are_refused_at_once(configure_dense: Configure, scenes: Path, tmp_path: Path) -> None:
    def exchange(content: dict[str, Any]) -> None:
        for image in content["images"]:
            image["width"], image["height"] = image["height"], image["width"] + 1

    folder = edited(scenes, tmp_path / "sizes", exchange)
    with pytest.raises(UserError, match=r"detect\.sizes=pictures"):
        DetectSetup(configure_dense("ssdlite320", f"data.path={folder}"))
    setup = DetectSetup(configure_dense("ssdlite320", f"data.path={folder}", "detect.sizes=pictures"))
    assert [line for line in setup.findings() if "that of the pictures is used" in line]


def test_a_label_out_of_range_is_told_and_left_out(
    configure_dense: Configure, scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "strange"
    shutil.copytree(scenes, folder)
    path = next((folder / "annotations" / "training").glob("*.png"))
    labels = np.asarray(Image.open(path)).copy()
    labels[:9, :9] = 77
    Image.fromarray(labels).save(path)
    config = configure_dense("segformer", f"data.path={folder}", "data.max_bad=0.2", "schedule.epochs=1")
    result = train(config)
    assert result.finished
    before, _, _ = capsys.readouterr().out.partition("parameters, ")
    assert "77" in before
    assert path.stem in (result.run_dir / "bad_images.csv").read_text()


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_checkpoint(
    configure_dense: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, calls = DetectObjective.losses, []

    def losses(self: DetectObjective, model: nn.Module, batch: Any) -> dict[str, Tensor]:
        calls.append(1)
        found = original(self, model, batch)
        return found | {"box": found["box"] * float("nan")} if len(calls) == 4 else found

    monkeypatch.setattr(DetectObjective, "losses", losses)
    config = configure_dense("ssdlite320", "schedule.epochs=3")
    with pytest.raises(NonFiniteLoss) as caught:
        train(config)
    message = str(caught.value)
    assert "step 4: cls=" in message
    assert "box=nan" in message
    assert "the inputs hold values from" in message
    out = Path(config.run.out)
    load_checkpoint(None, out / "last.safetensors")
    state = torch.load(out / "state.pt", weights_only=True)
    assert state["progress"]["epoch"] == 1
    assert all(bool(value.isfinite().all()) for value in state["net"].values())


def test_the_guard_looks_through_pictures_of_different_sizes() -> None:
    pictures = [torch.zeros(3, 4, 5, dtype=torch.uint8), torch.full((3, 2, 9), 250, dtype=torch.uint8)]
    FiniteGuard().watch(1, 0.1, {"cls": torch.tensor(1.0)}, pictures)
    with pytest.raises(NonFiniteLoss, match="values from 0 to 250"):
        FiniteGuard().watch(1, 0.1, {"cls": torch.tensor(float("inf"))}, pictures)
    with pytest.raises(NonFiniteLoss, match="inputs themselves hold values that are not finite"):
        FiniteGuard().watch(1, 0.1, {"cls": torch.tensor(float("nan"))}, [torch.tensor([[[float("nan")]]])])


@pytest.mark.parametrize(
    ("architecture", "overrides", "message"),
    [
        ("ssdlite320", ("detect.architecture=ssdlite",), "did you mean 'ssdlite"),
        ("segformer", ("segment.architecture=segformers",), "did you mean 'segformer'"),
        ("ssdlite320", ("detect.options.sise=3",), "has no option 'sise'; did you mean 'size'"),
        ("segformer", ("segment.options.chanels=3",), "did you mean 'channels'"),
        ("ssdlite320", ("model.num_classes=3",), "model.num_classes=3, but the data has 10 classes"),
        ("ssdlite320", ("detect.score=mask_ap",), "ssdlite320 finds no masks"),
        ("ssdlite320", ("data.longest=100",), "stretches pictures to a square"),
        ("ssdlite320", ("data.batch_size=64",), "do not fill one batch of"),
        ("ssdlite320", ("detect.train_annotations=nothing.json",), "no such file"),
        ("ssdlite320", ("data.path=/nowhere/at/all",), "no such folder"),
        ("segformer", ("data.path=",), "no data set was given"),
        ("segformer", ("segment.val_images=nowhere",), "no such folder"),
        ("ssdlite320", ("model.freeze=[stem]",), "fits no parameter"),
        ("ssdlite320", ("detect.min_size=1000",), "short side of 1000 pixels"),
    ],
)
def test_what_cannot_start_says_why(
    architecture: str, overrides: tuple[str, ...], message: str, configure_dense: Configure
) -> None:
    with pytest.raises(UserError) as caught:
        train(configure_dense(architecture, *overrides))
    assert message in str(caught.value)


def test_a_detector_trained_in_tiles(configure_dense: Configure, scenes: Path) -> None:
    """Training sees tiles, validation whole pictures in tiles; the checkpoint, and whoever runs it, keep to them."""
    config = configure_dense("ssdlite320", "detect.tile=40", "detect.tile_overlap=0.3", "schedule.epochs=1")
    data = DetectSetup(config).data(DetectSetup(config).network(), World(), 0)
    assert data.train_size > 8  # pictures of 80 x 60 pixels
    assert f"8 training pictures are looked at in {data.train_size} tiles of 40 pixels" in data.note
    assert data.train_set.tiles is not None
    sides = data.train_set.tiles.views[:, 2:] - data.train_set.tiles.views[:, :2]
    assert {tuple(side) for side in sides.tolist()} == {(40, 40), (80, 60)}
    batch = next(iter(data.train_loader(0, 0)))
    assert all("ignored" in target for target in batch.targets)
    result = train(config)
    assert result.best is not None
    net: Any = load_checkpoint(None, result.best)
    assert net.tiles == Tiles(40, 0.3)
    found, plain = evaluate(result.best, scenes), evaluate(result.best, scenes, tile=0)
    assert found.details["tiles"] == {"side": 40, "overlap": 0.3, "whole": True}
    assert "tiles" not in plain.details
    assert len(found.found) != len(plain.found)
    assert json.loads((Path(config.run.out) / "summary.json").read_text())


def test_ssd_transform_wants_a_square(configure_dense: Configure) -> None:
    with pytest.raises(UserError, match="retinanet_fpn keeps their aspect"):
        train(configure_dense("retinanet_fpn", "detect.transform=ssd"))


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("architecture", mostly_long(["mask_rcnn_fpn", "deeplabv3"], "deeplabv3"))
def test_two_processes_hold_the_same_and_see_every_picture_once(
    architecture: str, configure_dense: Configure, scenes: Path, tmp_path: Path
) -> None:
    # Two training pictures lose their objects: heads that then have nothing to learn must not hold up the others.
    folder = tmp_path / "some"
    shutil.copytree(scenes, folder)
    path = folder / "annotations" / "instances_train.json"
    content = json.loads(path.read_text())
    content["annotations"] = [entry for entry in content["annotations"] if entry["image_id"] > 5]
    path.write_text(json.dumps(content))
    config = configure_dense(architecture, f"data.path={folder}", "data.eval_batch_size=2", out="two")
    launch("training.workers:compare", config, 2)
    first, second = json.loads((Path(config.run.out) / "report.json").read_text())
    assert first["sums"] == second["sums"]  # live and averaged, parameters and statistics
    assert sorted(first["val"] + second["val"]) == list(range(5))
    assert sorted(first["train"] + second["train"]) == list(range(8))
    with (Path(config.run.out) / "metrics.csv").open(newline="") as file:
        last = list(csv.DictReader(file))[-1]
    if architecture == "deeplabv3":
        assert float(last["val_aacc"]) >= 0
    else:
        assert last["val_images"] == last["ema_images"] == "5"


def test_figures_over_processes_equal_those_of_one(configure_dense: Configure) -> None:
    """Evaluation alone: the same network, one process, in batches of different sizes."""
    rows = []
    for size in (1, 5):
        result = train(
            configure_dense("segformer", "schedule.epochs=1", f"data.eval_batch_size={size}", out=f"b{size}")
        )
        rows.append(next(row for row in result.history if "val_miou" in row))
    assert rows[0]["val_miou"] == pytest.approx(rows[1]["val_miou"], abs=0.05)


def test_pictures_of_several_sizes_in_one_batch(configure_dense: Configure, scenes: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    shutil.copytree(scenes, folder)
    image = next((folder / "images" / "validation").glob("*.jpg"))
    label = folder / "annotations" / "validation" / f"{image.stem}.png"
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (90, 50, 3), dtype=np.uint8)).save(image)
    Image.fromarray(np.zeros((90, 50), dtype=np.uint8)).save(label)
    assert train(configure_dense("segformer", f"data.path={folder}", "schedule.epochs=1")).finished


def test_statistics_shared_in_the_heads_alone() -> None:
    both = World(size=2, device=torch.device("cuda"))
    for how, everywhere in (("sync", True), ("sync_heads", False)):
        model = create_segmenter("segformer", "emov2_1m", num_classes=3, **TINY["emov2_1m"])
        net: Any = with_shared_batches(model, how, both)
        assert any(isinstance(module, nn.SyncBatchNorm) for module in net.head.modules())
        assert any(isinstance(module, nn.SyncBatchNorm) for module in net.backbone.modules()) == everywhere
    model = create_segmenter("segformer", "emov2_1m", num_classes=3, **TINY["emov2_1m"])
    assert with_shared_batches(model, "sync_heads", World()) is model
    with pytest.raises(UserError, match="works on GPUs only"):
        with_shared_batches(model, "sync_heads", World(size=2))
    with pytest.raises(UserError, match="for detectors and segmenters"):
        with_shared_batches(create_model("emov2_1m", **TINY["emov2_1m"]), "sync_heads", both)


def test_checkpointing_the_backbone_changes_no_number(configure_dense: Configure) -> None:
    runs = [
        train(configure_dense("ssdlite320", "schedule.epochs=1", f"run.checkpoint_activations={wanted}", out=wanted))
        for wanted in ("false", "true")
    ]
    states = [load_file(str(run.last)) for run in runs]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


@pytest.mark.parametrize("name", [name for name in recipe_names() if load_config(name).task in ("detect", "segment")])
def test_every_recipe_has_a_network_and_a_transform(name: str) -> None:
    config = load_config(name)
    with torch.device("meta"):
        if isinstance(config, DetectConfig):
            assert config.detect.architecture is not None
            detector = create_detector(
                config.detect.architecture, config.model.name, options=config.detect.options, **config.model.overrides
            )
            train_transform(config, detector.preprocessing)
        else:
            assert isinstance(config, SegmentConfig)
            assert config.segment.architecture is not None
            create_segmenter(
                config.segment.architecture, config.model.name, options=config.segment.options, **config.model.overrides
            )


def test_old_configurations_still_load(configure: Configure, tmp_path: Path) -> None:
    import yaml

    config = configure()
    plain = yaml.safe_load(config.to_yaml())
    for group, names in {
        "data": ("longest", "passes"),
        "optimizer": ("head_lr",),
        "schedule": ("epoch_steps", "warmup_steps", "warmup_factor", "decay", "power", "decay_start"),
    }.items():
        for name in names:
            del plain[group][name]
    plain["detect"] = {"architecture": None, "hflip": 0.5}  # defaults of another task do no harm
    path = tmp_path / "old.yaml"
    path.write_text(yaml.safe_dump(plain), encoding="utf-8")
    assert load_config(path) == config
