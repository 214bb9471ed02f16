"""Detectors and segmenters of one channel: gray on the way in, stems of RGB weights summed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import phonecv
from conftest import TINY
from detect.detectors import settled, small
from phonecv.dense.inputs import prepare
from phonecv.dense.training import dense_preprocessing
from phonecv.errors import UserError
from phonecv.preprocessing import DensePreprocessing
from phonecv.training import load_config
from segment.tiny import tiny
from settle import settle


def noise(height: int = 40, width: int = 50) -> torch.Tensor:
    pixels = np.random.default_rng(0).integers(0, 256, (3, height, width), dtype=np.uint8)
    return torch.from_numpy(pixels)


@pytest.mark.parametrize("spec", [DensePreprocessing(size=40), DensePreprocessing(size=40, longest=50, multiple=32)])
def test_gray_is_the_luma_that_pillow_rounds(spec: DensePreprocessing) -> None:
    image = noise(40, 40 if spec.longest is None else 50)
    own = spec.of_channels(1)
    batch = prepare([image], own).batch
    assert batch.shape[1] == 1
    values = (batch[0, 0, :40, : image.shape[2]] * own.std[0] + own.mean[0]) * 255
    pillows = np.array(Image.fromarray(image.permute(1, 2, 0).numpy()).convert("L"), np.float32)
    np.testing.assert_allclose(values, pillows, atol=0.51)
    # A picture that is gray already is the same in one channel and in three.
    flat = image[:1]
    torch.testing.assert_close(prepare([flat], own).batch, prepare([flat.expand(3, -1, -1)], own).batch)


def test_weights_of_rgb_pictures_are_summed(tmp_path: Path) -> None:
    colour: Any = phonecv.create_model("emov2_1m", num_classes=5, **TINY["emov2_1m"])
    file = phonecv.save_checkpoint(settle(colour, size=64), tmp_path / "backbone.safetensors")
    nets: list[Any] = []
    for channels in (3, 1):
        torch.manual_seed(0)
        nets.append(
            phonecv.create_segmenter(
                "segformer", "emov2_1m", num_classes=5, weights=file, options={"channels": 16}, in_chans=channels,
                **TINY["emov2_1m"],
            ).eval()
        )  # fmt: skip
    rgb, gray = nets
    gray.head.load_state_dict(rgb.head.state_dict())
    rgb.preprocessing = DensePreprocessing(size=64, mean=(0.4,) * 3, std=(0.2,) * 3)
    gray.preprocessing = rgb.preprocessing.of_channels(1)
    flat = noise(64, 64)[:1]
    with torch.no_grad():
        wanted, got = (
            rgb.network(prepare([flat.expand(3, -1, -1)], rgb.preprocessing).batch),
            gray.network(prepare([flat], gray.preprocessing).batch),
        )
    torch.testing.assert_close(got[0], wanted[0], rtol=1e-3, atol=1e-4 * float(wanted[0].abs().max()))


def test_other_channels_are_refused_before_work(tmp_path: Path) -> None:
    picture = tmp_path / "x.png"
    Image.new("L", (40, 40)).save(picture)
    with pytest.raises(UserError, match="takes pictures of 4 channels, and what reads them gives RGB or gray"):
        list(phonecv.predict(small("ssdlite320", in_chans=4), picture))
    assert tiny("unet", in_chans=1).preprocessing.channels == 1
    torn = tiny("unet", in_chans=1)
    torn.preprocessing = DensePreprocessing(size=64)  # three colours for one channel
    with pytest.raises(UserError, match="takes pictures of 1 channel, and"):
        list(phonecv.predict(torn, picture))


def test_a_whole_rgb_detector_fills_a_gray_one(tmp_path: Path) -> None:
    colour = settled(small("ssdlite320", "mobileone_s0"))
    one = small("ssdlite320", "mobileone_s0", in_chans=1)
    phonecv.load_checkpoint(one, phonecv.save_checkpoint(colour, tmp_path / "colour.safetensors"))
    assert one.preprocessing == colour.preprocessing.of_channels(1)
    given = torch.randn(1, 1, 96, 96)
    with torch.no_grad():
        wanted = colour.network(given.expand(-1, 3, -1, -1))
        for ours, theirs in zip(one.eval().network(given)[0], wanted[0], strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


def test_one_mean_is_of_gray() -> None:
    config = load_config("segment_small", ["data.path=x", "run.out=x", "data.mean=[0.5]", "data.std=[0.25]"])
    with pytest.raises(UserError, match=r"set model\.in_chans=1"):
        dense_preprocessing(config, DensePreprocessing())
    assert dense_preprocessing(config, DensePreprocessing(mean=(0.1,), std=(0.1,))).mean == (0.5,)
