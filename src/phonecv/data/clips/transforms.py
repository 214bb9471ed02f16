"""From the frames of a clip to the input of a network: the published pipelines of training and of the test.

All frames of a clip are changed alike, by torchvision's transforms of videos. Random numbers come from Python's and
torch's global generators, which the data set seeds for every clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from phonecv.data.clips.augment import ClipAugment
from phonecv.data.clips.reading import read_frames, resized
from phonecv.data.pictures.normalising import Normalise
from phonecv.data.pictures.reading import Pixels, Reader
from phonecv.preprocessing import Preprocessing


class ClipReader(Reader):
    """Reads the frames of a clip, ``3 T H W`` bytes; see `Reader`."""

    def __init__(self, preprocessing: Preprocessing, frames: int, views: int = 1) -> None:
        self.side, self.frames, self.views = preprocessing.size, frames, views
        self.preprocessing, self.normalise = preprocessing, Normalise(preprocessing.mean, preprocessing.std)

    @property
    def bytes(self) -> int:
        """Of a clip."""
        return 3 * self.views * self.frames * self.side**2

    def blank(self) -> Pixels:
        """A black clip."""
        return Pixels(torch.zeros(3, self.views * self.frames, self.side, self.side, dtype=torch.uint8))


class EvalClips(ClipReader):
    """Frames from the middle of equal parts, short side resized, and square crops evenly along the long side.

    Args:
        preprocessing: of the network.
        frames: of a clip.
        views: crops; they follow one another in time, ``3 views*T H W``. One is the middle.
    """

    seeded = False

    def read(self, path: Path) -> Pixels:
        """See `Reader`."""
        return Pixels(clip_pixels(read_frames(path, self.frames), self.preprocessing, self.views))


def clip_pixels(pictures: Sequence[Image.Image], preprocessing: Preprocessing, views: int = 1) -> Tensor:
    """Frames of one size as ``3 views*T size size`` bytes: short side resized, crops evenly along the long side."""
    clip = torch.from_numpy(resized(pictures, preprocessing.resize)).permute(3, 0, 1, 2)
    side, (height, width) = preprocessing.size, clip.shape[2:]
    crops = []
    for view in range(views):
        place = view / (views - 1) if views > 1 else 0.5
        # Across the long side the crop stays in the middle.
        top, left = (
            round((length - side) * (place if length == max(height, width) else 0.5)) for length in (height, width)
        )
        crops.append(clip[:, :, top : top + side, left : left + side])
    return torch.cat(crops, 1)


class TrainClips(ClipReader):
    """Random frames of equal parts, short side resized, RandAugment, a random crop resized, a flip."""

    seeded = True

    def __init__(self, augment: ClipAugment, preprocessing: Preprocessing, frames: int) -> None:
        from torchvision.transforms import v2  # late: a second of imports

        super().__init__(preprocessing, frames)
        self.short = round(augment.resize * self.side)
        steps: list[Any] = []
        if augment.rand_augment is not None:
            operations, magnitude = augment.rand_augment
            steps.append(v2.RandAugment(operations, magnitude, interpolation=v2.InterpolationMode.BILINEAR))
        steps += [
            v2.RandomResizedCrop(self.side, augment.scale, augment.ratio, antialias=True),
            v2.RandomHorizontalFlip(augment.hflip),
        ]
        self.steps = v2.Compose(steps)

    def read(self, path: Path) -> Pixels:
        """See `Reader`."""
        from torchvision.tv_tensors import Video

        clip = resized(read_frames(path, self.frames, shaken=True), self.short)
        changed: Tensor = self.steps(Video(torch.from_numpy(clip).permute(0, 3, 1, 2)))
        return Pixels(changed.as_subclass(Tensor).transpose(0, 1))
