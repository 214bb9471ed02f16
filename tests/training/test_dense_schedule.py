"""Rates and parameter groups of the recipes for detectors and segmenters, against the public training logs."""

from __future__ import annotations

import functools
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from phonecv import create_detector, create_segmenter
from phonecv.dense.model import DenseModel
from phonecv.detect.config import DetectConfig
from phonecv.errors import UserError
from phonecv.segment.config import SegmentConfig
from phonecv.training import load_config
from phonecv.training.config import OptimizerConfig, ScheduleConfig, TrainConfig
from phonecv.training.optim import decay_groups, head_names, make_optimizer
from phonecv.training.schedule import Schedule

LOGS: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "golden" / "dense_rates.json").read_text(encoding="utf-8")
)

#: Beginning of a log's name -> recipe.
RECIPES = {
    "EMO/SSDLite": "emo_ssdlite320",
    "EMO/RetinaNet": "emo_retinanet",
    "EMO/DeepLabv3": "emo_deeplabv3",
    "EMO/PSPNet": "emo_pspnet",
    "EMOv2/RetinaNet": "emov2_retinanet",
    "EMOv2/MaskRCNN": "emov2_mask_rcnn",
    "EMOv2/DeepLabv3": "emov2_deeplabv3",
    "EMOv2/PSPNet": "emov2_pspnet",
    "EMOv2/FPN": "emov2_semantic_fpn",
    "EMOv2/SegFormer": "emov2_segformer",
    "EMOv2/UNet": "emov2_unet_hrf",
}


def recipe_of(log: str) -> str:
    if log.startswith("EMOv2/SSDLite"):
        return "emov2_ssdlite300" if log.endswith("_300") else "emov2_ssdlite512"
    return next(recipe for beginning, recipe in RECIPES.items() if log.startswith(beginning))


def schedule_of(config: TrainConfig, steps_per_epoch: int) -> Schedule:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=config.optimizer.lr)
    return Schedule(
        optimizer,
        config.schedule,
        config.optimizer,
        steps_per_epoch=steps_per_epoch,
        batch_size=config.data.batch_size,
    )


def test_the_logs_are_all_there() -> None:
    assert len(LOGS) == 45


@pytest.mark.parametrize("log", LOGS)
def test_every_rate_of_a_published_log(log: str) -> None:
    entry, config = LOGS[log], load_config(recipe_of(log))
    spe = int(entry["steps_per_epoch"] or config.schedule.epoch_steps or 0)
    if entry["steps"]:
        assert config.schedule.epochs * spe == entry["steps"]
    schedule = schedule_of(config, spe)
    assert len(entry["rates"]) > 8
    for place, rate in entry["rates"].items():
        match = re.fullmatch(r"(?:e(\d+))?i(\d+)", place)
        assert match is not None
        # The value of the iteration with this number, from 1, in four or five digits.
        step = (int(match[1] or 1) - 1) * spe + int(match[2]) - 1
        assert schedule.set(step) == pytest.approx(rate, rel=6e-4), place


@pytest.mark.parametrize("decay", ["cosine", "poly"])
@pytest.mark.parametrize("start", [0.0, 0.25])
def test_the_decays_follow_their_formulas(decay: Any, start: float) -> None:
    config = ScheduleConfig(
        epochs=40, warmup_steps=30, warmup_factor=0.1, min_lr=1e-3, scale_ends=False, decay=decay, decay_start=start
    )
    optimizer_config = OptimizerConfig(lr=0.5, lr_batch=0)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.5)
    schedule = Schedule(optimizer, config, optimizer_config, steps_per_epoch=10, batch_size=8)
    total, begin = 400, round(400 * start)

    def formula(t: int) -> float:
        if t < 30:
            return 0.05 + t * 0.45 / 30
        share = max(0, t - begin) / (total - begin)
        shape = (1 - share) ** 0.9 if decay == "poly" else (1 + math.cos(math.pi * share)) / 2
        return 1e-3 + (0.5 - 1e-3) * shape

    for t in (0, 1, 29, 30, 31, 99, 100, 101, 250, 399):
        assert schedule.set(t) == pytest.approx(formula(t), rel=1e-9), t


def test_a_rate_held_within_an_epoch_comes_back_after_warm_up() -> None:
    config = ScheduleConfig(epochs=4, warmup_steps=3, warmup_factor=0.0, min_lr=0.0, by_epoch="cosine")
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = Schedule(optimizer, config, OptimizerConfig(lr=1.0, lr_batch=0), steps_per_epoch=10, batch_size=8)
    rates = [schedule.set(t) for t in range(40)]
    assert rates[:4] == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert set(rates[3:10]) == {1.0}
    assert rates[10:20] == pytest.approx([(1 + math.cos(math.pi / 4)) / 2] * 10)


