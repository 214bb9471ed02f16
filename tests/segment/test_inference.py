"""Sliding windows, flips and scales, and label maps, against plain loops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phonecv.dense.windows import Windows, tile_windows
from phonecv.errors import UserError
from phonecv.segment import inference
from phonecv.segment.inference import label_tiles, largest, predict_labels, slide, whole
from segment.tiny import SMALL, tiny


class Fake(nn.Module):
    """Stands in for a segmenter: logits are a function of the pixels."""

    def __init__(self, function: Callable[[Tensor], Tensor], num_classes: int) -> None:
        super().__init__()
        self.function, self.num_classes, self.seen = function, num_classes, 0

    def network(self, batch: Tensor) -> tuple[Tensor, None]:
        self.seen = max(self.seen, len(batch))
        return self.function(batch), None


def fake(function: Callable[[Tensor], Tensor], num_classes: int = 3) -> Any:
    return cast(Any, Fake(function, num_classes))


@pytest.mark.parametrize(
    ("size", "crop", "stride"), [((96, 144), 64, 42), ((50, 64), 64, 64), ((7, 9), 3, 2), ((5, 5), 5, 1)]
)
def test_slide_is_the_mean_over_windows(size: tuple[int, int], crop: int, stride: int) -> None:
    """Each window's answer depends on the window alone, and every pixel gets the mean of those that cover it."""

    def centred(x: Tensor) -> Tensor:
        return x - x.mean((2, 3), keepdim=True)

    x = torch.randn(2, 3, *size)
    total, count = torch.zeros(2, 3, *size), torch.zeros(size)
    tops, lefts = [], []
    for starts, length in ((tops, size[0]), (lefts, size[1])):
        at = 0
        while at + crop < length:
            starts.append(at)
            at += stride
        starts.append(max(length - crop, 0))
    for top in tops:
        for left in lefts:
            window = (slice(None), slice(None), slice(top, top + crop), slice(left, left + crop))
            total[window] += centred(x[window])
            count[window[2:]] += 1
    assert count.min() >= 1
    for together in (1, 5, 64):
        model = fake(centred)
        torch.testing.assert_close(slide(model, x, crop, stride, together=together), total / count)
        assert model.seen <= max(2, together)


def test_one_window_is_the_whole() -> None:
    model = tiny("segformer")
    x = torch.randn(1, 3, 48, 64)
    with torch.no_grad():
        torch.testing.assert_close(slide(model, x, 64, 20), whole(model, x))
        model.windows = Windows(32, 24)
        assert not torch.allclose(inference.logits(model, x), whole(model, x))


def test_windows_without_gaps() -> None:
    with pytest.raises(UserError, match="gaps"):
        Windows(10, 11)
    assert Windows(256, 170).starts(256) == [0]
    assert Windows(256, 170).starts(257) == [0, 1]
    assert Windows(256, 170).starts(426) == [0, 170]
    assert Windows(256, 170).starts(100) == [0]


def test_predict_labels_is_argmax_of_the_logits() -> None:
    model = tiny("unet").train()
    images = [torch.rand(3, 50, 70), torch.rand(3, 64, 64), torch.rand(3, 50, 70)]
    labels = predict_labels(model, images)
    assert model.training, "the mode is left as it was"
    model.eval()
    with torch.no_grad():
        for image, found in zip(images, labels, strict=True):
            assert found.dtype == torch.uint8
            assert found.shape == image.shape[1:]
            logits = model(image[None])
            clear = logits.topk(2, 1).values.diff(dim=1).abs()[0, 0] > 1e-4
            assert torch.equal(found[clear].long(), logits.argmax(1)[0][clear])
    again = predict_labels(model, torch.stack([images[0], images[2]]))
    assert len(again) == 2
    assert again[1].shape == (50, 70)


