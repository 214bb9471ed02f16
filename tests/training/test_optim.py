"""Parameter groups, freezing, and the moving average."""

from __future__ import annotations

import pytest
import torch
from timm.optim import param_groups_layer_decay
from torch import nn

from conftest import TINY
from phonecv import create_model
from phonecv.detect.create import create_detector
from phonecv.errors import UserError
from phonecv.models.base import VisionModel
from phonecv.segment.create import create_segmenter
from phonecv.training.config import EmaConfig, OptimizerConfig, ScheduleConfig
from phonecv.training.ema import Ema
from phonecv.training.optim import decay_groups, freeze, make_optimizer, train_mode
from phonecv.training.schedule import Schedule


def tiny(name: str) -> VisionModel:
    return create_model(name, num_classes=3, **TINY[name])


@pytest.mark.parametrize("name", ["emo_1m", "emov2_1m"])
def test_emo_spares_vectors_biases_and_layer_scale(name: str) -> None:
    model = tiny(name)
    decay, spared = decay_groups(model, "emo")
    parameters = dict(model.named_parameters())
    assert sorted(decay + spared) == sorted(parameters)
    assert all(parameters[key].ndim > 1 and key.endswith(".weight") for key in decay)
    gammas = [key for key in parameters if key.endswith("ls.gamma")]
    assert all(parameters[key].ndim == 4 for key in gammas)
    assert set(gammas) <= set(spared)
    assert bool(gammas) == (name == "emov2_1m")
    weights = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    assert len(decay) == len(weights)


def test_published_group_sizes() -> None:
    # Convolutions and the classifier of EMOv2-1M decay, everything else is spared.
    model = create_model("emov2_1m")
    decay, spared = decay_groups(model, "emo")
    counts = sum(1 for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear))
    assert (len(decay), len(decay) + len(spared)) == (counts, len(list(model.parameters())))


def test_mobileone_spares_norm_parameters_only() -> None:
    model = tiny("mobileone_s0")
    decay, spared = decay_groups(model, "norm")
    assert "linear.bias" in decay
    assert spared
    assert all(".bn." in key or ".rbr_skip." in key for key in spared)
    assert not any(".bn." in key or ".rbr_skip." in key for key in decay)
    assert decay_groups(model, "none")[1] == []


