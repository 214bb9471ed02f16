"""Classifiers of pictures with several labels or none, from the list to files and back."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import phonecv
from classify.many import LABELS, write_bands
from conftest import TINY
from phonecv.classify.config import LossConfig
from phonecv.classify.many_objective import ManyObjective, labelwise_loss
from phonecv.classify.many_result import LabelsResult
from phonecv.classify.quantizing import score_labels
from phonecv.classify.ranking import average_precision
from phonecv.data.loading.loader import Batch
from phonecv.errors import UserError
from phonecv.models import VisionModel
from phonecv.training import load_config, train
from training.conftest import SMALL


def batch(pictures: int = 4, labels: int = 3) -> Batch:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(pictures, 3, 8, 8, generator=generator)
    targets = torch.randint(2, (pictures, labels), generator=generator)
    return Batch(images, targets, torch.arange(pictures), [""] * pictures)


class Linear(torch.nn.Module):
    """Means of the colours as logits."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean((2, 3))


def test_binary_cross_entropy_with_smoothed_labels() -> None:
    given, logits = batch(), batch().images.mean((2, 3))
    (found,) = ManyObjective(3, LossConfig(smoothing=0.1)).losses(Linear(), given).values()
    target = given.labels.float() * 0.9 + 0.1 / 3
    shares = logits.sigmoid()
    wanted = -(target * shares.log() + (1 - target) * (1 - shares).log()).mean()
    assert float(found) == pytest.approx(float(wanted), rel=1e-5)


@pytest.mark.parametrize("mode", ["batch", "pair", "elem"])
def test_mixed_pictures_have_their_labels_by_the_same_shares(mode: str) -> None:
    np.random.seed(0)  # noqa: NPY002  (timm draws from it)
    objective = ManyObjective(3, LossConfig(smoothing=0.0, mixup=0.8, mix_mode=mode))  # type: ignore[arg-type]
    given = batch()
    given.images = given.labels.float()[:, :, None, None].expand(-1, -1, 8, 8).clone()  # pictures that are their labels
    images, targets = objective.mixed(given)
    torch.testing.assert_close(images.mean((2, 3)), targets)
    assert ((targets > 0) & (targets < 1)).any()


def test_distance_from_a_teacher_label_by_label() -> None:
    student, teacher = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))
    p, q = ((one / 2).sigmoid() for one in (teacher, student))
    wanted = 4 * (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).mean()
    assert float(labelwise_loss(student, teacher, temperature=2.0)) == pytest.approx(float(wanted), rel=1e-4)
    assert float(labelwise_loss(teacher, teacher)) == pytest.approx(0.0, abs=1e-6)
    hard = F.binary_cross_entropy_with_logits(student, (teacher > 0).float())
    assert float(labelwise_loss(student, teacher, kind="hard")) == pytest.approx(float(hard))


