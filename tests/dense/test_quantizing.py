"""Segmenters and detectors in 8 bits: what is measured, what is refused, and files that `predict` and `eval` take."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import phonecv
from cli.conftest import Outcome
from detect.scenes import CLASSES
from exporting.dense_files import busy
from opened import open_detector, open_segmenter
from phonecv.cli import main
from phonecv.dense.quantizing import batch_at
from phonecv.dense.quantizing_data import all_pictures, canvas_tensor, split_pictures
from phonecv.detect import quantizing as detect
from phonecv.detect.boxes import pairwise_iou
from phonecv.detect.detections import Detections
from phonecv.errors import UserError
from phonecv.exporting.run import in_form
from phonecv.models.headed import RawOutputs
from phonecv.models.quantized import state_of
from phonecv.quantization import correct_biases, layer_noise, quantize, simulate, workshop
from phonecv.quantization.methods import BIAS, RANGES_PERCENTILE, Method
from phonecv.quantization.qat import FineTuning, fine_tune
from phonecv.quantization.simulation import USUAL, input_ranges
from phonecv.segment import quantizing as segment
from phonecv.segment.base import Segmenter
from segment.tiny import tiny


def photos(folder: Path, count: int = 20, seed: int = 0, size: tuple[int, int] = (64, 96)) -> Path:
    """Smooth coloured blots, which settled random networks label in more than one way."""
    folder.mkdir(parents=True)
    generator = torch.Generator().manual_seed(seed)
    for number in range(count):
        coarse = torch.rand(1, 3, 5, 7, generator=generator)
        picture = nn.functional.interpolate(coarse, size=size, mode="bilinear")[0]
        noisy = picture * 200 + 55 * torch.rand(3, *size, generator=generator)
        Image.fromarray(noisy.byte().permute(1, 2, 0).numpy()).save(folder / f"{number:02}.png")
    return folder


@pytest.fixture(autouse=True)
def few_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers are told apart on four: the whole network runs once for each layer."""
    monkeypatch.setattr(workshop, "_FEW", 4)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photos(tmp_path_factory.mktemp("dense") / "photos")


def labelled(root: Path, model: Any) -> Path:
    """A data set whose labels are what the model says."""
    folder = photos(root / "images" / "val", 9, seed=5)
    (root / "annotations" / "val").mkdir(parents=True)
    runner = open_segmenter(model)
    for path in folder.glob("*.png"):
        (labels,) = runner([read(path)])
        Image.fromarray(labels.numpy()).save(root / "annotations" / "val" / path.name)
    return root


def read(path: Path) -> Tensor:
    return torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1).contiguous()


def command(capsys: pytest.CaptureFixture[str], *argv: Any) -> Outcome:
    capsys.readouterr()
    status = main([str(item) for item in argv])
    found = capsys.readouterr()
    return Outcome(status, found.out, found.err)


# ------------------------------------------------------------------------------------------ files