def factors(model: nn.Module, config: OptimizerConfig) -> dict[str, float]:
    """By name, what the rate of each parameter is multiplied by."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = make_optimizer(model, config, 0.1).param_groups
    return {names[id(each)]: group.get("lr_scale", 1.0) for group in groups for each in group["params"]}


@pytest.mark.parametrize("name", TINY)
def test_the_rate_falls_from_layer_to_layer_as_in_timm(name: str) -> None:
    model = tiny(name)
    found = factors(model, OptimizerConfig(layer_decay=0.75))
    groups = param_groups_layer_decay(model, layer_decay=0.75)
    names = {id(parameter): key for key, parameter in model.named_parameters()}
    assert found == {names[id(each)]: group["lr_scale"] for group in groups for each in group["params"]}
    blocks = list(dict.fromkeys(key.split(".")[0] + key.split(".")[1] for key in found if key[:6] in BLOCKS))
    assert len(blocks) == sum(TINY[name]["depths"]) * (2 if name == "mobileone_s0" else 1)  # of halves there
    for key, factor in found.items():
        block = key.split(".")[0] + key.split(".")[1]
        depth = len(blocks) - blocks.index(block) if block in blocks else len(blocks) + 1
        assert factor == pytest.approx(0.75**depth if key.startswith("stage") else 1.0)


#: Stages of blocks.
BLOCKS = ("stage1", "stage2", "stage3", "stage4")


@pytest.mark.parametrize(
    "model",
    [
        create_detector("ssdlite320", "mobileone_s0", num_classes=2, **TINY["mobileone_s0"]),
        create_segmenter("segformer", "emov2_1m", num_classes=2, options={"channels": 16}, **TINY["emov2_1m"]),
    ],
    ids=["detector", "segmenter"],
)
def test_heads_have_the_whole_rate_and_the_last_block_the_first_share_of_it(model: nn.Module) -> None:
    found = factors(model, OptimizerConfig(layer_decay=0.5, head_lr=10))
    count = len({key.split(".")[1] + key.split(".")[2] for key in found if key[9:15] in BLOCKS})
    assert found.keys() == dict(model.named_parameters()).keys()
    for key, factor in found.items():
        if not key.startswith("backbone."):
            assert factor == (1 if key.startswith("neck.") else 10)
    assert {factor for key, factor in found.items() if key.startswith("backbone.stage0")} == {0.5 ** (count + 1)}
    last = max(key.split(".")[2] for key in found if key.startswith("backbone.stage4."))
    assert {factor for key, factor in found.items() if key.startswith(f"backbone.stage4.{last}.")} == {0.5}
    freeze(model, ("stage0", "stage1"), None)
    left = {key.split(".")[1] for key in factors(model, OptimizerConfig()) if key.startswith("backbone.")}
    assert not left & {"stage0", "stage1"}
    assert "stage2" in left
    with pytest.raises(UserError, match="a Linear does not tell its blocks apart"):
        make_optimizer(nn.Linear(2, 2), OptimizerConfig(layer_decay=0.5), 0.1)


def test_the_logged_rate_is_that_of_the_heads() -> None:
    model = tiny("emo_1m")
    optimizer = make_optimizer(model, OptimizerConfig(layer_decay=0.5, lr_batch=0), 0.1)
    schedule = ScheduleConfig(warmup_epochs=0, scale_ends=False, min_lr=0)
    set_rate = Schedule(optimizer, schedule, OptimizerConfig(lr=0.1, lr_batch=0), steps_per_epoch=1, batch_size=1).set
    assert set_rate(0) == pytest.approx(0.1)
    assert set_rate(150) == pytest.approx(0.05)
    assert min(group["lr"] for group in optimizer.param_groups) < 0.001


def test_frozen_parameters_are_in_no_group() -> None:
    model = tiny("emov2_1m")
    freeze(model, ("backbone",), model.get_classifier())
    optimizer = make_optimizer(model, OptimizerConfig(), 0.1)
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 2
    train_mode(model, "train")
    assert not model.stage1.training
    assert model.get_classifier().training
    freeze(model, ("head",), None)
    with pytest.raises(UserError, match="nothing would be trained"):
        make_optimizer(model, OptimizerConfig(), 0.1)
    with pytest.raises(UserError, match=r"model\.freeze='stage9' fits no parameter"):
        freeze(model, ("stage9",), None)


def test_training_modes() -> None:
    model = tiny("emo_1m")
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    train_mode(model, "norm_eval")
    assert model.training
    assert not any(module.training for module in norms)
    train_mode(model, "eval")
    assert not model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    train_mode(model, "train")
    assert all(module.training for module in norms)


@pytest.mark.parametrize("start", ["reference", "copy", "warmup"])
def test_ema_follows_its_formula(start: str) -> None:
    torch.manual_seed(0)
    model = tiny("mobileone_s0")
    ema = Ema(model, EmaConfig(decay=0.9, start=start))  # type: ignore[arg-type]
    name = "stage1.0.rbr_scale.bn.running_mean"
    expected = {key: model.state_dict()[key].clone() for key in ("linear.weight", name)}
    for step in range(1, 6):
        with torch.no_grad():
            for value in model.state_dict().values():
                value.copy_(torch.randn_like(value) if value.is_floating_point() else value + 1)
        ema.update(model, step)
        if start == "reference":
            decay = 0.9
        elif step == 1:
            decay = 0.0
        else:
            decay = 0.9 if start == "copy" else min(0.9, 1 - step ** (-2 / 3))
        for key in expected:
            expected[key] = decay * expected[key] + (1 - decay) * model.state_dict()[key]
    average = ema.module.state_dict()
    for key, value in expected.items():
        torch.testing.assert_close(average[key], value, rtol=1e-5, atol=1e-6)
    counter = "stage1.0.rbr_scale.bn.num_batches_tracked"
    assert average[counter] == model.state_dict()[counter]


def test_ema_can_copy_statistics() -> None:
    model = tiny("mobileone_s0")
    ema = Ema(model, EmaConfig(decay=0.9, start="reference", buffers=False))
    name = "stage1.0.rbr_scale.bn.running_mean"
    model.state_dict()[name].fill_(5.0)
    ema.update(model, 1)
    assert bool((ema.module.state_dict()[name] == 5.0).all())
