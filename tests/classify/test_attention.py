"""Where a classifier looks, and its features in files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import phonecv
from conftest import TINY
from exporting.fake_formats import fake
from phonecv.api import evaluate, predict
from phonecv.classify.attention import class_maps
from phonecv.errors import UserError
from phonecv.exporting import EXPORTERS, export
from phonecv.models import VisionModel
from settle import settle


class Linear(nn.Module):
    """Two feature maps, an average over them, and a linear classifier: what a place says of a class is known."""

    def __init__(self) -> None:
        super().__init__()
        self.map, self.classifier = nn.Conv2d(3, 2, 2, stride=2), nn.Linear(2, 3)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.map(x)

    def get_classifier(self) -> nn.Module:
        return self.classifier


@torch.no_grad()
def test_maps_are_grad_cams() -> None:
    """By the paper's formula, with autograd, and by hand."""
    torch.manual_seed(0)
    network, images, outputs = Linear().double(), torch.randn(4, 3, 6, 8).double(), torch.tensor([0, 2, 1, 1])
    found = class_maps(network, images, outputs)
    for image, output, heat in zip(images, outputs.tolist(), found, strict=True):
        with torch.enable_grad():
            maps = network.forward_features(image[None]).detach().requires_grad_()
            logit = network.classifier(maps.mean((2, 3)))[0, output]
            (gradient,) = torch.autograd.grad(logit, maps)
        wanted = (gradient.mean((2, 3), keepdim=True) * maps).sum(1)[0].clamp(min=0)
        own = (network.classifier.weight[output][:, None, None] * maps[0]).sum(0).clamp(min=0)
        for one in (wanted, own):
            torch.testing.assert_close(heat.double(), one / one.max(), atol=1e-6, rtol=1e-5)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    for number in range(6):
        path = tmp_path / "photos" / "val" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (40, 50, 3)).astype(np.uint8)).save(path)
    return tmp_path / "photos"


def tiny(classes: int = 2) -> VisionModel:
    torch.manual_seed(0)
    return settle(phonecv.create_model("emov2_1m", num_classes=classes, **TINY["emov2_1m"]), size=64)


def test_evaluations_show_where_it_looked(photos: Path, tmp_path: Path) -> None:
    result = evaluate(tiny(), photos, out=tmp_path / "out")
    assert result.count == 6
    with Image.open(tmp_path / "out" / "looked.png") as shown:
        assert np.asarray(shown).std() > 20
    assert "looked.png" not in [path.name for path in (tmp_path / "out").iterdir() if path.stat().st_size < 5000]
    assert "Where it looked" in (tmp_path / "out" / "report.html").read_text()


def test_embeddings_are_pooled_features(photos: Path, tmp_path: Path) -> None:
    network, file = tiny(), tmp_path / "found" / "features.npz"
    (photos / "val" / "a" / "broken.png").write_bytes(b"no picture")
    plain = predict(network, photos)
    said = predict(network, photos, embeddings=file, batch_size=4)
    assert [one.labels for one in said] == [one.labels for one in plain]
    for one, other in zip(said, plain, strict=True):
        np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-5)
    with np.load(file, allow_pickle=False) as content:
        features, paths = content["features"], content["paths"]
    good = [one.path for one in said if not one.error]
    assert paths.tolist() == [str(path) for path in good]
    assert features.dtype == np.float32
    reader = phonecv.data.pictures.reading.eval_transform(network.preprocessing)
    with torch.no_grad():
        batch = torch.stack([reader(Image.open(path).convert("RGB")) for path in good])
        wanted = network.eval().forward_features(batch).mean((2, 3))
    np.testing.assert_allclose(features, wanted.numpy(), atol=1e-5, rtol=1e-4)
    bare = tiny()
    bare.reset_classifier(0)
    (first, *_) = predict(bare, photos, embeddings=file, unit_length=True)
    assert first.labels == ()
    with np.load(file) as content:
        wanted = torch.nn.functional.normalize(wanted)
        np.testing.assert_allclose(content["features"], wanted.numpy(), atol=1e-5)


def test_what_has_no_embeddings(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"a file \.npz is written"):
        predict(tiny(), photos, embeddings=tmp_path / "a.csv")
    bare = tiny()
    bare.reset_classifier(0)
    with pytest.raises(UserError, match=r"embeddings='FILE\.npz'"):
        predict(bare, photos)
    monkeypatch.setitem(EXPORTERS, "fake", fake())
    file = export(tiny(), tmp_path / "a.fake", size=64, verify=False)
    with pytest.raises(UserError, match="gives logits alone; give the checkpoint"):
        predict(file.path, photos, embeddings=tmp_path / "a.npz")
    assert not (tmp_path / "a.npz").exists()
