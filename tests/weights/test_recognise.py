"""Telling what a mapping of tensors is."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import phonecv
from models.reference import load_golden
from phonecv.catalog import MODELS
from phonecv.errors import UserError
from phonecv.weights.recognise import choose_weights, recognise
from weights.helpers import SIZES, key_table, numbered

LIVE = {"stage0.reparam_conv.weight": torch.zeros(48, 3, 3, 3), "linear.bias": torch.zeros(10)}
AVERAGE = {name: value + 1 for name, value in LIVE.items()}


@pytest.mark.parametrize(
    ("code_base", "form", "expected"),
    [
        ("timm", "unfused", "training"),
        ("timm", "fused", "deploy"),
        ("mmpretrain", "train", "training"),
        ("mmpretrain", "deploy", "deploy"),
        ("paddlevit", "unfused", "training"),
        ("paddlevit", "fused", "deploy"),
    ],
)
@pytest.mark.parametrize("size", SIZES)
def test_foreign_mobileone_files_are_recognised(code_base: str, form: str, expected: str, size: str) -> None:
    found = recognise(numbered(key_table(code_base, size, form)))
    assert (found.layout, found.family, found.form) == (code_base, "mobileone", expected)
    assert found.candidates == (f"mobileone_{size}",)
    assert found.num_classes == 1000


@pytest.mark.parametrize(
    ("file", "layout", "candidates"),
    [
        ("EMO_1M", "emo", ("emo_1m",)),
        ("EMO_2M", "emo", ("emo_2m",)),
        ("EMO_5M", "emo", ("emo_5m",)),
        ("EMO_6M", "emo", ("emo_6m",)),
        ("EMO2_1M_k5_hybrid", "emov2", ("emov2_1m", "emov2_1m_256", "emov2_1m_512")),
        ("EMO2_5M_k5_hybrid", "emov2", ("emov2_5m", "emov2_5m_256", "emov2_5m_512")),
        ("EMO2_20M_k5_hybrid", "emov2", ("emov2_20m", "emov2_20m_256")),
        ("EMO2_50M_k5_hybrid", "emov2", ("emov2_50m",)),
        ("EMO1_5M", "emov2", ("emov2_remote_5m",)),
        ("mobileone_s4_unfused", "apple", ("mobileone_s4",)),
        ("mobileone_s2_fused", "apple", ("mobileone_s2",)),
    ],
)
def test_official_files_are_recognised(file: str, layout: str, candidates: tuple[str, ...]) -> None:
    meta, _ = load_golden(file)
    found = recognise(numbered({key: tuple(shape) for key, shape, _ in meta["keys"]}))
    assert (found.layout, found.candidates) == (layout, candidates)
    assert found.form == ("deploy" if "_fused" in file else "training")


@pytest.mark.parametrize("name", [name for name in MODELS if not name.startswith(("emov2_20m", "emov2_50m"))])
def test_every_network_recognises_itself_in_both_forms(name: str) -> None:
    model = phonecv.create_model(name, num_classes=7).eval()
    for form, state in (("training", model.state_dict()), ("deploy", phonecv.fuse(model).state_dict())):
        found = recognise(state)
        assert name in found.candidates
        assert (found.form, found.num_classes, found.family) == (form, 7, MODELS[name].family)


WRAPPERS: dict[str, dict[str, Any]] = {
    "EMO": {"net": LIVE, "net_E": AVERAGE, "optimizer": {"state": {}}, "epoch": 3, "iter": 7},
    "timm": {"arch": "x", "state_dict": LIVE, "state_dict_ema": AVERAGE, "epoch": 1},
    "DeiT": {"model": LIVE, "model_ema": AVERAGE, "lr": 0.1},
    "mmengine": {"meta": {}, "state_dict": LIVE, "ema_state_dict": {f"module.{k}": v for k, v in AVERAGE.items()}},
    "averaged model": {
        "model": LIVE,
        "model_ema": {"n_averaged": torch.tensor(3), **{f"module.{k}": v for k, v in AVERAGE.items()}},
    },
}


@pytest.mark.parametrize("kind", WRAPPERS)
def test_live_or_average_is_asked_for_by_name(kind: str) -> None:
    content = WRAPPERS[kind]
    found = recognise(content)
    assert found.ema_available
    assert found.layout == "apple"
    with pytest.raises(UserError, match=r"ema=True for the average, ema=False for the live"):
        choose_weights(content, None, "it")
    assert torch.equal(choose_weights(content, False, "it").state["linear.bias"], LIVE["linear.bias"])
    average = choose_weights(content, True, "it").state
    assert average.keys() == AVERAGE.keys()
    assert torch.equal(average["linear.bias"], AVERAGE["linear.bias"])


def test_one_set_of_weights_needs_no_choice() -> None:
    without = {"net": LIVE, "net_E": None, "epoch": 3}  # averaging was off
    assert choose_weights(without, None, "it").wrapper == "net"
    assert choose_weights(without, False, "it").wrapper == "net"
    with pytest.raises(UserError, match="no moving average, only 'net'"):
        choose_weights(without, True, "it")
    only_average = {"state_dict_ema": AVERAGE}
    assert choose_weights(only_average, None, "it").notes
    with pytest.raises(UserError, match="no live weights, only 'state_dict_ema'"):
        choose_weights(only_average, False, "it")
    with pytest.raises(UserError, match="one set of weights"):
        choose_weights(LIVE, True, "it")


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "model.", "module.module."])
def test_prefixes_that_all_names_share_are_taken_off(prefix: str) -> None:
    prefixed = {prefix + name: value for name, value in LIVE.items()}
    for content in (prefixed, {"state_dict": prefixed}):
        assert choose_weights(content, None, "it").state.keys() == LIVE.keys()


def test_a_wrapper_in_a_wrapper_and_bookkeeping_are_seen_through() -> None:
    weights = choose_weights({"state_dict": {"model": LIVE}}, None, "it")
    assert (weights.wrapper, weights.state.keys()) == ("state_dict.model", LIVE.keys())
    paddle = choose_weights({**LIVE, "StructuredToParameterName@@": {"a": "b"}}, None, "it")
    assert paddle.notes == ()
    noted = choose_weights({**LIVE, "epoch": 3}, None, "it")
    assert "epoch" in noted.notes[0]


def test_what_holds_no_known_weights_is_said() -> None:
    found = recognise({"conv1.weight": torch.zeros(3)})
    assert (found.layout, found.family, found.candidates) == ("unknown", None, ())
    with pytest.raises(UserError, match=r"no tensors .*'epoch'"):
        recognise({"epoch": 3, "lr": 0.1})
    with pytest.raises(UserError, match="no tensors"):
        recognise({"net": {"epoch": {}}})


def test_a_backbone_without_classifier_is_recognised() -> None:
    state = phonecv.create_model("emov2_1m", out_indices=(1, 2, 3, 4)).state_dict()
    found = recognise(state)
    assert found.num_classes is None
    assert "emov2_1m" in found.candidates
    headless = {k: v for k, v in numbered(key_table("mmpretrain", "s1", "train")).items() if not k.startswith("head.")}
    assert recognise(headless).candidates == ("mobileone_s1",)
