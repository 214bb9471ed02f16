"""What is chosen for speed, what is said about it, and that it changes no result beyond rounding."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

from conftest import TINY, mostly_long
from phonecv import create_model
from phonecv.classify.config import ClassifyConfig
from phonecv.errors import UserError
from phonecv.models.fusing import lay_out
from phonecv.training import load_config, recipe_names, speed, train
from phonecv.training.groups import OptimizerConfig
from phonecv.training.optim import make_optimizer
from phonecv.training.recipe import find_recipe
from phonecv.training.speed import Speed, choose_speed, compiled, keeps_memory
from training.conftest import Configure

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def choose(*overrides: str, device: torch.device = CPU, family: str = "emov2", steps: int = 100, **more: Any) -> Speed:
    return choose_speed(ClassifyConfig().replaced(*overrides), device, family=family, steps=steps, **more)


def gpu(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int]) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)
    monkeypatch.setattr(speed, "compiler_problem", lambda device: None)


def test_the_processor_decides_about_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "computes_bf16", lambda: True)
    assert choose().amp == "bf16"
    assert choose(family="mobileone").amp == "none"
    monkeypatch.setattr(speed, "computes_bf16", lambda: False)
    assert choose().amp == "none"


@pytest.mark.parametrize(
    ("capability", "amp"), [((9, 0), "bf16"), ((8, 0), "bf16"), ((7, 5), "fp16"), ((6, 1), "none")]
)
def test_the_gpu_decides_about_low_precision(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], amp: str
) -> None:
    gpu(monkeypatch, capability)
    assert choose(device=CUDA, family="mobileone").amp == amp


def test_memory_is_kept_where_that_gains() -> None:
    def kept(*overrides: str, device: torch.device = CPU) -> bool:
        return keeps_memory(ClassifyConfig().replaced(*overrides), device)

    assert kept("model.name=mobileone_s0")
    assert not kept("model.name=emov2_5m")
    assert not kept("model.name=mobileone_s0", device=CUDA)
    assert kept("model.name=emov2_5m", "run.keep_memory=true")
    assert not kept("model.name=mobileone_s0", "run.keep_memory=false")


def test_compiling_must_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu(monkeypatch, (9, 0))
    assert not choose(device=CUDA, steps=1000).compile
    assert choose(device=CUDA, steps=20_000).compile
    stages = "curriculum=[{epoch: 1, size: 96}, {epoch: 2, size: 128}, {epoch: 3, size: 160}, {epoch: 4, size: 192}]"
    assert choose(stages, device=CUDA, steps=20_000).compile
    assert not choose(stages, device=CUDA, steps=19_000).compile  # each size is compiled by itself
    assert not choose(steps=10**6).compile  # no gain on a CPU
    monkeypatch.setattr(speed, "compiler_problem", lambda device: "no C++ compiler was found (g++)")
    fallen = choose(device=CUDA, steps=20_000)
    assert not fallen.compile
    assert ("run.compile", False, "no C++ compiler was found (g++)") in fallen.chosen()
    with pytest.raises(UserError, match=r"run.compile=true, but no C\+\+ compiler was found \(g\+\+\); install"):
        choose("run.compile=true")


def test_a_hand_made_choice_stands_and_is_not_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "computes_bf16", lambda: True)
    chosen = choose("run.amp=none", "run.channels_last=false", "run.compile=false", "optimizer.fused=false")
    assert chosen == Speed("none", False, False, False)
    assert chosen.chosen() == []
    assert choose("run.amp=fp16").notes == ("CPUs compute fp16 slowly; run.amp=auto chooses what this one is fast at",)
    explained = {name: value for name, value, _ in choose("run.amp=none").chosen()}
    assert explained == {"run.channels_last": True, "run.compile": False, "optimizer.fused": True}
    with pytest.raises(UserError, match=r"optimizer.fused=true: it is offered on cpu and cuda, not on meta"):
        choose("optimizer.fused=true", device=torch.device("meta"))
    assert not choose(device=torch.device("meta")).fused


def test_a_resumed_run_keeps_its_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Speed("fp16", False, False, False).to_plain()
    kept = choose(before=before)
    assert kept.to_plain() == before
    assert {reason for _, _, reason in kept.chosen()} == {"as this run began"}
    monkeypatch.setattr(speed, "compiler_problem", lambda device: "no C++ compiler was found (g++)")
    lost = choose(before=before | {"compile": True})
    assert not lost.compile
    assert "close to, not equal to" in lost.notes[0]


@pytest.mark.slow
def test_a_missing_compiler_is_named() -> None:
    import torch._inductor.config as inductor

    torch.compiler.reset()
    with inductor.patch("cpp.cxx", (None, "/nowhere/g++")):
        problem = speed.compiler_problem(CPU)
    torch.compiler.reset()
    assert problem == "no C++ compiler was found (/nowhere/g++; the variable CXX names another)"


@pytest.mark.parametrize("name", recipe_names())
def test_published_recipes_fix_their_precision(name: str) -> None:
    published = {"emo": "fp16", "mobileone": "none"}
    family = name.partition("_")[0].removesuffix("v2")
    config = load_config(name)
    ours = "# Source: our own choice" in find_recipe(name).read_text(encoding="utf-8")
    # The head alone takes no time in any precision; the smallest networks lose more by casts than they gain.
    full = name in ("probe", "clips_digits", "generate_digits")
    of_task = {"classify": published.get(family), "video": "fp16"}
    expected = "none" if full else "auto" if ours else of_task.get(config.task, "none")
    assert config.run.amp == expected


@pytest.mark.parametrize(("name", "extra"), [("adamw", {}), ("sgd", {"nesterov": True})])
def test_the_fused_update_is_the_same_update(name: Any, extra: dict[str, Any]) -> None:
    results = []
    for fused in (False, True):
        torch.manual_seed(0)
        model = create_model("mobileone_s0", num_classes=3, **TINY["mobileone_s0"]).train()
        optimizer = make_optimizer(model, OptimizerConfig(name=name, **extra), 1e-3, fused=fused)
        x = torch.randn(4, 3, 32, 32)
        for _ in range(3):
            F.cross_entropy(model(x), torch.tensor([0, 1, 2, 0])).backward()
            optimizer.step()
            optimizer.zero_grad()
        results.append(model.state_dict())
    for key, value in results[0].items():
        torch.testing.assert_close(results[1][key], value, rtol=2e-3, atol=2e-5)


@pytest.mark.parametrize("name", sorted(TINY))
def test_the_layout_changes_rounding_only(name: str) -> None:
    gradients = []
    for last in (False, True):
        torch.manual_seed(0)
        model = create_model(name, num_classes=3, **TINY[name]).train().double()
        x = torch.randn(4, 3, 48, 48, dtype=torch.float64)
        if last:
            lay_out(model, torch.channels_last)
            x = x.contiguous(memory_format=torch.channels_last)
        model(x).pow(2).sum().backward()
        gradients.append({key: value.grad for key, value in model.named_parameters()})
    largest = max(float(value.abs().max()) for value in gradients[0].values() if value is not None)
    for key, value in gradients[0].items():
        assert value is not None, key
        torch.testing.assert_close(gradients[1][key], value, rtol=1e-7, atol=1e-9 * largest)


def test_checkpointing_leaves_the_run_as_it_is(configure: Configure) -> None:
    results = [
        train(configure("schedule.epochs=1", f"run.checkpoint_activations={wanted}", out=wanted))
        for wanted in ("false", "true")
    ]
    states = [load_file(str(result.last)) for result in results]
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())
    # And a run may be resumed with the other choice: it changes no number.
    train(configure("schedule.epochs=1", "run.checkpoint_activations=false", out="true"))


def test_a_run_says_what_it_chose(configure: Configure, capsys: pytest.CaptureFixture[str]) -> None:
    config = configure("schedule.epochs=1", "run.amp=auto")
    assert train(config).finished
    said = capsys.readouterr().out
    for name in ("run.amp", "run.compile", "optimizer.fused"):
        assert re.search(rf"^{name} +(true|false|none|bf16) +\w+", said, re.MULTILINE), said
    state = torch.load(Path(config.run.out) / "state.pt", weights_only=True)
    assert state["speed"]["channels_last"] is True


def one_layer() -> nn.Module:
    """What compiles in a moment."""
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "sizes"),
    mostly_long(
        [("one layer", (32, 48)), ("emov2_1m", (32,)), ("mobileone_s0", (32,)), ("emov2_1m", (32, 48))],
        ("one layer", (32, 48)),
    ),
)
def test_a_compiled_step_equals_the_eager_one(name: str, sizes: tuple[int, ...]) -> None:
    torch.compiler.reset()
    torch.manual_seed(0)
    if name == "one layer":
        model, other = one_layer(), one_layer()
    else:
        overrides: dict[str, Any] = TINY[name] | ({} if name.startswith("mobileone") else {"drop_path": 0.5})
        model = create_model(name, num_classes=3, **overrides).train()
        other = create_model(name, num_classes=3, **overrides).train()
    other.load_state_dict(model.state_dict())
    network = compiled(other, sizes=len(sizes))
    for size in sizes:
        for run in (model, network):
            torch.manual_seed(size)
            images = torch.randn(4, 3, size, size)
            run(images).pow(2).sum().backward()
            assert torch.initial_seed() == size
        largest = max(float(value.grad.abs().max()) for value in model.parameters() if value.grad is not None)
        for (key, value), twin in zip(model.named_parameters(), other.parameters(), strict=True):
            assert twin.grad is not None, key
            torch.testing.assert_close(twin.grad, value.grad, rtol=1e-3, atol=1e-4 * largest, msg=key)
        for (key, value), twin in zip(model.named_buffers(), other.buffers(), strict=True):
            torch.testing.assert_close(twin, value, rtol=1e-4, atol=1e-5, msg=key)
        model.zero_grad()
        other.zero_grad()
    assert not any("_orig_mod" in key for key in other.state_dict())
