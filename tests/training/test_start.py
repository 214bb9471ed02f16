"""Where a training starts from: public files of every family from a filled cache, and files that are fused already."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import phonecv
from conftest import TINY, mostly_long
from phonecv import load_checkpoint, read_checkpoint, save_checkpoint
from phonecv.api import predict
from phonecv.classify.config import ClassifyConfig
from phonecv.classify.training import follow_classes
from phonecv.cli.app import main
from phonecv.data.folders.listing import read_split
from phonecv.errors import UserError
from phonecv.inspection import info as describe
from phonecv.models import VisionModel, catalog
from phonecv.training import TrainConfig, engine, load_config, train
from phonecv.training.interrupt import Interrupted
from phonecv.weights.translate import from_phonecv
from training.conftest import DENSE, SEGMENTERS, SMALL, SMALL_DENSE, TINIER

#: The settings that make a run small, without those that name the network.
SHORT = tuple(text for text in SMALL if not text.startswith("model."))
SHORT_DENSE = tuple(text for text in SMALL_DENSE if not text.startswith("model."))


def settled(name: str, classes: int = 7) -> VisionModel:
    """A tiny network whose statistics are those of pictures."""
    torch.manual_seed(0)
    net = phonecv.create_model(name, num_classes=classes, **TINIER[name]).train()
    with torch.no_grad():
        for _ in range(3):
            net(torch.rand(8, 3, 64, 64))
    return net.eval()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A download cache, and nothing behind it."""
    monkeypatch.setenv("PHONECV_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


def fill(cache: Path, name: str, tag: str, monkeypatch: pytest.MonkeyPatch) -> torch.Tensor:
    """Put a file of the public layout under its public name; returns its first convolution."""
    record = catalog.get_record(name).find_weights(tag)
    torch.manual_seed(1)
    net = phonecv.create_model(name)
    state = from_phonecv({key: value.clone() for key, value in net.state_dict().items()}, record.layout)
    torch.save({"state_dict": state}, cache / record.filename)
    # Nobody has the bytes whose digest is published.
    monkeypatch.setattr("phonecv.weights.download.digest", lambda path, kind: (record.digest or "").partition(":")[2])
    return next(value for value in net.state_dict().values() if value.ndim == 4)


#: The first public file in training form; the first of all is fused for MobileOne.
PUBLIC = {"emo_1m": "official", "emov2_1m": "official", "mobileone_s1": "apple-unfused"}


@pytest.mark.parametrize("name", PUBLIC)
def test_the_documented_command_trains_from_public_weights(
    name: str, pictures: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    public = fill(cache, name, PUBLIC[name], monkeypatch)
    command = ["train", "finetune", "--data", str(pictures), "--out", str(tmp_path / "run"), f"model.name={name}"]
    more = ["schedule.epochs=1", "data.batch_size=24", "optimizer.lr=1e-12", "schedule.warmup_lr=0", "data.size=32"]
    assert main([*command, *SHORT, *more, "ema.enabled=false", "schedule.min_lr=0"]) == 0
    record = read_checkpoint(tmp_path / "run" / "last.safetensors")
    assert (record.model, record.form, record.num_classes) == (name, "training", 3)
    trained = load_checkpoint(None, tmp_path / "run" / "last.safetensors")
    first = next(value for value in trained.state_dict().values() if value.ndim == 4)
    torch.testing.assert_close(first, public, rtol=0, atol=1e-9)


@pytest.mark.parametrize("recipe", ["detect_small", "segment_small"])
def test_recipes_for_heads_take_the_training_form_too(
    recipe: str, scenes: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from phonecv.training.setup import open_setup

    public = fill(cache, "mobileone_s0", "apple-unfused", monkeypatch)
    config = load_config(recipe, [f"data.path={scenes}", "model.name=mobileone_s0", "run.out=unused"])
    net = open_setup(config).network()
    assert (net.form, net.backbone_form) == ("training", "training")  # type: ignore[union-attr]
    assert torch.equal(net.backbone.stage0.rbr_conv[0].conv.weight, public)  # type: ignore[union-attr, index]


def test_official_means_the_first_file_of_the_form_asked_for() -> None:
    record = catalog.get_record("mobileone_s1")
    assert record.find_weights("official").tag == "apple"
    assert record.find_weights("official", form="training").tag == "apple-unfused"
    assert record.find_weights("official", form="deploy").tag == "apple"
    assert catalog.get_record("emo_1m").find_weights("official", form="deploy").form == "training"  # fused afterwards
    for name in catalog.MODELS:
        public = catalog.get_record(name).weights
        assert not public or catalog.get_record(name).find_weights("official", form="training").form == "training"


@pytest.mark.parametrize("name", mostly_long(TINY, "emov2_1m"))
def test_a_fused_file_is_trained_as_it_is(name: str, pictures: Path, tmp_path: Path) -> None:
    fused = phonecv.fuse(settled(name))
    file = save_checkpoint(fused, tmp_path / "fused.safetensors")
    paths = (f"data.path={pictures}", f"run.out={tmp_path / 'run'}", f"model.weights={file}")
    # The file says which network it holds; the recipe names another one.
    config = load_config("finetune", [*SHORT, *paths, "schedule.epochs=1", "ema.decay=0.5"])
    assert config.model.name == name
    train(config.replaced("schedule.epochs=2"))
    for which in ("last", "best"):
        path = tmp_path / "run" / f"{which}.safetensors"
        assert read_checkpoint(path).form == "deploy"
        net = load_checkpoint(None, path)
        assert (net.form, net.class_names) == ("deploy", ("blue", "green", "red"))
        assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in net.modules())
    before, after = fused.state_dict(), load_checkpoint(None, tmp_path / "run" / "last.safetensors").state_dict()
    biases = [key for key in before if key.endswith("conv.bias") and ".v." not in key]
    assert biases
    assert all(not torch.equal(before[key], after[key]) for key in biases)
    assert len(predict(path, [pictures / "val" / "red" / "02.png"])) == 1


def test_a_fused_run_goes_on_after_a_stop(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = save_checkpoint(phonecv.fuse(settled("mobileone_s0")), tmp_path / "fused.safetensors")

    def config(out: str) -> TrainConfig:
        paths = (f"data.path={pictures}", f"run.out={tmp_path / out}", f"model.weights={file}")
        return load_config("finetune", [*SHORT, *paths])

    def save_and_stop(run: engine.Run) -> None:
        saved(run)
        raise Interrupted

    saved = engine.save
    with monkeypatch.context() as patch:
        patch.setattr(engine, "save", save_and_stop)
        assert not train(config("parts")).finished
    results = [train(config(out)) for out in ("parts", "whole")]
    parts, whole = (load_checkpoint(None, result.run_dir / "last.safetensors").state_dict() for result in results)
    assert [result.finished for result in results] == [True, True]
    assert all(torch.equal(parts[key], whole[key]) for key in whole)


@pytest.mark.parametrize("architecture", mostly_long(["ssdlite320", "segformer"], "segformer"))
def test_heads_are_trained_on_a_fused_backbone(architecture: str, scenes: Path, tmp_path: Path) -> None:
    task = "segment" if architecture in SEGMENTERS else "detect"
    classifier = phonecv.fuse(settled("mobileone_s0"))
    file = save_checkpoint(classifier, tmp_path / "fused.safetensors")

    def run(weights: Path, out: str, *more: str) -> Path:
        own = (f"{task}.architecture={architecture}", *DENSE[architecture], f"model.weights={weights}")
        paths = (f"data.path={scenes}", f"run.out={tmp_path / out}", "schedule.epochs=1", *more)
        result = train(load_config(f"{task}_small", [*SHORT_DENSE, *own, *paths]))
        assert result.last is not None
        return result.last

    last = run(file, "run", "optimizer.lr=1e-12", "schedule.warmup_lr=0", "schedule.min_lr=0")
    info = read_checkpoint(last)
    assert (info.form, info.backbone_form, info.model) == ("training", "deploy", "mobileone_s0")
    assert info.problems == ()
    assert dict(describe(str(last)).fields())["form"] == "training on a fused backbone"
    net = load_checkpoint(None, last)
    assert (net.form, net.backbone_form) == ("training", "deploy")
    expected = classifier.stage2[0].reparam_conv.weight  # type: ignore[index]
    torch.testing.assert_close(net.backbone.stage2[0].reparam_conv.weight, expected, rtol=0, atol=1e-9)
    # Fused as a whole it gives the same, and can be trained on: in deploy form, heads and all.
    whole = phonecv.fuse(net.eval())
    assert (whole.form, whole.backbone_form) == ("deploy", "deploy")
    assert phonecv.models.fusing.form_difference(_raw(net), _raw(whole), torch.rand(1, 3, 64, 64)) < 1e-5
    again = run(save_checkpoint(whole, tmp_path / "whole.safetensors"), "again")
    assert read_checkpoint(again).form == "deploy"


def _raw(net: torch.nn.Module) -> torch.nn.Module:
    from phonecv.models.headed import RawOutputs

    return RawOutputs(net)  # type: ignore[arg-type]


def test_a_network_that_was_named_must_fit_its_file(pictures: Path, tmp_path: Path) -> None:
    from phonecv.classify.training import open_setup

    file = save_checkpoint(phonecv.fuse(settled("mobileone_s0")), tmp_path / "fused.safetensors")
    given = [f"data.path={pictures}", f"model.weights={file}", "model.name=emov2_2m"]
    config = load_config("finetune", given)
    assert config.model.name == "emov2_2m"
    assert isinstance(config, ClassifyConfig)
    with pytest.raises(UserError, match="holds weights of mobileone of its own size, the network is emov2_2m"):
        open_setup(config).network()


def test_the_classifier_follows_the_datas_classes(pictures: Path, caplog: pytest.LogCaptureFixture) -> None:
    listing = read_split(pictures, "train")
    picture = torch.rand(2, 3, 64, 64)
    own = ("zebra", *(name.upper() for name in reversed(listing.classes)))  # one the data does not have
    net = settled("emov2_1m", classes=len(own))
    net.class_names = own
    before = net(picture)
    follow_classes(net, listing)
    places = [own.index(name.upper()) for name in listing.classes]
    torch.testing.assert_close(net(picture), before[:, [*places, 0]])
    follow_classes(net, replace(listing, classes=own))  # named alike: nothing is moved
    torch.testing.assert_close(net(picture), before[:, [*places, 0]])


def classifier(net: VisionModel) -> torch.Tensor:
    return net.state_dict()[f"{net.classifier_name}.weight"]


def test_a_classifier_of_other_classes_starts_fresh(pictures: Path, caplog: pytest.LogCaptureFixture) -> None:
    listing = read_split(pictures, "train")
    net = settled("mobileone_s0", classes=len(listing.classes))
    rows = classifier(net).clone()
    follow_classes(net, listing)  # it knows no names: nobody can tell
    assert torch.equal(classifier(net), rows)
    net.class_names = ("cat", *listing.classes[1:])
    with caplog.at_level("WARNING", "phonecv"):
        follow_classes(net, listing)
    assert not torch.equal(classifier(net), rows)
    assert "the weights' classes (cat, " in caplog.text
