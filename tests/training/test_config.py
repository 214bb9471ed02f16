"""Recipes, overrides, and what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml

from phonecv.classify.config import ClassifyConfig
from phonecv.detect.config import DetectConfig, DetectorConfig
from phonecv.errors import UserError
from phonecv.generation.catalog import GENERATORS
from phonecv.models import catalog
from phonecv.segment.config import SegmentConfig
from phonecv.settings import flatten
from phonecv.training import TrainConfig, load_config, recipe_names
from phonecv.training.config import all_settings
from phonecv.training.groups import DataConfig, OptimizerConfig, ScheduleConfig
from phonecv.training.recipe import find_recipe
from phonecv.training.schedule import scaled_lr

PROMISES = ("Data:", "Hardware:", "Time:", "Score:", "Source:", "Command:")


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_is_valid_and_states_its_promise(name: str) -> None:
    config = load_config(name)
    text = find_recipe(name).read_text(encoding="utf-8")
    assert all(f"\n# {promise} " in text for promise in PROMISES)
    assert f"train {name} " in text
    # One architecture brings a network of its own.
    own = config.flat()["segment.architecture"] == "unet_hrf"
    assert config.model.name in (GENERATORS if config.task == "generate" else catalog.MODELS) or own


@pytest.mark.parametrize("name", recipe_names())
def test_printed_configuration_reads_back_equal(name: str, tmp_path: Path) -> None:
    config = load_config(name)
    (tmp_path / "config.yaml").write_text(config.to_yaml(), encoding="utf-8")
    assert load_config(tmp_path / "config.yaml") == config


@pytest.mark.parametrize(
    ("recipe", "batch", "lr", "first", "last"),
    [
        ("emo_224", 2048, 6e-3, 1e-6, 1e-6),
        ("emo_224_lrnoise", 2048, 6e-3, 1e-6, 1e-6),
        ("emov2_224", 1024, 3e-3, 5e-7, 5e-7),
        ("emov2_512_kd", 1024, 3e-3, 5e-7, 5e-7),
        ("emov2_finetune", 1024, 5e-4, 5e-7, 5e-7),
        ("mobileone_simple", 256, 0.1, 1e-4, 1e-6),
    ],
)
def test_published_rates(recipe: str, batch: int, lr: float, first: float, last: float) -> None:
    config = load_config(recipe)
    rates = (config.optimizer.lr, config.schedule.warmup_lr, config.schedule.min_lr)
    assert config.data.batch_size == batch
    assert [scaled_lr(rate, config.optimizer, batch) for rate in rates] == pytest.approx([lr, first, last])


def test_published_settings_of_emov2() -> None:
    config = load_config("emov2_224_kd")
    assert isinstance(config, ClassifyConfig)
    assert (config.schedule.epochs, config.schedule.warmup_epochs) == (300, 20)
    assert (config.optimizer.weight_decay, config.optimizer.clip, config.loss.smoothing) == (0.05, 5.0, 0.1)
    assert (config.ema.decay, config.augment.auto_augment) == (0.9998, "rand-m9-mstd0.5-inc1")
    assert (config.distill.weight, config.distill.temperature, config.distill.antialias) == (5.0, 1.0, False)
    assert (config.loss.mixup, config.loss.cutmix, config.augment.erasing) == (0, 0, 0)


def test_overrides_reach_every_field() -> None:
    config = load_config(
        "mobileone_progressive",
        [
            "schedule.epochs=30",
            "optimizer.lr=1e-3",
            "model.name=mobileone_s4",
            "model.overrides={branches: 3, depths: [1, 1, 2, 1]}",
            "model.overrides.branches=2",
            "model.weights=007.pth",
            "augment.scale=0.2,0.9",
            "schedule.noise=[0.1, 0.5]",
            "optimizer.clip=null",
            "curriculum.1.size=200",
            "run.out=001",
            "ema.enabled=false",
        ],
    )
    assert isinstance(config, ClassifyConfig)
    assert config.schedule.epochs == 30
    assert config.optimizer.lr == 1e-3
    assert config.model.overrides == {"branches": 2, "depths": [1, 1, 2, 1]}
    assert (config.model.weights, config.run.out) == ("007.pth", "001")  # text stays as typed
    assert (config.augment.scale, config.schedule.noise) == ((0.2, 0.9), (0.1, 0.5))
    assert config.optimizer.clip is None
    assert [stage.size for stage in config.curriculum] == [160, 200, 224]
    assert config.ema.enabled is False


@pytest.mark.parametrize("name", all_settings())
def test_every_setting_can_be_overridden_with_its_default(name: str) -> None:
    default = ClassifyConfig()
    value = default.flat()[name]
    text = "null" if value is None else str(list(value)) if isinstance(value, tuple) else str(value)
    assert default.replaced(f"{name}={text}") == default


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("epochs=3", "did you mean 'schedule.epochs'"),
        ("schedule.epoch=3", "did you mean 'schedule.epochs'"),
        ("modle.name=x", "did you mean 'model'"),
        ("run.nothing=1", "run has: out, recipe, seed"),
        ("run.seed=-1", "run.seed=-1 is out of range; it must be >= 0"),
        ("data.size=big", "data.size='big' is not a whole number"),
        ("run.channels_last=1", "run.channels_last=1 is not one of auto, true, false"),
        ("optimizer.lr=nan", "optimizer.lr='nan' is not a number"),
        ("optimizer.name=adam", "did you mean 'adamw'"),
        ("optimizer.betas=[0.9]", "has 1 values; it needs 2"),
        ("schedule.epochs", "not of the form group.name=value"),
        ("schedule.warmup_epochs=300", "leaves nothing of schedule.epochs=300"),
        ("data.size.x=3", "data.size is a single value"),
        ("curriculum=[{epoch: 2}]", "the first must be 1"),
        ("curriculum=[{epok: 1}]", "curriculum.0.epok"),
        ("schedule.noise=[0.9, 0.4]", "must rise"),
        ("data.batch_size=10", ""),
        ("optimizer.nesterov=true", "belongs to optimizer.name=sgd"),
        ("augment.hflip=2", "hflip"),
        ("model.overrides=3", "not a table"),
        ("run.out=[", ""),
        ("schedule.warmup_step=3", "did you mean 'schedule.warmup_steps'"),
        ("detect.hflip=0", "detect.hflip is set, but detect.architecture is not"),
        ("segment.crop=3", "segment.crop is set, but segment.architecture is not"),
        ("segment.crop=[128, 0]", "segment.crop.1=0 is out of range"),
        ("segment.crop=[1, 2, 3]", "has 3 values; it needs 2"),
        ("data.longest=800", "data.longest belongs to detectors and segmenters"),
        ("detect.architecture=ssdlite320", "augment.auto_augment is for classifiers, a detector has no use for it"),
        ("detect.filter=1", "did you mean 'detect.filter_empty'"),
        ("data.passes=0", "must be >= 1"),
        ("optimizer.no_decay=norms", "did you mean 'norm'"),
    ],
)
def test_mistakes_are_explained(override: str, message: str) -> None:
    if not message:  # legal, although it may look odd
        load_config("emov2_224", [override])
        return
    with pytest.raises(UserError) as caught:
        load_config("emov2_224", [override])
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("recipe", "override", "message"),
    [
        ("detect_small", "segment.architecture=segformer", "a training has one task"),
        ("detect_small", "augment.hflip=0", "augment.hflip is for classifiers"),
        ("detect_small", "loss.mixup=0.2", "loss.mixup is for classifiers"),
        ("detect_small", "loss.class_weights=balanced", "for a detector set data.balance=0.5"),
        ("segment_small", "loss.class_weights=balanced", "for a segmenter set segment.class_weights={NAME: 5}"),
        ("detect_small", "distill.kind=hard", "distill.kind is for classifiers, a detector has no use"),
        ("segment_small", "data.crop=0.9", "a segmenter has no use for it"),
        ("emov2_segformer", "segment.shear=10", "segment.shear is of segment.transform=light, not of published"),
        ("segment_small", "curriculum=[{}]", "curriculum is for classifiers"),
        ("segment_small", "model.mode=eval", "a segmenter offers model.mode=norm_eval"),
        ("segment_small", "run.compile=true", "run.compile=true is for classifiers"),
        ("segment_small", "segment.ratio=2,1", "segment.ratio=[2.0, 1.0] must rise"),
        ("emov2_segformer", "data.passes=2", "both say how long an epoch is"),
        ("emov2_segformer", "schedule.cosine=after_warmup", "both say where the decay starts"),
        ("emov2_224", "data.repeats=2 data.passes=2", "set one of them"),
        ("finetune", "data=pets data.batch_size=8", "data='pets' is not a group of settings (path"),
    ],
)
def test_settings_that_contradict_each_other(recipe: str, override: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        load_config(recipe, override.split(" "))
    assert message in str(caught.value)


def test_the_task_follows_from_the_architecture() -> None:
    tasks = {name: load_config(name).task for name in recipe_names()}
    assert tasks["finetune"] == tasks["emov2_224"] == "classify"
    assert tasks["detect_small"] == tasks["emov2_mask_rcnn"] == "detect"
    assert tasks["segment_small"] == tasks["emov2_unet_hrf"] == "segment"
    assert list(tasks.values()).count("classify") == 17


def test_mistakes_in_python_are_found_as_well() -> None:
    with pytest.raises(UserError, match=r"schedule\.epochs='x' is not a whole number"):
        ClassifyConfig(schedule=ScheduleConfig(epochs="x"))  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"optimizer\.lr=0\.0 is out of range"):
        ClassifyConfig(optimizer=OptimizerConfig(lr=0))
    config = ClassifyConfig()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.run = config.run  # type: ignore[misc]


def test_a_configuration_has_the_groups_of_its_task_alone() -> None:
    config = load_config("detect_small")
    assert isinstance(config, DetectConfig)
    groups = {name.partition(".")[0] for name in flatten(config)}
    assert groups == {"model", "data", "optimizer", "schedule", "ema", "run", "distill", "detect"}
    assert set(yaml.safe_load(config.to_yaml())) == groups
    assert isinstance(config.replaced("detect.architecture=null", "segment.architecture=segformer"), SegmentConfig)
    detector = DetectorConfig(architecture="ssdlite320")
    assert DetectConfig(detect=detector).detect.hflip == 0.5
    with pytest.raises(UserError, match=r"data\.crop is for .*, a detector has no use for it"):
        DetectConfig(detect=detector, data=DataConfig(crop=0.9))
    with pytest.raises(UserError, match=r"detect\.architecture is not set; it says which detector is trained"):
        DetectConfig()
    with pytest.raises(UserError, match="`load_config` gives that of a task"):
        TrainConfig()


def test_recipe_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'emov2_224'"):
        load_config("emov2_22")
    with pytest.raises(UserError, match="no recipe file"):
        load_config(tmp_path / "absent.yaml")
    recipe = tmp_path / "mine.yaml"
    for text, message in (("model: [", "not readable YAML"), ("- 1", "holds no groups"), ("model: 3", "not a group")):
        recipe.write_text(text, encoding="utf-8")
        with pytest.raises(UserError, match=message):
            load_config(recipe)
    recipe.write_text("schedule:\n  epochs: 7\n  warmup_epochs: 1e-1\n", encoding="utf-8")
    assert load_config(recipe).schedule == ScheduleConfig(epochs=7, warmup_epochs=0.1)


def test_stage_of_an_epoch() -> None:
    config = load_config("mobileone_progressive")
    assert isinstance(config, ClassifyConfig)
    assert [config.stage(epoch) for epoch in (0, 35, 36, 110, 111, 299)] == [0, 0, 1, 1, 2, 2]
    assert ClassifyConfig().stage(5) == 0


def test_differences_name_what_changes_numbers() -> None:
    config = ClassifyConfig()
    assert config.differences(config.replaced("data.workers=3", "run.save_every=5", "run.threads=2")) == []
    assert config.differences(config.replaced("optimizer.lr=0.1", "run.seed=1")) == ["optimizer.lr", "run.seed"]


def test_a_recipe_of_another_task_than_the_caller_counts_on() -> None:
    assert isinstance(load_config("finetune", kind=ClassifyConfig), ClassifyConfig)
    with pytest.raises(UserError, match="trains a classifier; DetectConfig is of another task"):
        load_config("finetune", kind=DetectConfig)
