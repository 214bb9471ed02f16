"""Label maps for pictures: printed as shares of the classes, saved as files and as overlays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from phonecv.data.labelmaps.classes import Colour, palette_for
from phonecv.data.pictures.ahead import read_pictures
from phonecv.data.pictures.bit_depth import bits_for, tell_depth
from phonecv.data.pictures.opening import file_names, find_images, printable, reopen
from phonecv.errors import UserError
from phonecv.files import atomic_path, write_json
from phonecv.options import Count, Positive, Workers, checked
from phonecv.segment.base import Segmenter
from phonecv.segment.opening import SegmentRunner, open_segmenter
from phonecv.segment.overlay import legend, overlay, save_label_map, shares
from phonecv.text import printable_name

#: Pictures in the grid, their longer side in pixels, and the room for one in inches.
GRID, SIDE, _CELL = 12, 480, (2.6, 2.4)
#: Quality of the JPEG files of the overlays.
_QUALITY = 92
#: Pictures that are decoded ahead together.
_STEP = 4


@dataclass(frozen=True, slots=True)
class LabelledPicture:
    """What a segmenter says about one picture.

    Attributes:
        path: the file.
        shares: name and share of the pixels of every class that was found, the largest first.
        size: width and height of the picture, pixels; zeros if it could not be read.
        labels: file of its label map in the output folder, or None.
        overlay: file of the picture with its classes' colours, or None.
        error: why the picture could not be used, or an empty text.
    """

    path: Path
    shares: tuple[tuple[str, float], ...] = ()
    size: tuple[int, int] = (0, 0)
    labels: Path | None = None
    overlay: Path | None = None
    error: str = ""

    def __str__(self) -> str:
        if self.error:
            return f"{printable(self.path)}: {self.error}"
        shown = ", ".join(f"{printable_name(name)} {share:.1%}" for name, share in self.shares[:6])
        more = f" and {len(self.shares) - 6} more" if len(self.shares) > 6 else ""
        return f"{printable(self.path)}: {shown}{more}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "path": printable(self.path),
            "width": self.size[0],
            "height": self.size[1],
            "shares": {name: round(share, 6) for name, share in self.shares},
            "labels": f"labels/{self.labels.name}" if self.labels else None,
            "overlay": f"overlays/{self.overlay.name}" if self.overlay else None,
            "error": self.error,
        }


@checked
def predict_segmenter(
    model: Segmenter | SegmentRunner | Path | str,
    images: Path | str | Sequence[Path | str],
    *,
    out: Path | str | None = None,
    batch_size: Count = _STEP,
    workers: Workers | None = None,
    device: str | torch.device | None = None,
    amp: str = "none",
    slide: tuple[Count, Count] | None = None,
    scales: Sequence[Positive] = (1.0,),
    flip: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
    **loading: Any,
) -> list[LabelledPicture]:
    """Label pictures; one that cannot be read gets an error and the others go on.

    Label maps are saved as they are found, so that any number of pictures needs little memory.

    Args:
        model: a segmenter, the path of a checkpoint or exported file of one, or a `SegmentRunner`.
        images: a picture, a folder (searched through), a pattern such as "photos/*.jpg", or several of them.
        out: folder for ``labels/*.png`` (class numbers, in the classes' colours), ``overlays/*.jpg``, legend.json
            (number, name and colour of every class), predictions.json and a picture of the first ones; None saves
            nothing.
        batch_size: pictures that are decoded ahead together; the network takes as many as its memory allows.
        workers: threads that decode pictures; None chooses.
        device: for PyTorch; None for a GPU if there is one.
        amp: "none" (float32), "bf16" or "fp16".
        slide: see `open_segmenter`, as the next two.
        scales: sizes of the input to average over.
        flip: average over mirrored pictures too.
        on_progress: called with (done, all).
        **loading: arguments of `load_checkpoint`.

    Returns:
        One entry per picture, in the order found.

    Raises:
        UserError: unusable model, no pictures.
    """
    sources = [images] if isinstance(images, Path | str) else list(images)
    paths = [path for source in sources for path in find_images(source)]
    if not paths:
        raise UserError("no pictures were named; give a file, a folder or a pattern such as 'photos/*.jpg'")
    runner = open_segmenter(model, device=device, amp=amp, slide=slide, scales=scales, flip=flip, **loading)
    palette = palette_for(runner.classes)
    names = file_names(paths)
    folder = Path(out) if out is not None else None
    done: list[LabelledPicture] = []
    bits, depth = bits_for(runner.details, paths)
    tell_depth(depth)
    for batch in read_pictures(paths, batch_size, workers, bits=bits):
        results = iter(zip(batch.tensors, runner(batch.tensors), strict=True))
        for index, error in zip(batch.indices.tolist(), batch.errors, strict=True):
            if error:
                done.append(LabelledPicture(paths[index], error=error))
            else:
                picture, found = next(results)
                labels = found.cpu().numpy()
                entry = _described(paths[index], labels, runner.classes)
                done.append(entry if folder is None else _saved(entry, picture, labels, palette, folder, names[index]))
        if on_progress is not None:
            on_progress(len(done), len(paths))
    if folder is not None:
        write_legend(runner.classes, palette, folder / "legend.json")
        write_json(folder / "predictions.json", [entry.to_dict() for entry in done])
        _save_grid(done, runner.classes, palette, folder / "predictions.png")
    return done


def write_legend(classes: Sequence[str], palette: Sequence[Colour], path: Path) -> None:
    """Number, name and colour ("#rrggbb") of every class."""
    rows = zip(classes, palette, strict=True)
    entries = [
        {"value": value, "name": name, "color": "#{:02x}{:02x}{:02x}".format(*colour)}
        for value, (name, colour) in enumerate(rows)
    ]
    write_json(path, {"classes": entries})


def _described(path: Path, labels: np.ndarray, classes: Sequence[str]) -> LabelledPicture:
    share = shares(labels, len(classes))
    order = [int(label) for label in np.argsort(-share, kind="stable") if share[label]]
    height, width = labels.shape
    return LabelledPicture(path, tuple((classes[label], float(share[label])) for label in order), (width, height))


def _saved(
    entry: LabelledPicture,
    picture: torch.Tensor,
    labels: np.ndarray,
    palette: Sequence[Colour],
    folder: Path,
    name: str,
) -> LabelledPicture:
    label_path, overlay_path = folder / "labels" / f"{name}.png", folder / "overlays" / f"{name}.jpg"
    save_label_map(labels, palette, label_path)
    image = Image.fromarray(picture.permute(1, 2, 0).cpu().numpy())
    with atomic_path(overlay_path) as temporary:
        overlay(image, labels, palette).save(temporary, quality=_QUALITY)
    return LabelledPicture(entry.path, entry.shares, entry.size, label_path, overlay_path)


def _save_grid(
    entries: Sequence[LabelledPicture], classes: Sequence[str], palette: Sequence[Colour], png_path: Path
) -> None:
    from phonecv.plots import COLOURS, INK, save_image_grid

    shown = list(entries[:GRID])
    more = f" (the first {GRID} of {len(entries)})" if len(entries) > GRID else ""
    save_image_grid(
        [_with_legend(entry, classes, palette) for entry in shown],
        ["\n".join([printable(entry.path.name), *([entry.error] if entry.error else [])]) for entry in shown],
        png_path,
        title=f"Predictions{more}",
        colours=[COLOURS[1] if entry.error else INK for entry in shown],
        columns=min(4, len(shown)),
        cell=_CELL,
    )


def _with_legend(entry: LabelledPicture, classes: Sequence[str], palette: Sequence[Colour]) -> Image.Image | None:
    image = reopen(entry.overlay) if entry.overlay is not None else None
    if image is None:
        return None
    scale = SIDE / max(image.size)
    image = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))
    numbers = {name: label for label, name in enumerate(classes)}
    width = max(SIDE // 2, image.width)
    strip = legend(width, [numbers[name] for name, _ in entry.shares], classes, palette)
    sheet = Image.new("RGB", (width, image.height + strip.height), "white")
    sheet.paste(image, (0, 0))
    sheet.paste(strip, (0, image.height))
    return sheet