def test_a_segmenter_as_onnx(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tiny("segformer", "mobileone_s0")
    saved = phonecv.save_checkpoint(model, tmp_path / "a.safetensors")
    found = command(
        capsys, "quantize", saved, tmp_path / "out", "--to", "onnx", "--data", pictures, "--size", "64x96",
        "--max-drop", "30", "--eval", labelled(tmp_path / "more", model), "--json",
    )  # fmt: skip
    assert found.status == 0, found.err
    report = json.loads(found.out)
    assert report["measure"] == "% of pixels changed"
    score = report["formats"]["onnx"]["chosen"]["score"]
    assert score["total"] == 10 * 64 * 96
    assert score["drop"] == pytest.approx(100 * (1 - score["agreement"]), abs=0.01)
    assert 0 < score["drop"] < 30
    assert score["decibels"] > 8
    final = report["formats"]["onnx"]["final"]
    assert (final["figure"], final["count"], final["float_value"]) == ("mIoU", 9, 100.0)
    assert 30 < final["value"] < 100
    assert final["drop"] == pytest.approx(100 - final["value"])
    assert not any(layer["name"].startswith("model.") for layer in report["layers"])
    path = tmp_path / "out" / "a-int8.onnx"
    assert json.loads((tmp_path / "out" / "a-int8.onnx.json").read_text())["precision"] == "int8"
    # The figure of the report is what a person would see: the file's own label maps against the checkpoint's.
    chosen = sorted(pictures.glob("*.png"))[1::2]
    runners = [open_segmenter(model), open_segmenter(path)]
    tensors = [read(name) for name in chosen]
    maps = [torch.stack(list(runner(tensors))) for runner in runners]
    assert 100 * (maps[0] != maps[1]).float().mean() == pytest.approx(score["drop"], abs=0.01)
    shown = command(capsys, "predict", path, chosen[0], "--out", tmp_path / "shown")
    assert shown.status == 0, shown.err
    judged = command(capsys, "eval", path, "--data", tmp_path / "more", "--json")
    assert judged.status == 0, judged.err
    assert json.loads(judged.out)["miou"] == pytest.approx(final["value"], abs=0.01)


def test_a_detector_as_onnx(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    detector = busy("ssdlite320")
    detector.class_names = CLASSES
    saved = phonecv.save_checkpoint(detector, tmp_path / "a.safetensors")
    found = command(
        capsys, "quantize", saved, tmp_path / "out", "--to", "onnx", "--data", pictures, "--max-drop", "90"
    )  # fmt: skip
    assert found.status == 0, found.err
    assert "confident detections differ" in found.out
    assert "equalisation and ReLU6 rescaling need a plain chain" in found.out
    path = tmp_path / "out" / "a-int8.onnx"
    written = json.loads((tmp_path / "out" / "a-int8.quantize.json").read_text())
    assert written["measure"] == "% of confident detections that differ"
    score = written["formats"]["onnx"]["chosen"]["score"]
    assert score["total"] > 20
    assert score["lost"] + score["added"] + score["same"] == score["total"]
    runner = open_detector(path)
    assert runner.classes == CLASSES
    shown = command(
        capsys, "predict", path, *sorted(pictures.iterdir())[:3], "--out", tmp_path / "shown", "--threshold", "0.5"
    )  # fmt: skip
    assert shown.status == 0, shown.err
    assert (tmp_path / "shown" / "predictions.json").is_file()


def test_what_a_format_spoils_is_refused(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"executorch files of deeplabv3.* take onnx, openvino or litert"):
        quantize(
            tiny("deeplabv3", "mobileone_s0"), tmp_path / "out", formats=["onnx", "executorch"], data=pictures, stem="x"
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize(
    ("format", "kind"),
    [
        (format, kind)
        for format in ("onnx", "openvino", "executorch", "litert")
        for kind in ("segformer", "unet", "ssdlite320", "retinanet_fpn")
    ],
)
def test_every_format(pictures: Path, tmp_path: Path, format: str, kind: str) -> None:
    from phonecv.exporting import get_exporter

    if get_exporter(format).missing():
        pytest.skip(f"{format} is not installed")
    detects = kind in ("ssdlite320", "retinanet_fpn")
    model: Any = busy(kind) if detects else tiny(kind, "mobileone_s0")
    settings: dict[str, Any] = {"range": "minmax", **({"bias": "none"} if format == "openvino" else {})}
    result = quantize(
        model, tmp_path, formats=[format], data=pictures, size=None if kind == "ssdlite320" else (64, 96),
        max_drop=50, methods=[Method("extremes, bias", ("bias",), settings)], stem="x",
    )  # fmt: skip
    (trial,) = result.formats[format].trials
    assert trial.score is not None, trial.error
    # RetinaNet: 25.1 dB as ONNX and in ExecuTorch.
    least = {("litert", "unet"): 20, ("litert", "retinanet_fpn"): 20, ("executorch", "retinanet_fpn"): 20}
    assert trial.score.decibels > least.get((format, kind), 8)
    assert result.formats[format].path is not None


@pytest.mark.long
def test_half_precision_needs_no_remedies(pictures: Path, tmp_path: Path) -> None:
    model = tiny("segformer", "mobileone_s0")
    result = quantize(model, tmp_path, formats=["onnx"], data=pictures, size=(64, 96), precision="fp16", stem="x")
    found = result.formats["onnx"]
    assert found.path == tmp_path / "x-fp16.onnx"
    assert found.chosen is not None
    assert found.chosen.score is not None
    assert found.chosen.score.drop < 1
    assert result.layers == ()


# --------------------------------------------------------------------------------------- remedies


def raw(model: Any) -> RawOutputs:
    room = segment if isinstance(model, Segmenter) else detect
    network, _ = room.usable(in_form(model, "deploy"), (64, 96))
    return RawOutputs(network).eval()


def inputs(count: int = 8, seed: int = 3) -> Tensor:
    return torch.randn(count, 3, 64, 96, generator=torch.Generator().manual_seed(seed))


def means(body: nn.Module, name: str, batch: Tensor) -> Tensor:
    """Per channel, of the layer's first map."""
    kept: list[Tensor] = []
    hook = body.get_submodule(name).register_forward_hook(lambda module, given, output: kept.append(output))
    with torch.no_grad():
        body(batch)
    hook.remove()
    return kept[0].mean((0, 2, 3))


def test_a_head_that_goes_over_several_maps_is_corrected_on_the_largest() -> None:
    body, batch = raw(busy("retinanet_fpn")), inputs()
    corrected = correct_biases(body, batch)
    assert len(corrected(batch)) == 10
    ranges = input_ranges(body, batch, USUAL)
    for name in ("model.class_head", "model.box_head"):
        wanted = means(body, name, batch)
        before = (means(simulate(body, ranges), name, batch) - wanted).abs().mean()
        after = (means(simulate(corrected, ranges), name, batch) - wanted).abs().mean()
        assert after < 0.2 * before


@pytest.mark.parametrize("kind", ["retinanet_fpn", "segformer"])
def test_every_layer_has_its_noise(kind: str) -> None:
    body = raw(busy(kind) if kind == "retinanet_fpn" else tiny(kind, "mobileone_s0"))
    noises = layer_noise(body, inputs(2), alone=True)
    layers = {name for name, module in body.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)}
    assert {noise.name for noise in noises} == layers
    assert all(noise.own > 5 for noise in noises)
    assert all(noise.alone is not None and noise.alone > noise.total - 40 for noise in noises)


def test_a_segmenter_learns_its_maps_and_logits() -> None:
    body = raw(tiny("unet", "mobileone_s0"))
    tuned = fine_tune(body, inputs(), tuning=FineTuning(steps=4, batch=4))
    assert state_of(tuned)["qat"]["steps"] == 4
    assert tuned(inputs(2))[0].shape == body(inputs(2))[0].shape


def test_segformers_levels_are_joined_as_in_the_file() -> None:
    model = tiny("segformer", "mobileone_s0")
    body = raw(model)
    with torch.no_grad():
        (found,) = body(inputs(2))
        wanted = in_form(model, "deploy").network(inputs(2))[0]
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


# --------------------------------------------------------------------------------------- measures


def test_pixels_are_counted() -> None:
    wanted = [torch.zeros(4, 5, dtype=torch.uint8), torch.zeros(10, 8, dtype=torch.uint8)]
    got = [wanted[0].clone(), wanted[1].clone()]
    got[0][0, :] = 1
    found = segment.score_pixels(wanted, got, 20.0)
    assert (found.total, found.same, found.drop) == (100, 95, 5.0)
    assert found.standard_error == pytest.approx(100 * np.hypot(5 - 0.05 * 20, 0 - 0.05 * 80) / 100)
    assert str(found) == f"5.00 ± {found.standard_error:.2f} % of the pixels changed class, 20.0 dB"
    assert "lost" not in found.to_dict()


def random_detections(seed: int, pictures: int = 6) -> Detections:
    generator = torch.Generator().manual_seed(seed)
    counts = torch.randint(0, 9, (pictures,), generator=generator)
    total = int(counts.sum())
    corner = torch.rand(total, 2, generator=generator) * 40
    boxes = torch.cat([corner, corner + 10 + torch.rand(total, 2, generator=generator) * 20], 1)
    scores = 0.3 + 0.7 * torch.rand(total, generator=generator)
    labels = torch.randint(0, 2, (total,), generator=generator)
    of = [torch.arange(pictures).repeat_interleave(counts) == place for place in range(pictures)]
    return Detections.of(
        [{"boxes": boxes[rows], "scores": scores[rows], "labels": labels[rows]} for rows in of], range(pictures)
    )


def partners(wanted: Detections, got: Detections) -> int:
    """Confident detections without a partner, by a loop: the strongest of the others choose first."""
    missing = 0
    for place in range(6):
        sure = [row for row in np.flatnonzero(wanted.pictures == place) if wanted.scores[row] >= 0.5]
        free = set(sure)
        for row in sorted(np.flatnonzero(got.pictures == place), key=lambda row: -got.scores[row]):
            overlaps = {
                other: float(pairwise_iou(torch.tensor(got.boxes[row][None]), torch.tensor(wanted.boxes[other][None])))
                for other in free
                if wanted.labels[other] == got.labels[row]
            }
            best = max(overlaps, key=lambda other: overlaps[other], default=None)
            if best is not None and overlaps[best] >= 0.5:
                free.remove(best)
        missing += len(free)
    return missing


def test_detections_are_paired_as_by_a_loop() -> None:
    wanted = random_detections(0)
    shift = np.random.default_rng(1).normal(0, 3, wanted.boxes.shape).astype(np.float32)
    scores = np.clip(wanted.scores + np.random.default_rng(2).normal(0, 0.15, len(wanted)), 0.3, 1).astype(np.float32)
    got = Detections(wanted.pictures, wanted.boxes + shift, scores, wanted.labels)
    found = detect.score_objects(wanted, got, 6, 10.0)
    assert found.lost == partners(wanted, got) > 0
    assert found.added == partners(got, wanted) > 0
    assert found.total == int((wanted.scores >= 0.5).sum() + (scores >= 0.5).sum())
    assert found.drop == pytest.approx(100 * (found.lost + found.added) / found.total)
    same = detect.score_objects(wanted, wanted, 6, 10.0)
    assert (same.drop, same.lost, same.added) == (0, 0, 0)
    nothing = detect.score_objects(wanted, Detections.none(), 6, 10.0)
    assert nothing.drop == 100


# --------------------------------------------------------------------------------------- pictures


@pytest.mark.parametrize(
    ("train", "val"),
    [("images/training", "images/validation"), ("train2017", "val2017"), ("train/images", "val/images")],
)
def test_data_sets_keep_their_parts(tmp_path: Path, train: str, val: str) -> None:
    photos(tmp_path / train, 9)
    photos(tmp_path / val, 8)
    photos(tmp_path / "annotations" / "training", 3)  # label maps are pictures, too
    if train == "train/images":
        photos(tmp_path / "train" / "masks", 3)
    first, second = split_pictures(tmp_path, (64, 96))
    assert {path.parent for path in first.paths} == {tmp_path / train}
    assert {path.parent for path in second.paths} == {tmp_path / val}
    assert (len(first), len(second)) == (9, 8)
    assert all_pictures(tmp_path).paths == second.paths


def test_other_folders_are_split_by_turns(pictures: Path) -> None:
    first, second = split_pictures(pictures, (64, 96), choose=9)
    assert (len(first), len(second)) == (10, 9)
    assert not set(first.paths) & set(second.paths)
    few, _ = split_pictures(pictures, (2048, 2000))
    assert len(few) == 8
    assert few.note == "8 pictures calibrate, as many as fit into memory at 2048x2000"
    with pytest.raises(UserError, match="too few"):
        split_pictures(pictures, (64, 96), choose=3)


def test_windows_show_the_middle(pictures: Path) -> None:
    model = tiny("segformer", "mobileone_s0")
    network, size = segment.usable(in_form(model, "deploy"), None)
    assert size[0] == 64
    plain = canvas_tensor(sorted(pictures.glob("*.png"))[:2], network, (64, 96))
    from phonecv.dense.windows import Windows

    windowed: Any = in_form(model, "deploy")
    windowed.windows = Windows(48, 32)
    network, size = segment.usable(windowed, None)
    assert size == (48, 48)
    cut = canvas_tensor(sorted(pictures.glob("*.png"))[:2], network, size)
    torch.testing.assert_close(cut, plain[:, :, 8:56, 24:72])


# --------------------------------------------------------------------------------------- mistakes


def test_mistakes_are_named_before_any_work(pictures: Path, tmp_path: Path) -> None:
    from exporting.dense_files import busy_masks

    with pytest.raises(UserError, match="second stage reads features"):
        quantize(busy_masks(), tmp_path, formats=["onnx"], data=pictures)
    with pytest.raises(UserError, match="has anchors for 96x96 pixels"):
        quantize(busy("ssdlite320"), tmp_path, formats=["onnx"], data=pictures, size=64)
    unsure: Any = busy("ssdlite320")
    with torch.no_grad():
        for head in unsure.class_heads:
            head[-1].weight.zero_()
            head[-1].bias.zero_()
    with pytest.raises(UserError, match="is sure of nothing"):
        quantize(unsure, tmp_path, formats=["onnx"], data=pictures)
    (tmp_path / "same").symlink_to(pictures)
    with pytest.raises(UserError, match="were used to calibrate or to choose"):
        quantize(
            tiny("segformer"), tmp_path, formats=["onnx"], data=pictures, evaluation=tmp_path / "same", size=(64, 96)
        )
    assert [path.name for path in tmp_path.iterdir()] == ["same"]
    assert not segment.has_labels(pictures)
    assert not detect.has_labels(pictures)
    assert (batch_at((64, 96)), batch_at((800, 1344))) == (16, 2)


def test_a_workshop_shares_what_methods_have_in_common(pictures: Path) -> None:
    network, size = segment.usable(in_form(tiny("segformer", "mobileone_s0"), "deploy"), (64, 96))
    workshop = segment.SegmentWorkshop(network, *split_pictures(pictures, size), size=size)
    first, settings = workshop.prepared(BIAS)
    assert workshop.prepared(BIAS)[0] is first
    assert first.quantization["remedies"] == ["bias"]
    assert settings == {"range": "percentile"}
    plain, _ = workshop.prepared(RANGES_PERCENTILE)
    assert not plain.quantization
