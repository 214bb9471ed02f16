"""Objects in pictures: found, listed, drawn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from phonecv.data.pictures.ahead import read_pictures
from phonecv.data.pictures.bit_depth import bits_for, tell_depth
from phonecv.data.pictures.opening import file_names, find_images, printable, reopen
from phonecv.data.pictures.reading import planes
from phonecv.dense.model import DenseModel
from phonecv.detect.detections import Detections
from phonecv.detect.judging import THRESHOLD
from phonecv.detect.opening import DetectRunner, open_detector
from phonecv.errors import UserError
from phonecv.files import atomic_path, write_json
from phonecv.options import Count, Share, Workers, checked
from phonecv.tables import write_csv
from phonecv.text import printable_name

#: Quality of the JPEG files of drawn pictures: fine lines and small letters stay sharp.
_QUALITY = 92


@dataclass(frozen=True, slots=True)
class PictureDetections:
    """What a detector found in one picture.

    Attributes:
        path: the file.
        found: from the threshold on, best first.
        names: of all classes, by label.
        size: width and height of the picture, pixels; zeros if it could not be read.
        error: why the picture could not be used, or an empty text.
    """

    path: Path
    found: Detections
    names: tuple[str, ...]
    size: tuple[int, int] = (0, 0)
    error: str = ""

    def __len__(self) -> int:
        return len(self.found)

    @property
    def counts(self) -> list[tuple[str, int]]:
        """How many of which class, the most frequent first."""
        return Counter(self.names[label] for label in self.found.labels.tolist()).most_common()

    def __str__(self) -> str:
        if self.error:
            return f"{printable(self.path)}: {self.error}"
        return f"{printable(self.path)}: {self._counted() or 'nothing'}"

    def _counted(self) -> str:
        return ", ".join(f"{count} {printable_name(name)}" for name, count in self.counts)

    def row(self) -> tuple[str, int | str, str, str]:
        """Picture, number of objects, best score and what they are, for a table."""
        if self.error:
            return printable(self.path), "", "", self.error
        best = f"{self.found.scores.max():.2f}" if len(self) else ""
        return printable(self.path), len(self), best, self._counted()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: the picture, and its detections like those of COCO results."""
        width, height = self.size
        return {
            "path": printable(self.path),
            "width": width,
            "height": height,
            "detections": plain_detections(self.found, self.names),
            "error": self.error,
        }


def plain_detections(found: Detections, names: Sequence[str]) -> list[dict[str, Any]]:
    """Detections of one picture for JSON: bbox as left, top, width, height; masks as COCO's run lengths."""
    boxes = found.boxes_xywh().round(2).tolist()
    rows = zip(found.labels.tolist(), boxes, found.scores.astype(float).round(5).tolist(), strict=True)
    entries: list[dict[str, Any]] = [
        {"label": label, "category": names[label], "bbox": box, "score": score} for label, box, score in rows
    ]
    for entry, mask in zip(entries, found.masks or (), strict=False):
        entry["segmentation"] = mask
    return entries


