"""Classifiers of one channel: gray as Pillow makes it, stems of public weights summed, training, files and readers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import phonecv
from conftest import TINY
from phonecv.data.pictures.normalising import Normalise, gray
from phonecv.data.pictures.reading import eval_transform
from phonecv.errors import UserError
from phonecv.models import VisionModel
from phonecv.preprocessing import Preprocessing
from phonecv.training import load_config, train
from training.conftest import SMALL


def noise(seed: int = 0, size: tuple[int, int] = (40, 50)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def test_gray_is_pillows() -> None:
    levels = np.stack(np.meshgrid(*3 * [np.arange(0, 256, 5)]), -1).reshape(-1, 52, 3).astype(np.uint8)
    wanted = np.array(Image.fromarray(levels).convert("L"))
    np.testing.assert_array_equal(gray(levels, -1)[..., 0], wanted)
    np.testing.assert_array_equal(gray(torch.from_numpy(levels), -1)[..., 0].numpy(), wanted)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_input_of_one_channel(layout: torch.memory_format) -> None:
    spec = Preprocessing(size=32, mean=(0.4,), std=(0.2,))
    transform, image = eval_transform(spec), Image.fromarray(noise())
    wanted = (np.array(Image.fromarray(np.array(transform._cropped(image))).convert("L")) / 255 - 0.4) / 0.2
    found = transform(image)
    assert found.shape == (1, 32, 32)
    np.testing.assert_allclose(found[0], wanted, atol=1e-6)
    pixels = transform.pixels(image)[None].contiguous(memory_format=layout)
    normalise = Normalise(spec.mean, spec.std)
    np.testing.assert_array_equal(normalise(pixels).numpy(), normalise.arrays(pixels.numpy().transpose(0, 2, 3, 1)))


@pytest.mark.parametrize("name", TINY)
def test_public_stems_are_summed_over_the_colours(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    colour = phonecv.create_model(name, num_classes=5, **TINY[name]).train()
    with torch.no_grad():
        for _ in range(3):
            colour(torch.randn(4, 3, 32, 32))
    colour.preprocessing = Preprocessing(size=32, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    file = phonecv.save_checkpoint(colour.eval(), tmp_path / "colour.safetensors")
    one = phonecv.load_checkpoint(name, file, in_chans=1, **TINY[name])
    assert isinstance(one, VisionModel)
    assert one.preprocessing.mean == (0.5,)
    given = torch.randn(2, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(one(given), colour(given.expand(-1, 3, -1, -1)), rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(phonecv.fuse(one)(given), one(given), rtol=1e-3, atol=1e-4)
    again = phonecv.load_checkpoint(None, phonecv.save_checkpoint(one, tmp_path / "gray.safetensors"))
    assert again.in_chans == 1
    assert again.preprocessing == one.preprocessing


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on 12-bit pictures, bright and dark ones."""
    root = tmp_path_factory.mktemp("scans")
    generator = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 4)):
        for name, level in (("bright", 3000), ("dark", 300)):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = (level + generator.integers(0, 1000, (20, 24))).astype(np.uint16)
                Image.fromarray(pixels).save(root / split / name / f"{number}.png")
    more = (
        f"data.path={root}",
        f"run.out={root / 'run'}",
        "model.in_chans=1",
        "schedule.epochs=2",
        "augment.erasing=0.5",
    )
    train(load_config("from_scratch_small", [*SMALL, *more]))
    return root


def test_training_evaluation_and_prediction(trained: Path) -> None:
    net = phonecv.load_checkpoint(None, trained / "run/last.safetensors")
    assert isinstance(net, VisionModel)
    assert (net.in_chans, net.preprocessing.channels, net.preprocessing.bits) == (1, 1, 12)
    result = phonecv.evaluate(net, trained)
    summary = json.loads((trained / "run/summary.json").read_text())
    assert result.top1_percent == pytest.approx(summary["last_scores"]["net"])
    (said,) = phonecv.predict(net, trained / "val/dark/0.png")
    assert not said.error


FORMATS = ("onnx", "openvino", "litert", "coreml", "executorch", "ncnn", "mnn", "pt2")


@pytest.mark.parametrize(
    "format", ["onnx", *(pytest.param(name, marks=pytest.mark.long) for name in FORMATS if name != "onnx")]
)
@pytest.mark.parametrize("bake", [False, True])
def test_files(trained: Path, tmp_path: Path, format: str, bake: bool) -> None:
    exporter = phonecv.exporting.EXPORTERS[format]
    if exporter.missing():
        pytest.skip(f"{format} is not installed")
    net = trained / "run/last.safetensors"
    done = phonecv.export(net, tmp_path / f"gray{exporter.suffix}", format=format, bake=bake, images=trained / "val")
    record = json.loads(done.record.read_text())
    assert record["inputs"][0]["shape"] == [1, 16, 16]
    assert len(record["preprocessing"]["mean"]) == 1
    wanted, got = (phonecv.evaluate(one, trained) for one in (net, done.path))
    assert got.top1 == wanted.top1
    if format == "coreml" and bake:
        assert record["report"]["inputs"] == [{"name": "images", "layout": "gray picture", "type": "uint8"}]


def test_other_numbers_of_channels_are_told_before_work(tmp_path: Path) -> None:
    four = phonecv.create_model("mobileone_s0", num_classes=2, in_chans=4, **TINY["mobileone_s0"]).eval()
    assert four(torch.zeros(1, 4, 32, 32)).shape == (1, 2)
    assert phonecv.load_checkpoint(None, phonecv.save_checkpoint(four, tmp_path / "four.safetensors")).in_chans == 4
    Image.fromarray(noise()).save(tmp_path / "x.png")
    with pytest.raises(UserError, match="takes pictures of 4 channels, and what reads them gives RGB or gray"):
        phonecv.predict(four, tmp_path / "x.png")
    with pytest.raises(UserError, match="needs one number, as the mean"):
        Preprocessing(mean=(0.5,))
