"""Objects in pictures and videos: found, listed, drawn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from phonecv.data.clips.streams import is_video
from phonecv.data.pictures.opening import file_names, find_images, printable, reopen, scan_images
from phonecv.data.pictures.reading import planes
from phonecv.dense.predicting import Answer, answers
from phonecv.detect.coco_files import CocoIds, write_coco
from phonecv.detect.detections import Detections
from phonecv.detect.finding import find, plain_detections
from phonecv.detect.opening import DetectRunner
from phonecv.detect.verbs import PredictOptions
from phonecv.detect.video import output_name, predict_video
from phonecv.errors import UserError
from phonecv.files import atomic_path, write_json
from phonecv.predicting import Prediction, Stream
from phonecv.tables import write_csv
from phonecv.text import printable_name, unique_names
from phonecv.verbs import Steps

#: Quality of the JPEG files of drawn pictures: fine lines and small letters stay sharp.
_QUALITY = 92

find_samples = find_images


@dataclass(frozen=True, slots=True)
class PictureDetections(Prediction):
    """What a detector found in one picture.

    Attributes:
        found: from the threshold on, best first.
        names: of all classes, by label.
        size: width and height of the picture, pixels; zeros if it could not be read.
        left_out: what to say of objects beyond the most that a picture may have, or an empty text.
        image_id: of the picture in COCO's files.
        category_ids: of all classes there, by label.
    """

    columns: ClassVar[tuple[str, ...]] = ("picture", "objects", "best", "what")

    found: Detections
    names: tuple[str, ...]
    size: tuple[int, int] = (0, 0)
    left_out: str = ""
    image_id: int = 0
    category_ids: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.found)

    @property
    def counts(self) -> list[tuple[str, int]]:
        """How many of which class, the most frequent first."""
        return Counter(self.names[label] for label in self.found.labels.tolist()).most_common()

    def said(self) -> str:
        """See `Prediction`."""
        said = ", ".join(f"{count} {printable_name(name)}" for name, count in self.counts) or "nothing"
        return f"{said} ({self.left_out})" if self.left_out else said

    def row(self) -> tuple[object, ...]:
        """Picture, number of objects, best score and what they are."""
        if self.error:
            return printable(self.path), "", "", self.error
        best = f"{self.found.scores.max():.2f}" if len(self) else ""
        return printable(self.path), len(self), best, self.said() if len(self) else ""

    def values(self) -> dict[str, Any]:
        """See `Prediction`; detections like those of COCO results."""
        width, height = self.size
        return {"width": width, "height": height, "detections": plain_detections(self.found, self.names)} | (
            {"left_out": self.left_out} if self.left_out else {}
        )


def streams(sources: Sequence[Path | str], options: PredictOptions) -> tuple[list[Path | str], list[Stream]]:
    """Videos, also those of folders without pictures, and the camera; see `phonecv.predicting.PredictRoom`."""
    sources = [inner for source in sources for inner in _videos_of(Path(source)) or [source]]
    videos = [source for source in sources if is_video(source)]
    missing = next((source for source in videos if not Path(source).is_file()), None)
    if missing is not None:
        what = "a folder, not a video" if Path(missing).is_dir() else "no such file"
        raise UserError(f"{printable(missing)}: {what}")
    found: list[tuple[Path | str, bool]] = [(source, False) for source in videos]
    if options.camera is not None:
        found.append((options.camera, True))
    names = unique_names([output_name(source, camera=camera) for source, camera in found])
    return [source for source in sources if not is_video(source)], [
        partial(predict_video, source=source, camera=camera, threshold=options.threshold, file_name=name)
        for (source, camera), name in zip(found, names, strict=True)
    ]


def _videos_of(folder: Path) -> list[Path]:
    """The videos of a folder that holds no pictures."""
    if not folder.is_dir() or next(scan_images(folder), None) is not None:
        return []
    return sorted(path for path in folder.iterdir() if path.is_file() and is_video(path))


def predictions(
    runner: DetectRunner, paths: Sequence[Path], steps: Steps, options: PredictOptions, out: Path | None
) -> Iterator[list[PictureDetections]]:
    """See `phonecv.predicting.PredictRoom`."""
    looking = partial(find, runner, threshold=options.threshold)
    ids = CocoIds.of(options.coco_ids, paths, runner.classes)
    for step in answers(paths, steps, batch_size=runner.batch, bits=runner.bits, find=looking):
        yield [_described(answer, runner.classes, ids) for answer in step]


def _described(answer: Answer, names: tuple[str, ...], ids: CocoIds) -> PictureDetections:
    numbers = ids.pictures[answer.index], ids.classes
    if answer.error:
        return PictureDetections(answer.path, Detections.none(), names, (0, 0), "", *numbers, error=answer.error)
    height, width = answer.picture.shape[1:]
    found, left_out = answer.found
    return PictureDetections(answer.path, found, names, (width, height), left_out, *numbers)


def write_predictions(predictions: Sequence[PictureDetections], out: Path | str) -> Path:
    """Write predictions.json, predictions.csv (a line for each object), and every picture with its objects drawn.

    The same for other programs: coco_results.json, a list of COCO results, and coco.json, a whole data set of them.
    """
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
    classes = dict(zip(predictions[0].category_ids, predictions[0].names, strict=True))
    write_coco([(one.image_id, one.path, one.size, one.found) for one in predictions if not one.error], classes, out)
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
