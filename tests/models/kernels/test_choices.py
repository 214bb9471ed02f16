"""Kernels are chosen by measuring once a processor; whatever is chosen, the numbers are the same."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import phonecv
from conftest import TINY
from models.reference import golden_input, golden_model, load_golden
from models.test_golden import LOGIT_TOLERANCE, sizes_of
from phonecv.errors import UserError
from phonecv.installation import doctor
from phonecv.models.fusing import fuse
from phonecv.models.kernels import choices
from phonecv.models.kernels.choices import CHOICES, POINTWISE, WAYS, WEIGHTS, Way, using
from settle import settle
from weights.helpers import relative

Timed = list[str]


@pytest.fixture
def timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Timed]:
    """What is measured, as a fresh process on a machine where our ways are faster."""
    names: Timed = []

    def times(name: str, trial: object) -> dict[Way, float]:
        names.append(name)
        return {"pytorch": 2e-3, "ours": 1e-3}

    monkeypatch.setattr(choices, "_times", times)
    monkeypatch.setenv("PHONECV_CACHE", str(tmp_path))
    monkeypatch.delenv("PHONECV_KERNELS")
    with using("ours"):  # afterwards all is as it was
        forget()
        yield names


def forget() -> None:
    """As in a new process."""
    for choice in CHOICES.values():
        choice._taken = None


def test_measured_once_and_kept(timed: Timed) -> None:
    assert POINTWISE.ours
    assert POINTWISE.ours
    forget()
    assert POINTWISE.ours
    assert WEIGHTS.ours
    assert timed == ["pointwise", "weights"]
    held = json.loads(choices.path().read_text(encoding="utf-8"))
    assert held["machine"]["torch"] == torch.__version__
    assert held["choices"]["pointwise"]["way"] == "ours"
    assert held["choices"]["pointwise"]["milliseconds"] == {"pytorch": 2.0, "ours": 1.0}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"machine": {}, "choices": {}}',
        '{"machine": MACHINE}',
        '{"machine": MACHINE, "choices": {"pointwise": {"way": "theirs", "milliseconds": {}, "date": ""}}}',
        '{"machine": MACHINE, "choices": {"pointwise": "ours"}}',
        '{"machine": MACHINE, "choices": {"pointwise": {"way": "ours", "milliseconds": {}, "date": ""}}}',
        '{"machine": MACHINE, "choices": {"pointwise": {"way": "ours", "milliseconds": 3, "date": ""}}}',
        '{"machine": MACHINE, "choices": {"pointwise": {"way": "pytorch"}}}',
    ],
)
def test_damaged_and_foreign_files_are_measured_anew(timed: Timed, text: str) -> None:
    choices.path().write_text(text.replace("MACHINE", json.dumps(choices._machine())), encoding="utf-8")
    assert POINTWISE.ours
    assert timed == ["pointwise"]
    forget()
    assert POINTWISE.ours
    assert timed == ["pointwise"]


def test_a_cache_that_cannot_be_written(timed: Timed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PHONECV_CACHE", str(tmp_path / "file" / "cache"))
    assert POINTWISE.ours
    assert timed == ["pointwise"]


def test_the_environment_decides_without_measuring(timed: Timed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHONECV_KERNELS", "pytorch")
    assert not any(choice.ours for choice in CHOICES.values())
    forget()
    monkeypatch.setenv("PHONECV_KERNELS", " pointwise=ours, weights = pytorch")
    assert (POINTWISE.ours, WEIGHTS.ours) == (True, False)
    assert timed == []
    assert CHOICES["layout"].ours
    assert timed == ["layout"]
    forget()
    for text, word in (
        ("pointwize=ours", "did you mean 'pointwise'"),
        ("layout=fast", "pytorch, ours"),
        ("all", "all"),
    ):
        monkeypatch.setenv("PHONECV_KERNELS", text)
        with pytest.raises(UserError, match=word):
            _ = POINTWISE.ours


def test_doctor_says_what_was_chosen(timed: Timed, monkeypatch: pytest.MonkeyPatch) -> None:
    assert POINTWISE.ours
    monkeypatch.setenv("PHONECV_KERNELS", "weights=pytorch")
    found = {item.name: item.value for item in doctor() if item.section == "kernels"}
    assert list(found) == list(CHOICES)
    assert found["pointwise"].startswith("ours (1.00 ms, pytorch 2.00 ms)")
    assert found["weights"].startswith("pytorch (PHONECV_KERNELS)")
    assert found["layout"].startswith("not measured yet")
    assert timed == ["pointwise"]
    monkeypatch.setenv("PHONECV_KERNELS", "x=y")
    assert [item.state for item in doctor() if item.section == "kernels"] == ["broken"]


def test_everything_can_be_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PHONECV_CACHE", str(tmp_path))
    monkeypatch.setattr(choices, "_SECONDS", 0.0)
    monkeypatch.setattr(choices, "_LEAST_TURNS", 1)
    with using("ours"), torch.autocast("cpu", dtype=torch.bfloat16), torch.inference_mode():
        for choice in CHOICES.values():
            assert set(choice.measure().milliseconds) == set(WAYS)
    assert set(json.loads(choices.path().read_text(encoding="utf-8"))["choices"]) == set(CHOICES)


@pytest.mark.parametrize("file", ["EMO2_1M_k5_hybrid", "mobileone_s0_unfused"])
def test_pytorchs_own_kernels_give_the_golden_logits(file: str) -> None:
    _, arrays = load_golden(file)
    (size, *_) = sizes_of(file)
    model = golden_model(file)
    with torch.inference_mode(), using("pytorch"):
        for network in (model, fuse(model), fuse(model, frozen=True)):
            logits = network(golden_input(file, size))
            np.testing.assert_allclose(logits.numpy(), arrays[f"logits_{size}"], rtol=0, atol=LOGIT_TOLERANCE)


@pytest.mark.parametrize("name", TINY)
def test_a_training_step_is_the_same_both_ways(name: str) -> None:
    torch.manual_seed(0)
    network: Any = settle(phonecv.create_model(name, num_classes=7, **TINY[name])).train()
    x = torch.randn(4, 3, 64, 64)
    found = []
    for way in WAYS:
        ours = copy.deepcopy(network)
        with using(way):
            ours(x).square().mean().backward()
        found.append(torch.cat([parameter.grad.flatten() for parameter in ours.parameters()]))
    assert relative(*found) < 1e-3
