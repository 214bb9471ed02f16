"""A backbone learns a teacher's features from pictures without labels; a head follows on few labels."""

from __future__ import annotations

import functools
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from phonecv import fuse, load_checkpoint, read_checkpoint, save_checkpoint
from phonecv.classify import distilling
from phonecv.classify.checks import read_pictures
from phonecv.classify.config import ClassifyConfig
from phonecv.classify.distilling import FeatureTeacher, SimilarityMeter, distance, project, taught_views
from phonecv.classify.features import MOST_BYTES
from phonecv.cli.app import main
from phonecv.data.loading.loader import Batch
from phonecv.errors import UserError
from phonecv.models import VisionModel
from phonecv.preprocessing import Preprocessing
from phonecv.training import TrainConfig, engine, load_config, train
from phonecv.training.interrupt import Interrupted
from phonecv.training.teacher import Teacher
from phonecv.training.world import World
from training.conftest import SMALL
from training.test_start import settled


@pytest.fixture
def heap(pictures: Path, tmp_path: Path) -> Path:
    """The pictures without their classes, some of them in folders of folders."""
    root = tmp_path / "heap"
    for place, path in enumerate(sorted(pictures.rglob("*.png"))):
        folder = root / ("", "a", "a/deeper one")[place % 3]
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / f"{place}.png")
    (root / "notes.txt").write_text("no picture")
    return root


@functools.cache
def teaching() -> VisionModel:
    net = settled("emo_1m")
    net.preprocessing = Preprocessing(size=32)
    return fuse(net)


def unlabelled(heap: Path, tmp_path: Path, *more: str, out: str = "taught") -> TrainConfig:
    teacher = tmp_path / "teacher.safetensors"
    if not teacher.exists():
        save_checkpoint(teaching(), teacher)
    paths = (f"data.path={heap}", f"run.out={tmp_path / out}", f"distill.teacher={teacher}")
    return load_config("distill_features", [*SMALL, "data.views=2", *paths, *more])


class Net(nn.Module):
    """Features of any form, as timm's networks have them."""

    def __init__(self, features: Tensor, prefix: int = 0) -> None:
        super().__init__()
        self.features, self.num_prefix_tokens, self.num_features = features, prefix, 6

    def forward_features(self, x: Tensor) -> Tensor:
        return self.features.expand(len(x), *self.features.shape)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        assert pre_logits
        return x.flatten(1)[:, :5]


def teacher_of(net: nn.Module, side: int = 8, maps: bool = True) -> FeatureTeacher:
    own = Preprocessing(size=side)
    return FeatureTeacher(Teacher(net, name="t", num_classes=0, own=own, student=own), maps=maps)


def test_maps_come_as_channels_first_whatever_the_teacher_has() -> None:
    wanted = torch.randn(6, 4, 4)  # C h w
    tokens = torch.cat([torch.randn(2, 6), wanted.flatten(1).T])  # two registers before the places
    for net in (Net(wanted), Net(wanted.permute(1, 2, 0)), Net(tokens, prefix=2)):
        rows = teacher_of(net)(torch.zeros(3, 3, 64, 64))  # the student's map is 2 x 2
        assert rows.shape == (3, 5 + 6 * 4)
        pooled, maps = teacher_of(net).split(rows)
        assert maps is not None
        expected = wanted.unflatten(1, (2, 2)).unflatten(3, (2, 2)).mean((2, 4)).flatten(1).T
        torch.testing.assert_close(maps[1], expected)
        assert torch.equal(pooled[0], net.features.flatten()[:5])
    with pytest.raises(UserError, match="no square map"):
        teacher_of(Net(torch.randn(7, 6)))
    with pytest.raises(UserError, match="does not tell its features"):
        teacher_of(nn.Identity())


def test_features_are_standardised_by_channel() -> None:
    teacher = teacher_of(Net(torch.randn(6, 4, 4)))
    rows = torch.randn(200, 5 + 6 * 4) * 3 + 7
    rows[:, 2] = 4.0  # always the same
    teacher.settle(rows)
    pooled, maps = teacher.standardised(rows)
    assert maps is not None
    for part in (pooled[:, [0, 1, 3, 4]], maps.flatten(0, 1)):
        torch.testing.assert_close(part.mean(0), torch.zeros(part.shape[1]), atol=1e-4, rtol=0)
        torch.testing.assert_close(part.std(0), torch.ones(part.shape[1]), atol=1e-4, rtol=0)
    assert not pooled[:, 2].any()


