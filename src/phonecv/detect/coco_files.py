"""What was found in pictures as COCO's files: for Label Studio, CVAT, FiftyOne, and for evaluating it later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from phonecv.data.coco.reader import CocoPaths, read_coco
from phonecv.detect.detections import Detections
from phonecv.errors import UserError
from phonecv.files import write_json, write_lines
from phonecv.text import printable


@dataclass(frozen=True, slots=True)
class CocoIds:
    """Ids in COCO's files.

    Attributes:
        pictures: by place.
        classes: by label.
    """

    pictures: tuple[int, ...]
    classes: tuple[int, ...]

    @classmethod
    def of(cls, file: Path | str | None, paths: Sequence[Path], names: Sequence[str]) -> CocoIds:
        """Those of a COCO file, or without one numbers from 1. Classes that the file does not have get free ids.

        Raises:
            UserError: the file cannot be read, or does not tell of a picture.
        """
        if file is None:
            return cls(tuple(range(1, len(paths) + 1)), tuple(range(1, len(names) + 1)))
        split = read_coco(CocoPaths(Path(file), None))
        known: dict[str, list[tuple[str, int]]] = {}
        for index, key in enumerate(split.images.ids.tolist()):
            name = split.images.name(index)
            known.setdefault(PurePath(name).name, []).append((name, key))
        pictures = [_picture_id(path, known.get(path.name, ())) for path in paths]
        unknown = [path for path, key in zip(paths, pictures, strict=True) if key is None]
        if unknown:
            raise UserError(
                f"{printable(file)} does not tell of {len(unknown)} of {len(paths)} pictures, or of several with one"
                f" name; the first: {printable(unknown[0])}"
            )
        ids = dict(zip(split.classes, split.category_ids, strict=True))
        for name in names:
            ids.setdefault(name, max(ids.values(), default=0) + 1)
        return cls(tuple(key for key in pictures if key is not None), tuple(ids[name] for name in names))


def _picture_id(path: Path, named: Sequence[tuple[str, int]]) -> int | None:
    """The id of a picture among those with its name: the only one, or the one whose folders are the same."""
    if len(named) > 1:
        named = [one for one in named if path.as_posix().endswith(f"/{one[0]}")]
    return named[0][1] if len(named) == 1 else None


def write_coco(
    pictures: Sequence[tuple[int, Path, tuple[int, int], Detections]], classes: Mapping[int, str], out: Path
) -> None:
    """Write coco_results.json (a list of results) and coco.json (a data set whose annotations are the results).

    Args:
        pictures: of each readable one id, file, width and height, and what was found in it.
        classes: name by id, in the order of the labels.
        out: folder.
    """
    results: list[dict[str, Any]] = []
    for key, _, _, found in pictures:
        entries = found.records([key] * (int(found.pictures.max(initial=0)) + 1), list(classes), "bbox")
        for entry, mask in zip(entries, found.masks or (), strict=False):
            entry["segmentation"] = mask
        results += entries
    write_lines(out / "coco_results.json", results)
    images = [
        {"id": key, "file_name": printable(path), "width": width, "height": height}
        for key, path, (width, height), _ in pictures
    ]
    annotations = [
        {"id": number, **entry, "area": _area(entry), "iscrowd": 0} for number, entry in enumerate(results, start=1)
    ]
    categories = [{"id": key, "name": name} for key, name in classes.items()]
    write_json(out / "coco.json", {"images": images, "annotations": annotations, "categories": categories})


def _area(entry: Mapping[str, Any]) -> float:
    """Pixels of the mask, or else of the box."""
    if "segmentation" not in entry:
        return float(entry["bbox"][2] * entry["bbox"][3])
    from faster_coco_eval.core import mask as coder

    return float(coder.area(entry["segmentation"]))