def test_warm_up_longer_than_the_training_is_refused() -> None:
    config = load_config("emo_retinanet", ["schedule.epochs=1"])
    with pytest.raises(UserError, match=r"warm-up takes 500 of 20 steps in all; set schedule\.warmup_steps=2"):
        schedule_of(config, 20)


def dense(config: TrainConfig, name: str) -> DenseModel:
    """The network of a recipe with another backbone, without memory for its weights."""
    with torch.device("meta"):
        if isinstance(config, DetectConfig):
            assert config.detect.architecture is not None
            return create_detector(config.detect.architecture, name, **config.model.overrides)
        assert isinstance(config, SegmentConfig)
        assert config.segment.architecture is not None
        return create_segmenter(config.segment.architecture, name, **config.model.overrides)


@pytest.mark.parametrize("log", [log for log, entry in LOGS.items() if entry["groups"]])
def test_parameter_groups_of_a_published_log(log: str) -> None:
    config = load_config(recipe_of(log))
    size = re.search(r"_(\d+M)", log)
    assert size is not None
    name = config.model.name if "UNet" in log else f"emov2_{size[1].lower()}"
    model = dense(config, name)
    groups = LOGS[log]["groups"]
    _, spared = decay_groups(model, config.optimizer.no_decay)
    assert len(spared) == groups["lr_mult=1 weight_decay=0"]
    optimizer = make_optimizer(model, config.optimizer, config.optimizer.lr)
    fast = [group for group in optimizer.param_groups if group.get("lr_scale") == 10]
    assert sum(len(group["params"]) for group in fast) == groups.get("lr_mult=10 weight_decay=0.05", 0)
    assert all(group["weight_decay"] == 0.05 for group in fast)
    trained = sum(parameter.requires_grad for parameter in model.parameters())
    assert sum(len(group["params"]) for group in optimizer.param_groups) == trained


def test_the_heads_rate_is_a_multiple_throughout() -> None:
    config = load_config("emov2_segformer")
    model = create_segmenter("segformer", "emov2_1m", num_classes=3)
    optimizer = make_optimizer(model, config.optimizer, config.optimizer.lr)
    schedule = Schedule(optimizer, config.schedule, config.optimizer, steps_per_epoch=16000, batch_size=32)
    heads = head_names(model)
    assert all(name.startswith("head.") for name in heads)
    for step in (0, 700, 5000, 120_000, 159_999):
        rate = schedule.set(step)
        by_parameter = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
        for name, parameter in model.named_parameters():
            assert by_parameter[id(parameter)] == pytest.approx(rate * (10 if name in heads else 1), rel=1e-12)


def test_the_neck_is_no_head() -> None:
    model = create_segmenter("semantic_fpn", "emov2_1m", num_classes=3)
    heads = head_names(model)
    assert not any(name.startswith(("neck.", "backbone.")) for name in heads)
    assert any(name.startswith("neck.") for name, _ in model.named_parameters())


@functools.cache
def recipes() -> dict[str, TrainConfig]:
    from phonecv.training import recipe_names

    return {name: load_config(name) for name in recipe_names()}


def published_rows() -> list[tuple[str, str, dict[str, Any]]]:
    from phonecv.detect.published import PUBLISHED as DETECTORS
    from phonecv.segment.published import PUBLISHED as SEGMENTERS

    rows: list[tuple[str, str, dict[str, Any]]] = [
        (row.architecture, row.backbone, dict(row.overrides)) for row in DETECTORS
    ]
    return rows + [(row.architecture, row.backbone, dict(row.overrides)) for row in SEGMENTERS.values()]


@pytest.mark.parametrize(("architecture", "backbone", "overrides"), published_rows())
def test_every_published_row_has_a_recipe(architecture: str, backbone: str, overrides: dict[str, Any]) -> None:
    from phonecv.models.catalog import MODELS

    family = backbone.partition("_")[0]
    fitting = []
    for name, config in recipes().items():
        if name.startswith(f"{family}_") and config.flat().get(f"{config.task}.architecture") == architecture:
            fitting.append((name, config))
    [(name, config)] = fitting
    drop_path = overrides.pop("drop_path", None)
    if drop_path is not None:
        assert config.model.drop_path is None
        assert MODELS[backbone].config["drop_path"] == drop_path
    own = config.model.overrides
    if family == "emo" and backbone != "emo_5m":  # the head of the recipe says so
        own = own | {"window": 7}
    assert {key: own[key] for key in overrides} == overrides, name