@pytest.fixture(scope="module")
def bands(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bands(tmp_path_factory.mktemp("bands"))


@pytest.fixture(scope="module")
def run(bands: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "bands"
    more = (f"data.path={bands}", f"run.out={out}", "data.size=24", "schedule.epochs=3", "augment.hflip=0")
    train(load_config("from_scratch_small", [*SMALL, *more]))
    return out


def test_training_learns_and_keeps_thresholds(run: Path, bands: Path) -> None:
    net = phonecv.load_checkpoint(None, run / "last.safetensors")
    assert isinstance(net, VisionModel)
    assert net.class_names == LABELS
    assert net.thresholds is not None
    assert len(net.thresholds) == 3
    record = json.loads((run / "last.json").read_text())
    assert record["thresholds"] == list(net.thresholds)
    summary = json.loads((run / "summary.json").read_text())
    assert summary["score"] == "map"
    result = phonecv.evaluate(net, bands)
    assert isinstance(result, LabelsResult)
    assert result.map_percent == pytest.approx(summary["last_scores"]["net"], abs=1e-3)
    assert record["training"]["figures"]["f1"] == pytest.approx(result.f1_percent, abs=1e-3)


def test_files_of_an_evaluation(run: Path, bands: Path, tmp_path: Path) -> None:
    result = phonecv.evaluate(run / "best.safetensors", bands, out=tmp_path)
    assert f"mAP {result.map_percent:.2f} % of 3 labels in 16 pictures" in str(result)
    with (tmp_path / "per_class.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == list(LABELS)
    assert np.mean([float(row["ap"]) for row in rows]) == pytest.approx(result.map_percent, abs=0.01)
    assert json.loads((tmp_path / "summary.json").read_text())["map"] == pytest.approx(result.map_percent, abs=1e-3)
    assert not (tmp_path / "confusion.png").exists()
    page = (tmp_path / "report.html").read_text()
    assert "AP %" in page
    assert "mAP, 3 labels" in page
    assert "top-1" not in page


def test_predictions_are_the_labels_that_reach_their_threshold(run: Path, bands: Path, tmp_path: Path) -> None:
    net = phonecv.load_checkpoint(None, run / "best.safetensors")
    result = phonecv.evaluate(net, bands)
    assert isinstance(result, LabelsResult)
    said = phonecv.predict(net, bands / "val", out=tmp_path)
    places = {path: place for place, path in enumerate(result.paths)}
    for one in said:
        assert set(one.labels) == set(result.labels_of(places[one.path], told=True))
        assert list(one.probabilities) == sorted(one.probabilities, reverse=True)
    with (tmp_path / "predictions.csv").open() as file:
        assert {row["path"] for row in csv.DictReader(file)} == {str(one.path) for one in said}
    (few,) = phonecv.predict(net, bands / "val/0.png", topk=2)
    assert len(few.labels) == 2
    (all_of_them,) = phonecv.predict(net, bands / "val/0.png", threshold=0.0)
    assert len(all_of_them.labels) == 3
    (none,) = phonecv.predict(net, bands / "val/0.png", threshold=1.0)
    assert "no label" in str(none)


def test_both_forms_and_a_file_tell_the_same(run: Path, bands: Path, tmp_path: Path) -> None:
    net = phonecv.load_checkpoint(None, run / "best.safetensors")
    fused = phonecv.fuse(net)
    assert fused.thresholds == net.thresholds
    saved = phonecv.save_checkpoint(fused, tmp_path / "fused.safetensors")
    exported = phonecv.export(saved, tmp_path / "bands.onnx", images=bands / "val")
    record = json.loads(exported.record.read_text())
    assert record["decoding"] == {"kind": "labels", "activation": "sigmoid", "thresholds": list(net.thresholds)}
    assert exported.agreement == 1.0
    wanted, got = (phonecv.evaluate(one, bands) for one in (net, exported.path))
    assert isinstance(wanted, LabelsResult)
    assert isinstance(got, LabelsResult)
    np.testing.assert_allclose(got.probabilities, wanted.probabilities, atol=1e-4)
    assert got.thresholds == wanted.thresholds


def test_a_frozen_backbone_keeps_features_and_sets(run: Path, bands: Path, tmp_path: Path) -> None:
    more = (f"data.path={bands}", f"run.out={tmp_path}", f"model.weights={run / 'best.safetensors'}", "data.size=24")
    result = train(load_config("probe", [*SMALL, "data.views=2", *more]))
    assert result.last is not None
    net = phonecv.load_checkpoint(None, result.last)
    found = phonecv.evaluate(net, bands)
    assert isinstance(found, LabelsResult)
    assert json.loads((tmp_path / "summary.json").read_text())["last_scores"]["net"] == pytest.approx(
        found.map_percent, abs=1e-3
    )


def test_what_does_not_go_together_is_refused(run: Path, bands: Path, tmp_path: Path) -> None:
    for name in ("x", "y"):
        (tmp_path / "val" / name).mkdir(parents=True)
        (tmp_path / "val" / name / "0.png").write_bytes((bands / "val/0.png").read_bytes())
    with pytest.raises(UserError, match="folders of classes give each picture one"):
        phonecv.evaluate(run / "best.safetensors", tmp_path)
    one = phonecv.create_model("mobileone_s0", num_classes=3)
    with pytest.raises(UserError, match=r"threshold=0.5 is for labels that do not exclude each other"):
        phonecv.predict(one.eval(), bands / "val/0.png", threshold=0.5)
    config = load_config("from_scratch_small", [*SMALL, f"data.path={bands}", "run.out=x", "model.num_classes=5"])
    with pytest.raises(UserError, match=r"model.num_classes=5, but the data has 3 labels"):
        train(config)


def test_what_8_bits_cost_is_told_in_map() -> None:
    generator = torch.Generator().manual_seed(0)
    reference = torch.randn(60, 3, generator=generator)
    labels = (reference + torch.randn(60, 3, generator=generator) > 0).long()
    logits = reference + 0.3 * torch.randn(60, 3, generator=generator)
    thresholds = (0.4, 0.5, 0.6)
    found = score_labels(reference, logits, labels, thresholds)
    wanted, got = (100 * float(average_precision(one, labels).mean()) for one in (reference, logits))
    assert (found.float_map, found.map, found.drop) == pytest.approx((wanted, got, wanted - got))
    assert 0 < found.standard_error < 10
    told = [one.sigmoid() >= torch.tensor(thresholds) for one in (reference, logits)]
    assert (found.told, found.same) == (int((told[0] | told[1]).sum()), int((told[0] & told[1]).sum()))
    unknown = score_labels(reference, logits, None, thresholds)
    assert unknown.map is None
    assert unknown.drop == pytest.approx(100 * (1 - found.same / found.told))
    assert score_labels(reference, reference, labels, thresholds).drop == 0.0


@pytest.mark.long
def test_quantizing_a_network_of_labels(run: Path, bands: Path, tmp_path: Path) -> None:
    done = phonecv.quantize(run / "best.safetensors", tmp_path, data=bands, formats=["onnx"], choose=16, calibrate=16)
    assert "mAP" in str(done)


def test_a_teacher_of_the_same_labels(run: Path, bands: Path, tmp_path: Path) -> None:
    teacher = f"distill.teacher={run / 'best.safetensors'}"
    more = (f"data.path={bands}", f"run.out={tmp_path}", "data.size=24", "schedule.epochs=1", teacher)
    result = train(load_config("from_scratch_small", [*SMALL, *more]))
    assert {"bce", "kd"} <= set(result.steps[0])
    one = phonecv.create_model("mobileone_s0", num_classes=3, **TINY["mobileone_s0"])
    file = phonecv.save_checkpoint(one, tmp_path / "one.safetensors")
    with pytest.raises(UserError, match="gives a picture one class, this data any number of labels"):
        train(load_config("from_scratch_small", [*SMALL, *more[:1], "run.out=x", f"distill.teacher={file}"]))
