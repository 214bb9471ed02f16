"""Checkpoints of other people's programs: class names beside the weights, heads of their own, whole networks."""

from __future__ import annotations

import argparse
import collections
import json
import logging
import pickle
from pathlib import Path, PosixPath
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import phonecv
from phonecv.errors import UserError
from phonecv.inspection import info
from phonecv.models import VisionModel
from phonecv.weights.names_inside import class_names_in
from weights.helpers import TINY, same, settled

NAMES = ("ant", "bee", "cat", "dog", "eel")


@pytest.fixture(scope="module")
def model() -> VisionModel:
    return settled(phonecv.create_model("mobileone_s0", num_classes=5, **TINY["mobileone_s0"]))


KEPT: dict[str, dict[str, Any]] = {
    "torchvision": {"class_to_idx": {"bee": 1, "ant": 0, "eel": 4, "dog": 3, "cat": 2}},
    "a list": {"classes": list(NAMES), "epoch": 3},
    "an array": {"classes": np.array(NAMES)},
    "numbers to names": {"idx_to_class": dict(enumerate(NAMES))},
    "numbers as text": {"id2label": {str(n): name for n, name in enumerate(NAMES)}},
    "ultralytics": {"names": dict(enumerate(NAMES))},
    "Lightning": {"hyper_parameters": {"class_names": NAMES, "lr": 0.1}},
    "Lightning's data": {"datamodule_hyper_parameters": {"class_to_idx": {name: n for n, name in enumerate(NAMES)}}},
    "mmengine": {"meta": {"dataset_meta": {"classes": NAMES}}},
    "mmcls": {"meta": {"CLASSES": NAMES, "mmcls_version": "0.25"}},
    "arguments": {"args": argparse.Namespace(class_names=list(NAMES), data=PosixPath("/data"))},
    "twice the same": {"classes": list(NAMES), "class_to_idx": {name: n for n, name in enumerate(NAMES)}},
}


@pytest.mark.parametrize("kind", KEPT)
def test_class_names_beside_the_weights_are_the_file_s(kind: str, model: VisionModel, tmp_path: Path) -> None:
    path = tmp_path / "last.pth"
    torch.save({"state_dict": model.state_dict(), **KEPT[kind]}, path)
    assert phonecv.read_checkpoint(path).classes == NAMES
    loaded = phonecv.load_checkpoint("mobileone_s0", path, **TINY["mobileone_s0"])
    assert loaded.class_names == NAMES
    assert same(loaded.state_dict(), model.state_dict())


def test_info_shows_them(model: VisionModel, tmp_path: Path) -> None:
    path = tmp_path / "last.pth"
    torch.save({"state_dict": model.state_dict(), "classes": ["a\nb", *NAMES[1:]]}, path)
    facts = dict(info(str(path)).fields())
    assert facts["classes"] == r"5 (a\x0ab, bee, cat, dog, eel)"
    assert "class names from its 'classes'" in facts["notes"]


