"""Telling what a mapping of tensors is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import phonecv
from conftest import mostly_long
from models.reference import load_golden
from phonecv.errors import UserError
from phonecv.models.catalog import MODELS
from phonecv.weights.recognise import network_of, recognise
from phonecv.weights.unwrap import choose_weights
from weights.helpers import SIZES, key_table, numbered

LIVE = {"stage0.reparam_conv.weight": torch.zeros(48, 3, 3, 3), "linear.bias": torch.zeros(10)}
AVERAGE = {name: value + 1 for name, value in LIVE.items()}
COUNT = torch.tensor(3)


def wrapped(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in state.items()}


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


@pytest.mark.parametrize(
    "name", mostly_long(MODELS, "emo_1m", "emov2_1m", "emov2_5m", "emov2_remote_1m", "mobileone_s1", "mobileone_s4")
)
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
    # EMAHook swaps the two before it saves.
    "mmengine": {"meta": {}, "state_dict": AVERAGE, "ema_state_dict": wrapped(LIVE, "module.")},
    "mmengine's steps": {
        "state_dict": wrapped(AVERAGE, "model."),
        "ema_state_dict": {"steps": torch.tensor(7), **wrapped(LIVE, "module.model.")},
    },
    "somebody's keys": {"state_dict": LIVE, "ema_state_dict": {**wrapped(AVERAGE, "module."), "n_averaged": COUNT}},
    "somebody's names": {"state_dict": LIVE, "ema_state_dict": AVERAGE, "meta": {"epoch": 3}},
    "averaged model": {"model": LIVE, "model_ema": {"n_averaged": COUNT, **wrapped(AVERAGE, "module.")}},
    "Lightning's averaging": {
        "state_dict": wrapped(AVERAGE, "model."),
        "current_model_state": wrapped(LIVE, "model."),
        "averaging_state": {"n_averaged": COUNT},
    },
    "callback of Lightning": {
        "state_dict": wrapped(LIVE, "net."),
        "callbacks": {"EMA{'decay': 0.99}": {"ema_state_dict": wrapped(AVERAGE, "net.")}, "Timer": {"start": 3}},
    },
    "Lightning's SWA": {
        "state_dict": wrapped(LIVE, "net."),
        "callbacks": {"StochasticWeightAveraging": {"n_averaged": 2, "average_model_state": wrapped(AVERAGE, "net.")}},
    },
    "average in a module": {"state_dict": {**wrapped(LIVE, "model."), **wrapped(AVERAGE, "model_ema.module.")}},
    "average beside it": {**LIVE, **wrapped(AVERAGE, "ema."), "ema.n_averaged": COUNT},
    "ultralytics": {"epoch": 3, "model": LIVE, "ema": AVERAGE, "updates": 8, "best_fitness": torch.tensor(0.7)},
    "in a wrapper": {
        "checkpoint": 1,
        "model": {"state_dict": LIVE},
        "ema": {"state_dict": wrapped(AVERAGE, "module.")},
    },
    "BasicSR": {"params": LIVE, "params_ema": AVERAGE},
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
    for ema, expected in ((False, LIVE), (True, AVERAGE)):
        state, layout, _ = network_of(choose_weights(content, ema, "it"))
        assert layout == "apple"
        assert state.keys() == expected.keys()
        assert all(torch.equal(state[name], expected[name]) for name in state)


def test_what_is_live_and_what_average_is_said() -> None:
    found = recognise(WRAPPERS["mmengine"])
    assert (found.live, found.average) == ("ema_state_dict", "state_dict")
    found = recognise(WRAPPERS["callback of Lightning"])
    assert (found.live, found.average) == ("state_dict", "callbacks.EMA{'decay': 0.99}.ema_state_dict")
    found = recognise(WRAPPERS["average in a module"])
    assert (found.live, found.average) == ("state_dict: model.*", "state_dict: model_ema.module.*")


def test_an_averaged_network_alone_is_an_average() -> None:
    content = {"n_averaged": COUNT, **wrapped(AVERAGE, "module.")}
    found = recognise(content)
    assert (found.live, found.average) == ("", "the file itself")
    assert "only the moving average" in found.notes[0]
    assert choose_weights(content, True, "it").state.keys() == AVERAGE.keys()
    with pytest.raises(UserError, match="without the live weights beside it; pass ema=True"):
        choose_weights(content, False, "it")


def test_several_networks_are_named_and_shared_ones_are_one() -> None:
    with pytest.raises(UserError, match=r"several networks \('student\.\*', 'teacher\.\*'\)"):
        recognise({**wrapped(LIVE, "student."), **wrapped(AVERAGE, "teacher.")})
    found = recognise({**wrapped(LIVE, "model."), **wrapped(LIVE, "loss.net.")})
    assert (found.layout, found.num_classes, found.ema_available) == ("apple", 10, False)


def test_networks_under_keys_of_people_s_own() -> None:
    for content in ({"student": LIVE, "epoch": 3}, {"best": wrapped(LIVE, "module.")}, {"checkpoint": {"model": LIVE}}):
        assert torch.equal(choose_weights(content, None, "it").state["linear.bias"], LIVE["linear.bias"])
    content = {"model": LIVE, "ema_weights": AVERAGE, "optimizer": {0: {"exp_avg": torch.zeros(3)}}}
    for ema, expected in ((False, LIVE), (True, AVERAGE)):
        assert torch.equal(choose_weights(content, ema, "it").state["linear.bias"], expected["linear.bias"])
    with pytest.raises(UserError, match="two sets of weights"):
        choose_weights(content, None, "it")
    with pytest.raises(UserError, match=r"several networks \('student', 'teacher'\)"):
        choose_weights({"student": LIVE, "teacher": AVERAGE}, None, "it")


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


PREFIXES = [
    "module.", "_orig_mod.", "module._orig_mod.", "model.", "module.module.", "net.", "backbone.", "timm_model.",
    "encoder.", "model.backbone.timm_model.", "my_classifier.stem_and_stages.",
]  # fmt: skip


@pytest.mark.parametrize("prefix", PREFIXES)
def test_what_stands_in_front_of_a_network_is_taken_off(prefix: str) -> None:
    other = {"criterion.weight": torch.ones(3), "val_acc.tp": torch.tensor(3)}
    for state in (LIVE, numbered(key_table("mmpretrain", "s0", "deploy"))):
        prefixed = wrapped(state, prefix)
        beside = prefixed | other
        for content, ignored in (
            (prefixed, ()),
            ({"state_dict": prefixed, "best": torch.tensor(71.5)}, ()),
            (beside, tuple(other)),
            ({"state_dict": beside}, tuple(other)),
        ):
            assert network_of(choose_weights(content, None, "it"))[0].keys() == state.keys()
            found = recognise(content)
            assert found.num_classes in (10, 1000)
            assert found.ignored == ignored


def test_wrappers_within_a_network_are_taken_out() -> None:
    state = phonecv.create_model("mobileone_s1", num_classes=3).state_dict()
    compiled = {
        name.replace("stage2.", "stage2._orig_mod.").replace("se.", "_orig_mod.se."): t for name, t in state.items()
    }
    assert any("_orig_mod" in name for name in compiled)
    for content in (compiled, wrapped(compiled, "model._orig_mod."), wrapped(compiled, "_fsdp_wrapped_module.")):
        assert network_of(choose_weights(content, None, "it"))[0].keys() == state.keys()


def test_counters_of_thop_are_noted_and_left_out() -> None:
    state = phonecv.create_model("emov2_1m", num_classes=3).state_dict()
    counted = {**state, "total_ops": torch.zeros(1), "steps": torch.tensor(3)}
    counted |= {f"{name.rpartition('.')[0]}.total_params": torch.zeros(1, dtype=torch.float64) for name in state}
    weights = choose_weights(counted, None, "it")
    assert weights.state.keys() == state.keys()
    assert "counters" in weights.notes[0]
    assert recognise(counted).ignored == ()


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
