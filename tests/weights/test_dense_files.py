"""Detectors and segmenters in our own files: both forms, what a file says of itself, and files that lie."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from conftest import TINY, mostly_long
from kept import kept
from phonecv import (
    create_detector,
    create_model,
    create_segmenter,
    fuse,
    load_checkpoint,
    read_checkpoint,
    save_checkpoint,
)
from phonecv.create import load_network
from phonecv.dense.model import DenseModel
from phonecv.errors import UserError
from phonecv.inspection import info as describe
from phonecv.preprocessing import DensePreprocessing
from phonecv.weights.record import KEY

KINDS = ("ssdlite320", "mask_rcnn_fpn", "semantic_fpn", "deeplabv3")
FORMS = [(family, form) for family in ("emov2_1m", "mobileone_s0") for form in ("training", "deploy")]


@kept
def make(kind: str, family: str = "emov2_1m") -> DenseModel:
    torch.manual_seed(0)
    tiny: dict[str, Any] = TINY[family]
    model: DenseModel
    if kind == "ssdlite320":
        model = create_detector(kind, family, num_classes=3, options={"size": 64}, **tiny)
    elif kind == "mask_rcnn_fpn":
        options = {"channels": 16, "hidden": 16, "size": 64, "longest": 96}
        model = create_detector(kind, family, num_classes=3, options=options, **tiny)
    else:
        own = {"aux_channels": 8, "slide": {"crop": 48, "stride": 32}} if kind == "deeplabv3" else {"neck_channels": 8}
        model = create_segmenter(kind, family, num_classes=3, options={"channels": 8} | own, **tiny)
        model.preprocessing = DensePreprocessing(size=64, longest=100)
    model.class_names = ("a", "b", "c")
    # Values that are not the initial ones.
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                low = 0.5 if name.endswith("running_var") else -0.2
                value.copy_(torch.rand_like(value) * 0.4 + low + 0.2 * name.endswith("weight"))
    return model.eval()


def outputs(model: Any) -> list[torch.Tensor]:
    torch.manual_seed(1)
    with torch.no_grad():
        found: Any = model.network(torch.rand(1, 3, 64, 96))
    flat: list[torch.Tensor] = []

    def collect(value: Any) -> None:
        if isinstance(value, torch.Tensor):
            flat.append(value)
        elif value is not None:
            for item in value:
                collect(item)

    collect(found)
    return flat


@pytest.mark.parametrize(("family", "form"), mostly_long(FORMS, ("mobileone_s0", "deploy"), ("emov2_1m", "training")))
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_gives_the_same_network_back(kind: str, family: str, form: str, tmp_path: Path) -> None:
    model = make(kind, family)
    if form == "deploy":
        model = fuse(model)
    path = save_checkpoint(model, tmp_path / "model.safetensors", training={"epoch": 3})
    for loaded in (load_checkpoint(None, path), load_network(path, task=None)):
        assert type(loaded) is type(model)
        assert not loaded.training
        for name in ("architecture", "backbone_name", "num_classes", "class_names", "preprocessing", "form", "options"):
            assert getattr(loaded, name) == getattr(model, name), name
        assert loaded.form == form
        for a, b in zip(outputs(model), outputs(loaded), strict=True):
            assert torch.equal(a, b)
    again = save_checkpoint(loaded, tmp_path / "again.safetensors", training={"epoch": 3})
    assert json.loads(again.with_suffix(".json").read_text()) == json.loads(path.with_suffix(".json").read_text())


def test_a_training_form_file_can_be_fused_on_the_way(tmp_path: Path) -> None:
    model = make("ssdlite320")
    path = save_checkpoint(model, tmp_path / "model.safetensors")
    fused = load_checkpoint(None, path, form="deploy")
    assert fused.form == "deploy"
    for a, b in zip(outputs(model), outputs(fused), strict=True):
        torch.testing.assert_close(b, a, rtol=1e-3, atol=1e-3 * float(a.abs().max()))
    deployed = save_checkpoint(fused, tmp_path / "deploy.safetensors")
    with pytest.raises(UserError, match="deploy form"):
        load_checkpoint(None, deployed, form="training")
    with pytest.raises(UserError, match="ssdlite320 on emov2_1m is a detector; this needs a classifier of ours"):
        load_network(path)


def test_what_a_file_says_of_itself(tmp_path: Path) -> None:
    path = save_checkpoint(make("deeplabv3"), tmp_path / "model.safetensors", training={"epoch": 3})
    info = read_checkpoint(path)
    assert (info.task, info.architecture, info.model, info.family) == ("segment", "deeplabv3", "emov2_1m", "emov2")
    assert (info.num_classes, info.form, info.problems) == (3, "training", ())
    facts = dict(describe(str(path)).fields())
    assert facts["task"] == "segmenter, deeplabv3"
    assert facts["backbone"] == "emov2_1m"
    assert facts["input"] == "short side to 64 px, long side at most 100 px"
    assert facts["classes"] == "3 (a, b, c)"
    assert "slide=" in facts["options"]
    json.dumps(describe(str(path)).to_dict(), default=str)


def test_a_classifiers_record_is_as_it_was(tmp_path: Path) -> None:
    path = save_checkpoint(create_model("emov2_1m", num_classes=3, **TINY["emov2_1m"]), tmp_path / "c.safetensors")
    record = json.loads(path.with_suffix(".json").read_text())
    assert record["format"] == 1
    assert not record.keys() & {"task", "architecture", "options"}
    info = read_checkpoint(path)
    assert (info.task, info.architecture) == ("classify", "")
    assert dict(describe(str(path)).fields())["task"] == "classifier"
    dense = save_checkpoint(make("ssdlite320"), tmp_path / "d.safetensors")
    assert json.loads(dense.with_suffix(".json").read_text())["format"] == 2  # earlier versions say they cannot read it


def test_filling_a_network_given(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = make("ssdlite320")
    path = save_checkpoint(model, tmp_path / "model.safetensors")
    other = create_detector("ssdlite320", "emov2_1m", num_classes=3, options={"size": 64}, **TINY["emov2_1m"])
    assert load_checkpoint(other, path) is other
    assert other.training
    assert other.class_names == ("a", "b", "c")
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in model.state_dict().items())
    # A bare mapping of the same names does, too.
    load_checkpoint(other, dict(model.state_dict()))

    more = create_detector("ssdlite320", "emov2_1m", num_classes=5, options={"size": 64}, **TINY["emov2_1m"])
    with pytest.raises(UserError, match=r"does not fit ssdlite320 on emov2_1m(.|\n)*other shape"):
        load_checkpoint(more, path)
    load_checkpoint(more, path, head="auto")
    assert "stay fresh" in caplog.text
    assert more.class_names is None
    with pytest.raises(UserError, match="cannot change a network"):
        load_checkpoint(other, path, num_classes=5)  # type: ignore[call-overload]
    with pytest.raises(UserError, match="rebuilt as it was"):
        load_checkpoint(None, path, num_classes=5)


def test_backbones_travel_between_tasks(tmp_path: Path) -> None:
    classifier = create_model("emov2_1m", num_classes=7, **TINY["emov2_1m"]).eval()
    first = save_checkpoint(classifier, tmp_path / "classifier.safetensors")
    detector = make("ssdlite320")
    load_checkpoint(detector, first)
    for name, value in classifier.stage3.state_dict().items():
        assert torch.equal(detector.backbone.get_submodule("stage3").state_dict()[name], value)
    second = save_checkpoint(detector, tmp_path / "detector.safetensors")
    segmenter = create_segmenter("segformer", "emov2_1m", num_classes=3, weights=second, **TINY["emov2_1m"])
    for name, value in classifier.stage3.state_dict().items():
        assert torch.equal(segmenter.backbone.get_submodule("stage3").state_dict()[name], value)
    with pytest.raises(UserError, match="does not fit"):  # it has no classifier
        load_checkpoint(classifier, second)


def test_only_our_layout_holds_detectors(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="knows classifiers only"):
        save_checkpoint(make("ssdlite320"), tmp_path / "model.pth", layout="emov2")


def test_a_backbone_of_ones_own_needs_the_network(tmp_path: Path) -> None:
    class Own(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convs = torch.nn.ModuleList(torch.nn.Conv2d(3, 8, 3, stride, 1) for stride in (16, 32))
            self.feature_info = [{"num_chs": 8, "reduction": 16}, {"num_chs": 8, "reduction": 32}]

        def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
            return [conv(x) for conv in self.convs]

    model = create_detector("ssdlite320", Own(), num_classes=2, options={"size": 64})
    path = save_checkpoint(model, tmp_path / "own.safetensors")
    with pytest.raises(UserError, match="module of the person's own"):
        load_checkpoint(None, path)
    twin = create_detector("ssdlite320", Own(), num_classes=2, options={"size": 64})
    load_checkpoint(twin, path)
    assert torch.equal(twin.backbone.convs[0].weight, model.backbone.convs[0].weight)  # type: ignore[index]


def rewritten(path: Path, out: Path, **changes: Any) -> Path:
    """The same tensors under another record."""
    with safe_open(path, "pt") as file:
        record = json.loads(file.metadata()[KEY])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    save_file(tensors, out, {"format": "pt", KEY: json.dumps(record | changes)})
    return out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "fly"}, "task 'fly'"),
        ({"task": 3}, "task 3"),
        ({"architecture": "ssd"}, "unknown detector 'ssd'"),
        ({"architecture": 5}, "its record: 'architecture' is 5"),
        ({"options": []}, "its record: 'options' is"),
        ({"options": {"size": 10**9}}, "more than any network has"),
        ({"options": {"min_sizes": [1] * 5000}}, "5000 values of min_sizes"),
        ({"options": {"architecture": "x"}}, "has no option 'architecture'"),
        ({"num_classes": 10**9, "classes": None}, "'num_classes' is 1000000000"),
        ({"num_classes": 500_000, "classes": None}, r"the file holds only [\d,]+ values"),
        ({"num_classes": -1, "classes": None}, "'num_classes' is -1"),
        ({"num_classes": 4, "classes": None}, "other shape"),
        ({"model": "emov2_20m", "overrides": {}}, r"the file holds only [\d,]+ values"),
        ({"model": "emov2_1m", "overrides": {"widths": [4096, 4096, 8192, 16384]}}, "holds only|no network can"),
        ({"model": "/etc/passwd"}, "unknown backbone"),
        ({"overrides": {"weights": "official"}}, "overrides 'weights'"),
        ({"overrides": {"options": {}}}, "'options'|options="),
        ({"preprocessing": {"size": -3}}, "size -3"),
        ({"preprocessing": {"crop": 0.9}}, "unknown preprocessing field 'crop'"),
        ({"format": 1}, "has format 1, this version reads 2"),
        ({"format": 3, "task": "fly"}, "has format 3, this version reads 2"),
        ({"format": 3}, "has format 3, this version reads 2"),
        ({"form": "deploy"}, "does not fit|deploy"),
    ],
)
def test_a_record_that_lies_is_refused_without_filling_the_memory(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = save_checkpoint(make("ssdlite320"), tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=message):
        load_checkpoint(None, rewritten(path, tmp_path / "lying.safetensors", **changes))


def test_options_nested_without_end_are_refused(tmp_path: Path) -> None:
    path = save_checkpoint(make("ssdlite320"), tmp_path / "model.safetensors")
    deep: Any = 1
    for _ in range(900):
        deep = [deep]
    with pytest.raises(UserError, match=r"nested|no network can|not JSON"):
        load_checkpoint(None, rewritten(path, tmp_path / "deep.safetensors", options={"min_sizes": deep}))


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    model = make("ssdlite320")
    with torch.no_grad():
        next(model.parameters()).flatten()[0] = float("nan")
    path = save_checkpoint(model, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="not finite"):
        load_checkpoint(None, path)
    assert "not finite" in read_checkpoint(path).problems[0]
