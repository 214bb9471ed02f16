"""A frozen backbone: features are computed once, the head learns, and the figures are those of the whole network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import phonecv
from conftest import TINY, mostly_long
from phonecv import load_checkpoint, save_checkpoint
from phonecv.api import evaluate
from phonecv.classify.config import ClassifyConfig
from phonecv.classify.features import MOST_BYTES, kept_views
from phonecv.models import VisionModel
from phonecv.training import TrainConfig, load_config, train
from training.conftest import Configure
from training.test_start import SHORT, settled


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Pictures that passed through a network's stages, call by call."""
    counted: list[int] = []
    through = VisionModel.forward_features

    def watched(self: VisionModel, x: torch.Tensor) -> torch.Tensor:
        counted.append(len(x))
        return through(self, x)

    monkeypatch.setattr(VisionModel, "forward_features", watched)
    return counted


def probe(pictures: Path, tmp_path: Path, name: str, *more: str, fused: bool = True) -> TrainConfig:
    net = settled(name)
    file = save_checkpoint(phonecv.fuse(net) if fused else net, tmp_path / f"{name}.safetensors")
    paths = (f"data.path={pictures}", f"run.out={tmp_path / 'run'}", f"model.weights={file}")
    return load_config("probe", [*SHORT, "schedule.epochs=3", "data.views=3", "data.passes=2", *paths, *more])


@pytest.mark.parametrize(
    ("name", "fused"),
    mostly_long(
        [*((name, True) for name in TINY), ("mobileone_s0", False)], ("emov2_1m", True), ("mobileone_s0", False)
    ),
)
def test_features_are_computed_once_and_the_figures_are_the_networks(
    name: str, fused: bool, pictures: Path, tmp_path: Path, calls: list[int]
) -> None:
    config = probe(pictures, tmp_path, name, fused=fused)
    before = load_checkpoint(None, str(config.model.weights)).state_dict()
    calls.clear()
    result = train(config)
    assert sum(calls) == 3 * 24 + 10  # three views of the training pictures, one of the others; not again
    assert result.last is not None
    after = load_checkpoint(None, result.last)
    changed = {key for key, value in after.state_dict().items() if not torch.equal(value, before[key])}
    assert changed == {f"{after.classifier_name}.{part}" for part in ("weight", "bias")}
    judged = evaluate(result.last, pictures)
    assert judged.count == 10
    rows = [row for row in result.history if "val_top1" in row]
    assert rows[-1]["val_correct1"] == judged.top1
    losses = [row["loss"] for row in result.steps]
    assert len(losses) == 36
    assert sum(losses[-12:]) < sum(losses[:12])


def test_every_view_is_used_and_the_first_is_that_of_validation(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from phonecv.classify.features import FeatureData
    from phonecv.data.folders.listing import read_split
    from phonecv.data.loading.loader import Batch, ClassificationDataset, collate
    from phonecv.data.pictures.reading import eval_transform

    held: list[FeatureData] = []
    prepare = FeatureData.prepare
    monkeypatch.setattr(FeatureData, "prepare", lambda self, run: (prepare(self, run), held.append(self))[0])
    config = probe(pictures, tmp_path, "mobileone_s0")
    result = train(config)
    data, net = held[0], load_checkpoint(None, str(result.last))
    kept = data.kept["train"]
    assert kept.features.shape == (3, 24, net.num_features)
    dataset = ClassificationDataset(read_split(pictures, "train"), eval_transform(net.preprocessing))
    batch = collate([dataset[index] for index in range(24)], normalise=dataset.normalise)
    assert isinstance(batch, Batch)
    with torch.no_grad():
        expected = net.forward_head(net.forward_features(batch.images), pre_logits=True)
    torch.testing.assert_close(kept.features[0], expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(kept.features[1], expected, rtol=1e-2)
    assert torch.equal(kept.labels[1], batch.labels)
    used = {
        (int(index), int(view))
        for epoch in range(12)
        for part in data.train_loader(epoch, 0)
        for row, index in zip(part.images, part.indices, strict=True)
        for view in range(3)
        if torch.equal(row, kept.features[view, index])
    }
    assert len(used) > 65  # of 72


@pytest.mark.parametrize(
    ("overrides", "why"),
    [
        (("data.views=0",), "data.views=0"),
        pytest.param(("loss.mixup=0.2",), "mixed pictures", marks=pytest.mark.long),
        (("curriculum=[{epoch: 1, size: 16}, {epoch: 2, size: 24}]",), "a curriculum"),
    ],
)
def test_features_are_not_kept_where_pictures_change(
    overrides: tuple[str, ...],
    why: str,
    pictures: Path,
    tmp_path: Path,
    calls: list[int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = probe(pictures, tmp_path, "mobileone_s0", "schedule.epochs=2", *overrides)
    calls.clear()
    result = train(config)
    assert f"its features are not kept: {why}" in capsys.readouterr().out
    assert sum(calls) == 2 * (2 * 24 + 10)
    assert result.finished


def test_what_does_not_fit_into_memory_is_not_kept() -> None:
    frozen, plain = load_config("probe"), load_config("finetune")
    assert isinstance(frozen, ClassifyConfig)
    assert isinstance(plain, ClassifyConfig)
    pictures = MOST_BYTES // (4 * 1000)
    assert kept_views(frozen, pictures // 4, 1000)[0] == 4
    views, note = kept_views(frozen, pictures // 2, 1000)
    assert views == 2
    assert "would not fit" in note
    assert kept_views(frozen, 2 * pictures, 1000)[0] == 0
    assert kept_views(plain, 10, 10) == (0, "")


def test_an_unreadable_picture_is_told_and_counts_nowhere(tmp_path: Path, pictures: Path) -> None:
    import shutil

    copy = shutil.copytree(pictures, tmp_path / "copy")
    for path in ("train/red/02.png", "val/red/02.png"):
        (copy / path).write_bytes(b"no picture")
    result = train(probe(copy, tmp_path, "mobileone_s0", "data.max_bad=0.1"))
    assert [row["val_images"] for row in result.history if "val_images" in row] == [9, 9, 9]
    assert len((result.run_dir / "bad_images.csv").read_text().splitlines()) == 3


@pytest.mark.parametrize("architecture", ["ssdlite320", "segformer"])
def test_dense_heads_are_trained_on_a_frozen_backbone(
    architecture: str, configure_dense: Configure, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = save_checkpoint(settled("emov2_1m"), tmp_path / "start.safetensors")
    result = train(configure_dense(architecture, f"model.weights={file}", "model.freeze=all", "schedule.epochs=1"))
    assert "the backbone is frozen and runs at every step" in capsys.readouterr().out
    before, after = load_checkpoint(None, file).state_dict(), load_checkpoint(None, str(result.last))
    backbone = after.backbone.state_dict()
    assert backbone
    assert all(torch.equal(value, before[key]) for key, value in backbone.items())