def test_names_in_the_header_of_safetensors(model: VisionModel, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file(model.state_dict(), path, {"id2label": json.dumps(dict(enumerate(NAMES)))})
    assert phonecv.read_checkpoint(path).classes == NAMES


@pytest.mark.parametrize(
    ("beside", "remark"),
    [
        ({"classes": ["a", "b"]}, "2 names for 5 outputs"),
        ({"class_to_idx": {name: n + 1 for n, name in enumerate(NAMES)}}, "numbers are not 0, 1, 2"),
        ({"class_to_idx": {"a": 0, "b": 0, "c": 1, "d": 2, "e": 3}}, "numbers are not 0, 1, 2"),
        ({"idx_to_class": {0: "a", 1: "b", 2: "c", 3: "d", 5: "e"}}, "numbers are not 0, 1, 2"),
        ({"classes": [0, 1, 2, 3, 4]}, "0 is not a name"),
        ({"classes": ["a", "a", "b", "c", "d"]}, "occurs twice"),
        ({"classes": list(NAMES), "names": list(NAMES[::-1])}, "'classes' and 'names' disagree"),
        ({"class_to_idx": {name: torch.zeros(3) for name in NAMES}}, "a Tensor is not the number"),
    ],
)
def test_names_that_do_not_fit_are_not_used_and_told(beside: dict[str, Any], remark: str) -> None:
    names, notes = class_names_in(beside, {}, 5)
    assert names is None
    assert remark in notes[0]


def test_what_is_missing_of_a_classifier_and_names_that_do_not_fit_are_told(
    model: VisionModel, caplog: pytest.LogCaptureFixture
) -> None:
    content = {"model": model.state_dict(), "classes": ["background", *"abcde"]}
    with caplog.at_level(logging.INFO, "phonecv"):
        phonecv.load_checkpoint("mobileone_s0", content, num_classes=5, **TINY["mobileone_s0"])
    assert "its 'classes' is not used: 6 names for 5 outputs" in caplog.text
    del content["model"]["linear.bias"]
    with pytest.raises(UserError, match=r"missing \(1\): linear.bias\n.*the file is incomplete"):
        phonecv.load_checkpoint("mobileone_s0", content, num_classes=5, **TINY["mobileone_s0"])


def test_what_only_looks_like_names_is_no_remark() -> None:
    for beside in ({"classes": 5}, {"names": "a"}, {"meta": None}, {"labels": torch.zeros(3)}, {"classes": []}):
        assert class_names_in(beside, {}, 5) == (None, ())


def test_arguments_counters_and_generators_beside_the_weights(model: VisionModel, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pth.tar"
    beside = {
        "args": argparse.Namespace(data=PosixPath("/data"), lr=0.1),
        "rng": np.random.get_state(),  # noqa: NPY002 - what people save
        "generator": np.random.default_rng(3),
        "cuda_rng": [torch.get_rng_state()],
        "best": collections.defaultdict(list),
        "best_acc1": torch.tensor(71.3),
    }
    for legacy in (False, True):
        torch.save(
            {"epoch": 1, "state_dict": model.state_dict(), **beside},
            path,
            _use_new_zipfile_serialization=not legacy,
        )
        loaded = phonecv.load_checkpoint("mobileone_s0", path, **TINY["mobileone_s0"])
        assert same(loaded.state_dict(), model.state_dict())


def test_a_whole_network_is_read_without_its_code(model: VisionModel, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    for content in (model, nn.DataParallel(model), {"epoch": 3, "model": model, "ema": None}):
        for legacy in (False, True):
            torch.save(content, path, _use_new_zipfile_serialization=not legacy)
            loaded = phonecv.load_checkpoint("mobileone_s0", path, **TINY["mobileone_s0"])
            assert same(loaded.state_dict(), model.state_dict())


def test_weights_pickled_without_torch_s_help(model: VisionModel, tmp_path: Path) -> None:
    path = tmp_path / "weights.pkl"
    path.write_bytes(pickle.dumps(model.state_dict()))
    loaded = phonecv.load_checkpoint("mobileone_s0", path, **TINY["mobileone_s0"])
    assert same(loaded.state_dict(), model.state_dict())


def lightning(state: dict[str, Tensor]) -> dict[str, Any]:
    return {"epoch": 1, "state_dict": state, "hyper_parameters": {"lr": 1e-3}, "callbacks": {"ModelCheckpoint": {}}}


def test_losses_and_metrics_beside_the_network_are_ignored(
    model: VisionModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    timm_names = phonecv.weights.from_phonecv(model.state_dict(), "timm")
    state = {f"model.{name}": value for name, value in timm_names.items()}
    state |= {"criterion.weight": torch.ones(3), "loss_fn.pos_weight": torch.ones(5), "val_acc.tp": torch.tensor(0)}
    path = tmp_path / "epoch=1.ckpt"
    torch.save(lightning(state), path)
    info = phonecv.read_checkpoint(path)
    assert (info.layout, info.problems, info.num_classes) == ("timm", (), 5)
    assert "ignored, not of the network (3): criterion.weight, loss_fn.pos_weight, val_acc.tp" in info.notes
    with caplog.at_level(logging.INFO, "phonecv"):
        loaded = phonecv.load_checkpoint("mobileone_s0", path, **TINY["mobileone_s0"])
    assert "criterion.weight" in caplog.text
    assert same(loaded.state_dict(), model.state_dict())


def test_missing_counters_of_batches_are_zero(model: VisionModel) -> None:
    state = {name: value for name, value in model.state_dict().items() if not name.endswith("num_batches_tracked")}
    loaded = phonecv.load_checkpoint("mobileone_s0", state, **TINY["mobileone_s0"])
    assert same({name: loaded.state_dict()[name] for name in state}, state)
    assert loaded.state_dict()["stage0.rbr_conv.0.bn.num_batches_tracked"] == 0


FOREIGN_HEADS = {
    "beside it": ("backbone.", {"head.weight": torch.zeros(5, 48), "head.bias": torch.zeros(5)}),
    "a perceptron": ("", {"linear.0.weight": torch.zeros(9, 48), "linear.2.weight": torch.zeros(5, 9)}),
    "of a detector": ("backbone.", {"neck.lateral.weight": torch.zeros(3), "bbox_head.cls.weight": torch.zeros(3)}),
    "of a subclass": ("", {"classifier.weight": torch.zeros(5, 48)}),
}


@pytest.mark.parametrize("kind", FOREIGN_HEADS)
def test_a_backbone_with_a_head_of_its_own_is_not_half_loaded(
    kind: str, model: VisionModel, caplog: pytest.LogCaptureFixture
) -> None:
    prefix, head = FOREIGN_HEADS[kind]
    state = {prefix + name: value for name, value in model.state_dict().items() if not name.startswith("linear.")}
    state |= head
    first = next(iter(head))
    with pytest.raises(UserError, match=rf"backbone with a head of its own \({first}.*head='drop'"):
        phonecv.load_checkpoint("mobileone_s0", state, num_classes=5, **TINY["mobileone_s0"])
    with caplog.at_level(logging.WARNING, "phonecv"):
        phonecv.load_checkpoint("mobileone_s0", state, num_classes=5, head="drop", **TINY["mobileone_s0"])
        target = settled(phonecv.create_model("mobileone_s0", num_classes=3, **TINY["mobileone_s0"]), seed=5)
        phonecv.load_checkpoint(target, state, head="auto")
    assert same(target.stage3.state_dict(), model.stage3.state_dict())
    assert "has no such classifier: its classifier stays fresh" in caplog.text
