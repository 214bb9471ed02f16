"""Exported segmenters.

A file of logits stands in for the network of a segmenter, so that sizes, windows, scales and flips work as they do with
PyTorch. A file of classes is run on whole pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phonecv.dense.exported import DenseFile
from phonecv.dense.inputs import prepare
from phonecv.dense.windows import Windows
from phonecv.errors import UserError
from phonecv.segment.base import Segmenter
from phonecv.segment.inference import predict_in_parts
from phonecv.segment.layers import resize

#: What each kind of decoding has to work on.
OUTPUTS = {"raw": ("logits",), "final": ("classes",), "mediapipe": ("logits_last",)}

#: Pictures that a file of classes takes at once.
_TOGETHER = 4


class FromFile(Segmenter):
    """A segmenter whose network is an exported file of logits."""

    def __init__(self, file: DenseFile, windows: Windows | None) -> None:
        # A head for those who ask where the weights lie.
        super().__init__("", nn.Identity(), len(file.classes), file.spec, head=nn.Conv2d(1, 1, 1), windows=windows)
        self.file = file
        if windows is None:
            self.canvas = file.size

    def network(self, batch: Tensor, *, auxiliary: bool | None = None) -> tuple[Tensor, None]:
        """Raw logits of a normalised batch; one that is smaller than the file's size is padded."""
        height, width = batch.shape[2:]
        size = self.file.size or (height, width)
        if size == (height, width):
            return self._logits(batch), None
        padded = F.pad(batch, (0, size[1] - width, 0, size[0] - height))
        logits = resize(self._logits(padded), size)
        return logits[:, :, :height, :width], None

    def _logits(self, batch: Tensor) -> Tensor:
        outputs, count = self.file.run(batch), len(self.file.classes)
        last = self.file.decoding["kind"] == "mediapipe"
        logits = (outputs["logits_last"].movedim(-1, 1) if last else outputs["logits"]).float()
        if logits.ndim != 4 or logits.shape[1] != count:
            gives = f"{self.file.path} gives logits {list(logits.shape)}"
            raise UserError(f"{gives}, its record names {count} classes; export it again")
        return logits


def labeller(
    file: DenseFile, *, slide: tuple[int, int] | None, scales: Sequence[float], flip: bool
) -> tuple[Callable[[Sequence[Tensor]], list[Tensor]], Windows | None]:
    """What labels pictures (``3 H W`` bytes each) by an exported segmenter, and the windows it slides.

    Args:
        file: of `OUTPUTS`.
        slide: side and stride of sliding windows; None leaves it to the segmenter.
        scales: sizes of the input to average over.
        flip: average over mirrored pictures too.

    Raises:
        UserError: the file cannot do what is asked for.
    """
    kind = file.decoding["kind"]
    plain = tuple(scales) == (1.0,)
    if kind == "final" and (slide is not None or flip or not plain):
        raise UserError(
            f"{file.path} gives classes, of which windows, scales and mirrored pictures cannot be averaged; export it"
            " without decoding"
        )
    own = file.decoding.get("windows")
    windows = Windows(*slide) if slide is not None else Windows(*own) if own and kind != "final" else None
    _check_windows(file, windows, plain=plain)
    if kind == "final":
        return partial(_classes, file), windows
    return partial(predict_in_parts, FromFile(file, windows).eval(), scales=scales, flip=flip), windows


def _check_windows(file: DenseFile, windows: Windows | None, *, plain: bool) -> None:
    if file.size is None:
        return
    height, width = file.size
    if windows is not None and windows.crop > min(height, width):
        raise UserError(f"{file.path} takes {height}x{width} pixels, windows of {windows.crop} do not fit into that")
    if windows is None and not plain:
        raise UserError(
            f"{file.path} takes {height}x{width} pixels only, so the input cannot be scaled; export it for any size, or"
            " slide windows"
        )


@torch.inference_mode()
def _classes(file: DenseFile, pictures: Sequence[Tensor]) -> list[Tensor]:
    """Label maps of pictures from a file that gives them at its own size."""
    found = []
    # One at a time where the size is free: pictures of different sizes would be padded, and heads see the padding.
    together = _TOGETHER if file.size is not None else 1
    for first in range(0, len(pictures), together):
        prepared = prepare(
            [picture.cpu() for picture in pictures[first : first + together]], file.spec, canvas=file.size
        )
        maps = file.run(prepared.batch)["classes"]
        if maps.ndim != 3 or not 0 <= int(maps.min()) <= int(maps.max()) < len(file.classes):
            raise UserError(
                f"{file.path} gives other maps than of its record's {len(file.classes)} classes; export it again"
            )
        for labels, (height, width), original in zip(maps, prepared.sizes, prepared.originals, strict=True):
            shown = F.interpolate(labels[None, None, :height, :width].float(), original, mode="nearest-exact")
            found.append(shown[0, 0].to(torch.uint8))
    return found