@checked
def predict_detector(
    model: DenseModel | DetectRunner | Path | str,
    images: Path | str | Sequence[Path | str],
    *,
    threshold: Share | None = None,
    out: Path | str | None = None,
    batch_size: Count | None = None,
    workers: Workers | None = None,
    device: str | torch.device | None = None,
    amp: str = "none",
    **loading: Any,
) -> list[PictureDetections]:
    """Find objects in pictures; one that cannot be read gets an error and the others go on.

    Args:
        model: a detector, the path of a checkpoint or exported file of one, or a `DetectRunner`.
        images: a picture, a folder (searched through), a pattern such as "photos/*.jpg", or several of them.
        threshold: least score, 0.3 if None.
        out: folder for tables and drawn pictures, see `write_detections`.
        batch_size: pictures per step; None chooses.
        workers: threads that decode pictures; None chooses.
        device: for PyTorch; None for a GPU if there is one.
        amp: "none" (float32), "bf16" or "fp16".
        **loading: arguments of `load_checkpoint`.

    Returns:
        One entry per picture, in the order found.

    Raises:
        UserError: unusable model, no pictures, a number out of range.
    """
    sources = [images] if isinstance(images, Path | str) else list(images)
    paths = [path for source in sources for path in find_images(source)]
    if not paths:
        raise UserError("no pictures were named; give a file, a folder or a pattern such as 'photos/*.jpg'")
    least = THRESHOLD if threshold is None else threshold
    runner = open_detector(model, device=device, amp=amp, threshold=least, **loading)
    predictions: list[PictureDetections] = []
    bits, depth = bits_for(runner.details, paths)
    tell_depth(depth)
    for batch in read_pictures(paths, batch_size or runner.batch, workers, bits=bits):
        results = iter(zip(batch.tensors, find(runner, batch.tensors, least), strict=True))
        for index, error in zip(batch.indices.tolist(), batch.errors, strict=True):
            if error:
                predictions.append(PictureDetections(paths[index], Detections.none(), runner.classes, error=error))
                continue
            picture, found = next(results)
            height, width = picture.shape[1:]
            predictions.append(PictureDetections(paths[index], found, runner.classes, (width, height)))
    if out is not None:
        write_detections(predictions, out)
    return predictions


def find(runner: DetectRunner, pictures: Sequence[torch.Tensor], threshold: float) -> Iterator[Detections]:
    """What is in each of the pictures (``3 H W`` bytes), from the threshold on."""
    if not pictures:
        return
    strong = []
    for found in runner(pictures):
        # What is dropped here needs no mask to be encoded.
        enough = found["scores"] >= threshold
        strong.append({name: column[enough] for name, column in found.items()})
    every = Detections.of(strong, range(len(strong)))
    every = every[every.finite()]
    for place in range(len(strong)):
        yield every.of_picture(place)


# -------------------------------------------------------------------------------------------- files


def write_detections(predictions: Sequence[PictureDetections], out: Path | str) -> Path:
    """Write predictions.json, predictions.csv (a line for each object), and every picture with its objects drawn.

    Raises:
        UserError: there are no predictions.
    """
    if not predictions:
        raise UserError("there are no predictions to write")
    out = Path(out)
    names = file_names([prediction.path for prediction in predictions])
    drawn = [draw_picture(prediction, out, f"{name}.jpg") for prediction, name in zip(predictions, names, strict=True)]
    entries = [
        prediction.to_dict() | {"drawn": path.name if path else None}
        for prediction, path in zip(predictions, drawn, strict=True)
    ]
    write_json(out / "predictions.json", {"classes": list(predictions[0].names), "images": entries})
    rows: list[tuple[Any, ...]] = []
    for prediction in predictions:
        if prediction.error:
            rows.append((prediction.path, "", "", "", "", "", "", prediction.error))
        found = prediction.found
        columns = zip(found.labels.tolist(), found.scores.tolist(), found.boxes_xywh().tolist(), strict=True)
        rows += [
            (prediction.path, prediction.names[label], f"{score:.5f}", *(f"{side:.2f}" for side in box), "")
            for label, score, box in columns
        ]
    write_csv(out / "predictions.csv", ("path", "class", "score", "left", "top", "width", "height", "error"), rows)
    return out


def draw_picture(prediction: PictureDetections, out: Path, name: str) -> Path | None:
    """Save the picture with its objects as `name` in `out`; None if it cannot be read (any more)."""
    from phonecv.detect.draw import draw_detections, to_image

    if prediction.error:
        return None
    image = reopen(prediction.path)
    if image is None:
        return None
    with atomic_path(out / name) as temporary:
        to_image(draw_detections(planes(image), prediction.found, prediction.names)).save(temporary, quality=_QUALITY)
    return out / name