def test_flips_and_scales_average_probabilities() -> None:
    model = tiny("semantic_fpn")
    image = torch.rand(3, 64, 80)
    mean, std = (torch.tensor(values)[:, None, None] for values in (SMALL.mean, SMALL.std))
    total = torch.zeros(5, 64, 80)
    with torch.no_grad():
        for height, width in ((64, 80), (96, 120)):
            x = (F.interpolate(image[None], (height, width), mode="bilinear", align_corners=False) - mean) / std
            for mirrored in (False, True):
                out = whole(model, x.flip(3) if mirrored else x)
                out = F.interpolate(out.flip(3) if mirrored else out, (64, 80), mode="bilinear", align_corners=False)
                total += out.softmax(1)[0]
    (found,) = predict_labels(model, [image], scales=(1.0, 1.5), flip=True)
    clear = total.topk(2, 0).values.diff(dim=0).abs()[0] > 1e-4
    assert clear.float().mean() > 0.9
    assert torch.equal(found[clear].long(), total.argmax(0)[clear])
    with pytest.raises(UserError, match="positive"):
        predict_labels(model, [image], scales=(0.0,))
    with pytest.raises(UserError, match="positive"):
        predict_labels(model, [image], scales=())


def test_a_mirrored_network_gives_mirrored_labels() -> None:
    """Flipping alone, on a network that sees left and right alike, changes nothing."""
    model = tiny("segformer")
    image = torch.rand(3, 64, 64)
    image = (image + image.flip(2)) / 2
    (found,) = predict_labels(model, [image], flip=True)
    assert torch.equal(found, found.flip(1))


def test_largest_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(2, 7, 9, 11)
    x[:, 5] = x[:, 2]  # a tie: the first one wins, as in argmax
    expected = F.interpolate(x, size=(20, 31), mode="bilinear", align_corners=False).argmax(1)
    for piece in (1, 2 * 20 * 31 * 3, 2**26):
        monkeypatch.setattr(inference, "PIECE", piece)
        assert torch.equal(largest(x, (20, 31)), expected)


def test_padding_of_the_preprocessing_is_cut_off() -> None:
    model = tiny("segformer")
    model.preprocessing = replace(SMALL, multiple=32)
    image = torch.rand(1, 3, 64, 70)
    with torch.no_grad():
        padded = whole(model, F.pad((image - mean_of(SMALL.mean)) / mean_of(SMALL.std), (0, 26)))
        torch.testing.assert_close(model(image), padded[:, :, :, :70])


def mean_of(values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values)[:, None, None]


@pytest.mark.parametrize(
    ("size", "side", "overlap"), [((100, 130), 40, 0.25), ((100, 30), 40, 0.0), ((35, 20), 40, 0.5)]
)
def test_tiles_give_each_pixel_the_nearest_middle(size: tuple[int, int], side: int, overlap: float) -> None:
    windows, shown = tile_windows(side, overlap), []
    height, width = size
    picture = torch.arange(height * width).reshape(1, *size).expand(3, -1, -1)

    def label(pictures: Sequence[Tensor]) -> list[Tensor]:
        """The pixel's own number, and in the thousands above which tile said so."""
        assert len(pictures) <= 8
        said = []
        for one in pictures:
            assert max(one.shape[1:]) <= side
            shown.append(one)
            said.append(one[0] + 1_000_000 * (len(shown) - 1))
        return said

    (found,) = label_tiles(label, windows, [picture])
    assert torch.equal(found % 1_000_000, picture[0])
    views = windows.views(height, width)
    assert len(shown) == len(views)
    middle = torch.tensor([[(y1 + y2) / 2, (x1 + x2) / 2] for x1, y1, x2, y2 in views])
    places = torch.cartesian_prod(torch.arange(height), torch.arange(width)) + 0.5
    inside = torch.tensor(views)[:, [1, 0, 3, 2]]
    there = (places[:, None] > inside[:, :2]).all(2) & (places[:, None] < inside[:, 2:]).all(2)
    apart = (places[:, None] - middle).abs().amax(2).masked_fill(~there, torch.inf)
    own = (found.flatten() // 1_000_000).long()
    assert (apart.gather(1, own[:, None])[:, 0] < torch.inf).all()
    # On each axis by itself nothing is nearer, but for the pixel at the middle between two.
    for axis in (0, 1):
        near = (places[:, None, axis] - middle[:, axis]).abs().masked_fill(~there, torch.inf)
        assert (near.gather(1, own[:, None])[:, 0] <= near.amin(1) + 1).all()