def test_the_distance_is_that_of_the_sum_written_out() -> None:
    given, wanted = torch.randn(5, 7), 2 * torch.randn(5, 7)
    a, b = given.double().numpy(), wanted.double().numpy()
    cosine = ((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).mean()
    off = abs(a - b)
    smooth = np.where(off < 1, off**2 / 2, off - 0.5).mean()
    assert float(distance(given, wanted)) == pytest.approx(0.9 * (1 - cosine) + 0.1 * smooth, rel=1e-5)
    assert float(distance(wanted, wanted)) == pytest.approx(0, abs=1e-6)


def test_one_projection_serves_map_and_pooled_features() -> None:
    net = settled("mobileone_s0")
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(project(net, x).mean(1), net(x), rtol=1e-4, atol=1e-5)


def test_similarity_and_its_error_are_those_of_the_pictures_that_could_be_read() -> None:
    values = torch.rand(20)
    meter = SimilarityMeter(torch.device("cpu"))
    for part in values.split(8):
        batch = Batch(torch.zeros(len(part)), torch.zeros(len(part)), torch.arange(len(part)), [""] * len(part))
        meter.update(part, batch)
    meter.update(torch.ones(1), Batch(torch.zeros(1), torch.zeros(1), torch.zeros(1), ["damaged"]))
    found, plain = meter.result(World()), values.double().numpy()
    assert found["images"] == 20
    assert found["similarity"] == pytest.approx(100 * plain.mean(), rel=1e-5)
    assert found["error"] == pytest.approx(100 * plain.std(ddof=1) / 20**0.5, rel=1e-4)


def test_all_pictures_of_a_folder_are_read_and_some_held_out(heap: Path, pictures: Path, tmp_path: Path) -> None:
    config = unlabelled(heap, tmp_path)
    assert isinstance(config, ClassifyConfig)
    train_, held = read_pictures(config)
    assert (len(train_), len(held)) == (32, 2)
    paths = {sample.path for listing in (train_, held) for sample in listing.samples}
    assert paths == set(heap.rglob("*.png"))
    # A folder with splits is taken by them: what a later training is judged by is not learned from.
    split = load_config("distill_features", [f"data.path={pictures}", "run.out=x"])
    assert isinstance(split, ClassifyConfig)
    assert [len(listing) for listing in read_pictures(split)] == [24, 10]


@pytest.mark.parametrize("maps", [False, True])
def test_a_backbone_comes_nearer_and_the_teacher_runs_once(
    maps: bool, heap: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    through = FeatureTeacher.forward
    monkeypatch.setattr(FeatureTeacher, "forward", lambda self, x: (seen.append(len(x)), through(self, x))[1])
    config = unlabelled(heap, tmp_path, "schedule.epochs=4", "data.size=64", f"distill.maps={int(maps)}")
    before = load_file(str(config.flat()["distill.teacher"]))
    result = train(config)
    assert sum(seen) == 2 * 32 + 2
    losses = [row["features" if maps else "loss"] for row in result.steps]
    assert np.mean(losses[-8:]) < 0.9 * np.mean(losses[:8])
    if maps:
        rows = [row for row in result.steps if "maps" in row]
        assert np.mean([row["maps"] for row in rows[-8:]]) < np.mean([row["maps"] for row in rows[:8]])
    scores = [row["val_similarity"] for row in result.history]
    # Of two pictures held out; whether it rises with so few is chance, and another on every processor.
    assert len(scores) == 4
    assert all(-100 <= score <= 100 for score in scores)
    assert all(torch.equal(value, before[name]) for name, value in load_file(tmp_path / "teacher.safetensors").items())

    taught = read_checkpoint(str(result.last))
    assert (taught.num_classes, taught.classes, taught.problems) == (None, None, ())
    assert taught.record is not None
    assert taught.record["num_classes"] == 0
    assert taught.record["training"]["figures"]["similarity"] == pytest.approx(scores[-1])
    if not maps:
        return
    # A head on few labels: the backbone is the one that was taught.
    net = load_checkpoint(None, str(result.last))
    own = (f"data.path={pictures}", f"run.out={tmp_path / 'head'}", f"model.weights={result.last}")
    small = [text for text in SMALL if not text.startswith("model.")]
    head = train(load_config("probe", [*small, "data.passes=1", *own]))
    after = load_checkpoint(None, str(head.last))
    assert after.num_classes == 3
    assert after.overrides == net.overrides
    assert all(torch.equal(after.state_dict()[name], value) for name, value in net.state_dict().items())


def test_what_is_kept_are_the_features_of_the_pictures_shown(
    heap: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[float] = []
    wanted = distilling.FeatureObjective._wanted

    def both(self: Any, batch: Batch) -> Any:
        assert batch.labels.is_floating_point()
        checked.append(float((self.teacher(batch.images) - batch.labels).abs().max()))
        return wanted(self, batch)

    monkeypatch.setattr(distilling.FeatureObjective, "_wanted", both)
    train(unlabelled(heap, tmp_path, "schedule.epochs=1", "data.workers=1"))
    assert len(checked) == 8 + 2  # steps, and both networks on the pictures held out
    assert max(checked) < 1e-4


def test_without_views_the_teacher_sees_each_step(heap: Path, tmp_path: Path, capsys: Any) -> None:
    result = train(unlabelled(heap, tmp_path, "data.views=0", "schedule.epochs=1"))
    assert "the teacher runs at every step (data.views=0)" in capsys.readouterr().out
    assert result.best_score is not None


def test_a_stopped_run_goes_on_to_the_same_weights(heap: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train(unlabelled(heap, tmp_path, out="whole"))

    def stop(run: engine.Run) -> None:
        if run.at.step == 11:
            engine.save(run)
            raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(engine, "save_or_stop", stop)
        assert not train(unlabelled(heap, tmp_path, out="parts")).finished
    parts = train(unlabelled(heap, tmp_path, out="parts"))
    first, second = (load_file(str(result.last)) for result in (whole, parts))
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_only_what_fits_is_kept() -> None:
    config = load_config("distill_features")
    assert isinstance(config, ClassifyConfig)
    pictures = MOST_BYTES // (4 * 1000)
    assert taught_views(config, pictures // 4, 0, 1000)[0] == 4
    assert taught_views(config, pictures // 2, 10, 1000)[0] == 1
    views, note = taught_views(config, 2 * pictures, 10, 1000)
    assert views == 0
    assert "the teacher runs at every step (features of 8 GiB)" in note


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["distill.teacher=null"], "distill.kind=features needs a teacher"),
        (["loss.mixup=0.2"], "loss.mixup has no meaning with distill.kind=features"),
        (["model.freeze=all"], "model.freeze leaves nothing"),
        (["distill.kind=soft", "distill.maps=1"], "distill.maps is for distill.kind=features"),
    ],
)
def test_what_has_no_meaning_is_refused(words: list[str], told: str, heap: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=told):
        train(unlabelled(heap, tmp_path, *words))
    assert not (tmp_path / "taught").exists()


def test_a_folder_without_pictures_is_refused(tmp_path: Path, heap: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="0 pictures are too few"):
        train(unlabelled(heap, tmp_path, f"data.path={tmp_path / 'empty'}"))


def test_the_two_commands(heap: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = unlabelled(heap, tmp_path)
    teacher = str(config.flat()["distill.teacher"])
    taught, mine = str(tmp_path / "taught"), str(tmp_path / "mine")
    small = [*SMALL, "schedule.epochs=1"]
    command = ["distill", "distill_features", "--teacher", teacher, "--data", str(heap), "--out", taught]
    assert main([*command, *small]) == 0
    assert "similarity" in capsys.readouterr().out
    weights = f"model.weights={taught}/best.safetensors"
    own = [text for text in small if not text.startswith("model.")]
    assert main(["train", "finetune", "--data", str(pictures), "--out", mine, weights, *own]) == 0
    assert main(["predict", f"{taught}/best.safetensors", str(pictures)]) != 0
    assert "has no classifier" in capsys.readouterr().err
