"""Label maps for pictures: printed as shares of the classes, saved as files and as overlays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from phonecv.data.labelmaps.classes import Colour, palette_for
from phonecv.data.pictures.opening import file_names, find_images, fitted, printable, reopen
from phonecv.dense.predicting import answers
from phonecv.files import atomic_path, write_json
from phonecv.predicting import Prediction, pictures_only
from phonecv.segment.opening import SegmentRunner
from phonecv.segment.overlay import overlay, save_label_map, shares, with_legend
from phonecv.segment.verbs import PredictOptions
from phonecv.text import printable_name
from phonecv.verbs import Steps

#: Pictures in the grid, their longer side in pixels, and the room for one in inches.
GRID, SIDE, _CELL = 12, 480, (2.6, 2.4)
#: Quality of the JPEG files of the overlays.
_QUALITY = 92
#: Pictures that are decoded ahead together.
_STEP = 4


@dataclass(frozen=True, slots=True)
class PictureClassMap(Prediction):
    """What a segmenter says about one picture.

    Attributes:
        shares: name and share of the pixels of every class that was found, the largest first.
        size: width and height of the picture, pixels; zeros if it could not be read.
        labels: file of its label map in the output folder, or None.
        overlay: file of the picture with its classes' colours, or None.
        names: of all classes, by label.
    """

    shares: tuple[tuple[str, float], ...] = ()
    size: tuple[int, int] = (0, 0)
    labels: Path | None = None
    overlay: Path | None = None
    names: tuple[str, ...] = ()

    def said(self) -> str:
        """See `Prediction`."""
        shown = ", ".join(f"{printable_name(name)} {share:.1%}" for name, share in self.shares[:6])
        return shown + (f" and {len(self.shares) - 6} more" if len(self.shares) > 6 else "")

    def values(self) -> dict[str, Any]:
        """See `Prediction`."""
        return {
            "width": self.size[0],
            "height": self.size[1],
            "shares": {name: round(share, 6) for name, share in self.shares},
            "labels": f"labels/{self.labels.name}" if self.labels else None,
            "overlay": f"overlays/{self.overlay.name}" if self.overlay else None,
        }


streams, find_samples = pictures_only, find_images


def predictions(
    runner: SegmentRunner, paths: Sequence[Path], steps: Steps, options: PredictOptions, out: Path | None
) -> Iterator[list[PictureClassMap]]:
    """See `phonecv.predicting.PredictRoom`. Label maps are saved as they are found, since they would fill the memory:
    ``labels/*.png`` (class numbers, in the classes' colours) and ``overlays/*.jpg``, in `out`.
    """
    palette = palette_for(runner.classes)
    names = file_names(paths)
    for step in answers(paths, steps, batch_size=_STEP, bits=runner.bits, find=runner):
        said = []
        for index, path, error, picture, found in step:
            if error:
                said.append(PictureClassMap(path, names=runner.classes, error=error))
                continue
            labels = found.cpu().numpy()
            entry = _described(path, labels, runner.classes)
            if out is not None:
                maps, drawn = out / "labels" / f"{names[index]}.png", out / "overlays" / f"{names[index]}.jpg"
                save_label_map(labels, palette, maps)
                image = Image.fromarray(picture.permute(1, 2, 0).cpu().numpy())
                with atomic_path(drawn) as temporary:
                    overlay(image, labels, palette).save(temporary, quality=_QUALITY)
                entry = replace(entry, labels=maps, overlay=drawn)
            said.append(entry)
        yield said


def write_predictions(predictions: Sequence[PictureClassMap], out: Path | str) -> Path:
    """Write legend.json (number, name and colour of every class), predictions.json and a picture of the first ones."""
    from phonecv.plots import COLOURS, INK, save_image_grid  # matplotlib, for those who want pictures

    out, classes = Path(out), predictions[0].names
    palette = palette_for(classes)
    write_legend(classes, palette, out / "legend.json")
    write_json(out / "predictions.json", [entry.to_dict() for entry in predictions])
    shown = list(predictions[:GRID])
    more = f" (the first {GRID} of {len(predictions)})" if len(predictions) > GRID else ""
    save_image_grid(
        [_with_legend(entry, classes, palette) for entry in shown],
        ["\n".join([printable(entry.path.name), *([entry.error] if entry.error else [])]) for entry in shown],
        out / "predictions.png",
        title=f"Predictions{more}",
        colours=[COLOURS[1] if entry.error else INK for entry in shown],
        columns=min(4, len(shown)),
        cell=_CELL,
    )
    return out


def write_legend(classes: Sequence[str], palette: Sequence[Colour], path: Path) -> None:
    """Number, name and colour ("#rrggbb") of every class."""
    rows = zip(classes, palette, strict=True)
    entries = [
        {"value": value, "name": name, "color": "#{:02x}{:02x}{:02x}".format(*colour)}
        for value, (name, colour) in enumerate(rows)
    ]
    write_json(path, {"classes": entries})


def _described(path: Path, labels: np.ndarray, classes: Sequence[str]) -> PictureClassMap:
    share = shares(labels, len(classes))
    order = [int(label) for label in np.argsort(-share, kind="stable") if share[label]]
    height, width = labels.shape
    shown = tuple((classes[label], float(share[label])) for label in order)
    return PictureClassMap(path, shown, (width, height), names=tuple(classes))


def _with_legend(entry: PictureClassMap, classes: Sequence[str], palette: Sequence[Colour]) -> Image.Image | None:
    image = reopen(entry.overlay) if entry.overlay is not None else None
    if image is None:
        return None
    numbers = {name: label for label, name in enumerate(classes)}
    order = [numbers[name] for name, _ in entry.shares]
    return with_legend([fitted(image, SIDE)], order, classes, palette, least=SIDE // 2)
