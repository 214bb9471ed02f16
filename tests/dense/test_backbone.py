"""Feature maps at chosen strides, from our networks, timm's and anybody's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import phonecv
from conftest import TINY
from phonecv.dense.backbone import feature_channels, make_backbone, normalisation
from phonecv.dense.model import DenseModel
from phonecv.errors import UserError
from phonecv.preprocessing import DensePreprocessing, Preprocessing

TIMM = "timm:mobilenetv3_small_050"


@pytest.mark.parametrize("strides", [(16, 32), (8, 16, 32), (4, 8, 16, 32), (2, 32)])
@pytest.mark.parametrize("name", [*TINY, TIMM])
def test_maps_have_the_strides_and_channels_promised(name: str, strides: tuple[int, ...]) -> None:
    network = make_backbone(name, strides, **TINY.get(name, {})).eval()
    channels = feature_channels(network, strides)
    with torch.no_grad():
        maps = network(torch.randn(1, 3, 75, 131))
    assert len(maps) == len(strides)
    for x, stride, width in zip(maps, strides, channels, strict=True):
        assert x.shape == (1, width, -(-75 // stride), -(-131 // stride))


def test_catalog_backbone_has_no_classifier() -> None:
    network = make_backbone("emov2_1m", (16, 32), **TINY["emov2_1m"])
    assert not [name for name, _ in network.named_parameters() if name.startswith(("norm", "head"))]


@pytest.mark.parametrize("name", list(TINY))
def test_classification_weights_are_taken(name: str, tmp_path: Path) -> None:
    classifier = phonecv.create_model(name, num_classes=5, **TINY[name])
    phonecv.save_checkpoint(classifier, tmp_path / "weights.safetensors")
    network = make_backbone(name, (8, 16, 32), weights=tmp_path / "weights.safetensors", **TINY[name])
    wanted = classifier.state_dict()
    assert network.state_dict()
    for key, value in network.state_dict().items():
        assert torch.equal(value, wanted[key])


@pytest.mark.parametrize(
    ("backbone", "strides", "arguments", "said"),
    [
        ("emov2_5n", (16, 32), {}, "did you mean 'emov2_5m'"),
        ("emov2_5m", (16, 64), {}, "strides 2, 4, 8, 16 and 32"),
        ("emov2_5m", (3,), {}, "strides 2, 4, 8, 16 and 32"),
        ("emov2_5m", (16, 32), {"depth": 3}, "has no argument 'depth'"),
        ("timm:mobilenetv3_smal_050", (16, 32), {}, "did you mean"),
        (TIMM, (16, 64), {}, r"not \[64\]"),
        (TIMM, (16, 32), {"weights": "somewhere.pth"}, "'pretrained'"),
        (TIMM, (16, 32), {"no_such_argument": 1}, "cannot serve"),
        (nn.Conv2d(3, 4, 3), (16, 32), {}, "no feature_info"),
        (nn.Conv2d(3, 4, 3), (16, 32), {"window": 3}, "used as it is"),
    ],
)
def test_mistakes_are_named(backbone: Any, strides: tuple[int, ...], arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        make_backbone(backbone, strides, **arguments)


def test_a_module_must_describe_the_maps_it_returns() -> None:
    classifier = phonecv.create_model("emov2_1m", **TINY["emov2_1m"])
    with pytest.raises(UserError, match="out_indices"):
        make_backbone(classifier, (16, 32))
    network = phonecv.create_model("emov2_1m", out_indices=(3, 4), **TINY["emov2_1m"])
    assert make_backbone(network, (16, 32)) is network
    with pytest.raises(UserError, match=r"strides \[16, 32\], \[8, 16, 32\]"):
        make_backbone(network, (8, 16, 32))


def test_our_names_inside_timm() -> None:
    import timm

    network = timm.create_model("emo_1m", features_only=True, out_indices=(3, 4))
    assert feature_channels(network, (16, 32)) == [80, 168]


def test_heads_stand_on_a_backbone_of_either_form(tmp_path: Path) -> None:
    classifier = phonecv.create_model("mobileone_s0", num_classes=5, **TINY["mobileone_s0"]).eval()
    fused = phonecv.fuse(classifier)
    phonecv.save_checkpoint(fused, tmp_path / "fused.safetensors")
    given: dict[str, Any] = {"weights": tmp_path / "fused.safetensors", **TINY["mobileone_s0"]}
    with pytest.raises(UserError, match="cannot be undone"):
        make_backbone("mobileone_s0", (16, 32), form="training", **given)
    assert make_backbone("mobileone_s0", (16, 32), **given).form == "deploy"
    network = make_backbone("mobileone_s0", (16, 32), form="deploy", **given)
    assert network.form == "deploy"
    with pytest.raises(UserError, match="deploy form"):
        make_backbone(network, (16, 32), form="training")
    assert make_backbone(network, (16, 32)) is network
    assert make_backbone(network, (16, 32), form="deploy") is network


def test_normalisation_follows_the_weights() -> None:
    network: Any = make_backbone("emov2_1m", (16, 32), **TINY["emov2_1m"])
    network.preprocessing = Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.1, 0.2, 0.3))
    assert normalisation(network, pretrained=False) == {"mean": (0.5, 0.5, 0.5), "std": (0.1, 0.2, 0.3)}
    other = make_backbone("timm:tf_mobilenetv3_small_minimal_100", (16, 32))
    assert normalisation(other, pretrained=False) == {}
    import timm

    config = timm.get_pretrained_cfg("tf_mobilenetv3_small_minimal_100")
    assert config is not None
    assert normalisation(other, pretrained=True) == {"mean": tuple(config.mean), "std": tuple(config.std)}


def test_a_dense_model_knows_how_it_was_made() -> None:
    network = make_backbone("emov2_1m", (16, 32), window=5, **TINY["emov2_1m"])
    model = DenseModel("ssdlite320", network, 3, DensePreprocessing())
    assert model.backbone_name == "emov2_1m"
    assert model.backbone_overrides["window"] == 5
    assert "out_indices" not in model.backbone_overrides
    assert (model.name, model.form) == ("ssdlite320 on emov2_1m", "training")
    foreign = DenseModel("ssdlite320", make_backbone(TIMM, (16, 32), drop_rate=0.1), 3, DensePreprocessing())
    assert (foreign.backbone_name, foreign.backbone_overrides) == (TIMM, {"drop_rate": 0.1})
