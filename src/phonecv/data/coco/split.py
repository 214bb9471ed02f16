"""One split of a COCO data set, ready to be trained on or evaluated against."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from phonecv.data.coco import masks as coco_masks
from phonecv.data.coco.tables import READING, CocoProblem, CocoTables
from phonecv.errors import UserError
from phonecv.files import digest
from phonecv.text import printable

if TYPE_CHECKING:
    from torch import Tensor


class CocoImage(NamedTuple):
    """One picture: where it is, and what the annotations say of it."""

    path: Path
    id: int
    height: int
    width: int


class ImageTable(Sequence[CocoImage]):
    """The pictures of a split, some or all of those in a file.

    Attributes:
        folder: what the file names are relative to.
        rows: N int64, places in the file's tables.
        ids: N int64.
        heights: N int32.
        widths: N int32.
    """

    def __init__(self, tables: CocoTables, folder: Path, rows: np.ndarray) -> None:
        self._tables, self.folder, self.rows = tables, folder, rows
        self.ids, self.heights, self.widths = (
            column[rows] for column in (tables.image_ids, tables.heights, tables.widths)
        )

    def __len__(self) -> int:
        return len(self.rows)

    def name(self, index: int) -> str:
        """File name, relative to the folder of pictures."""
        return self._tables.names[int(self.rows[index])].decode("utf-8", "surrogateescape")

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"picture {index} of {len(self)}")
        path = self.folder / self.name(index)
        return CocoImage(path, int(self.ids[index]), int(self.heights[index]), int(self.widths[index]))

    @property
    def lying(self) -> np.ndarray:
        """N bool: wider than high. Batches of one kind are padded less."""
        return self.widths > self.heights


@dataclass(frozen=True, eq=False)
class CocoSplit:
    """The pictures and objects of one split.

    Attributes:
        source: the annotation file.
        classes: names in label order: by category id, unless they were given.
        category_ids: of the classes, in this file; a class that the file does not know has an id that is free in it.
        images: the pictures.
        problems: everything that is wrong with the file, each with its place.
        masks: whether every object has a mask.
        layout: what the annotations are if they are no COCO file, for people.
    """

    source: Path
    classes: tuple[str, ...]
    category_ids: tuple[int, ...]
    images: ImageTable
    problems: tuple[CocoProblem, ...]
    masks: bool
    _tables: CocoTables = field(repr=False)
    _labels: np.ndarray = field(repr=False)  # of all annotations in the tables, int64
    layout: str = ""

    def __len__(self) -> int:
        return len(self.images)

    @property
    def description(self) -> str:
        """For people: the file."""
        return printable(self.source)

    @property
    def notes(self) -> tuple[str, ...]:
        """How the files of other tools are read, and one line of what was left out or changed, if anything was."""
        how = tuple(_how(problem) for problem in self.problems if problem.kind == READING)
        problems = [problem for problem in self.problems if problem.kind != READING]
        if not problems:
            return how
        dropped, kept = Counter[str](), Counter[str]()
        for problem in problems:
            (dropped if problem.dropped else kept)[problem.kind] += problem.count
        texts = []
        if dropped:
            kinds = ", ".join(f"{count} {kind}" for kind, count in dropped.most_common())
            texts.append(f"{dropped.total():,} of {self._tables.total:,} annotations are left out ({kinds})")
        if kept:
            texts.append("noted: " + ", ".join(f"{count} {kind}" for kind, count in kept.most_common()))
        first = next((problem for problem in problems if problem.dropped), problems[0])
        name = printable(self.source)
        return (
            *how,
            f"{name}: {'; '.join(texts)}; first: {first}; `phonecv audit {name}` lists them all",
        )

    @property
    def class_counts(self) -> np.ndarray:
        """Objects of every class, int64."""
        return np.bincount(self._labels[self._rows()], minlength=len(self.classes))

    def classes_of_pictures(self) -> tuple[np.ndarray, np.ndarray]:
        """Of every annotation the place of its picture and its label, int64."""
        return np.repeat(np.arange(len(self)), self.object_counts), self._labels[self._rows()]

    @property
    def label_digest(self) -> str:
        """Another one for other objects, wherever the files lie: their pictures, classes, boxes, crowds and areas."""
        rows, tables = self._rows(), self._tables
        return digest(*self.classes_of_pictures(), tables.boxes[rows], tables.crowd[rows], tables.areas[rows])

    @property
    def object_counts(self) -> np.ndarray:
        """Annotations of every picture, crowds included, int64."""
        starts, rows = self._tables.starts, self.images.rows
        return starts[rows + 1] - starts[rows]

    @property
    def learnable(self) -> int:
        """Objects that are no crowds: what can be learnt and found."""
        return int(self.object_counts.sum()) - self.crowds

    @property
    def crowds(self) -> int:
        """Annotations that stand for a crowd."""
        return int(self._tables.crowd[self._rows()].sum())

    @property
    def class_sets(self) -> Sequence[frozenset[int]]:
        """The classes of the objects on every picture, crowds left out."""
        plain = ~self._tables.crowd
        spans = [self._span(index) for index in range(len(self))]
        return [frozenset(self._labels[span][plain[span]].tolist()) for span in spans]

    def path(self, index: int) -> Path:
        """The picture's file."""
        return self.images[index].path

    def select(self, indices: Sequence[int] | np.ndarray) -> CocoSplit:
        """The same split with these pictures only; the tables are shared."""
        rows = self.images.rows[np.asarray(indices, dtype=np.int64)]
        return replace(self, images=ImageTable(self._tables, self.images.folder, rows))

    def trainable(self, *, least: int = 32, empty: bool = False) -> CocoSplit:
        """Without small and, unless `empty`, without unannotated pictures; the defaults are those of COCO trainings.

        Args:
            least: shortest side that stays, pixels.
            empty: keep pictures without annotations.
        """
        good = np.minimum(self.images.heights, self.images.widths) >= least
        if not empty:
            good &= self.object_counts > 0
        if not good.any():
            raise UserError(
                f"{self.description}: none of the {len(self)} pictures has {'' if empty else 'an object and '}a short"
                f" side of {least} pixels"
            )
        return self.select(np.flatnonzero(good))

    def targets(
        self, index: int, *, masks: bool | None = None, within: Sequence[float] | None = None
    ) -> dict[str, Tensor]:
        """What is on a picture, in its pixels: boxes N 4 (float32 xyxy, cut at the border), labels N (int64), crowd N
        (bool), area N (float32), and masks N H W (bool).

        Args:
            index: place in the split.
            masks: whether to decode masks; None does it if there are any.
            within: only objects whose boxes reach into this part of the picture, x1 y1 x2 y2; None for all.
        """
        import torch

        tables, image = self._tables, self.images[index]
        span = self._span(index)
        boxes = tables.boxes[span].copy()
        boxes[:, 2:] += boxes[:, :2]
        rows = np.arange(span.start, span.stop)
        if within is not None:
            inside = (boxes[:, :2] < within[2:]).all(1) & (boxes[:, 2:] > within[:2]).all(1)
            boxes, rows = boxes[inside], rows[inside]
        limits = np.array([image.width, image.height, image.width, image.height], dtype=np.float64)
        result = {
            "boxes": torch.from_numpy(boxes.clip(0, limits).astype(np.float32)),
            "labels": torch.from_numpy(self._labels[rows]),
            "crowd": torch.from_numpy(tables.crowd[rows]),
            "area": torch.from_numpy(tables.areas[rows].astype(np.float32)),
        }
        if self.masks if masks is None else masks:
            result["masks"] = torch.from_numpy(coco_masks.decode(self._packed(rows), image.height, image.width))
        return result

    def drawn(self, index: int) -> np.ndarray:
        """All objects of a picture in one, H W uint16: label + 1 of the last one that covers a pixel, else 0."""
        image, span = self.images[index], self._span(index)
        pixels = np.zeros((image.height, image.width), dtype=np.uint16)
        for packed, label in zip(self._packed(span), self._labels[span].tolist(), strict=True):
            pixels[coco_masks.decode([packed], image.height, image.width)[0]] = label + 1
        return pixels

    def to_ground_truth(self) -> dict[str, Any]:
        """A clean COCO data set, as COCO's tools take it: all that is in it can be evaluated.

        Boxes are those of the file, not cut at the border. Annotations are numbered from 1, because COCO's evaluation
        takes the number 0 for "no match".
        """
        tables, images, annotations = self._tables, [], []
        ids = np.array(self.category_ids, dtype=np.int64)[self._labels].tolist()
        boxes, areas, crowd = tables.boxes.tolist(), tables.areas.tolist(), tables.crowd.tolist()
        for index, image in enumerate(self.images):
            name = self.images.name(index)
            images.append({"id": image.id, "file_name": name, "height": image.height, "width": image.width})
            for row in range(*self._span(index).indices(len(ids))):
                annotation = {
                    "id": len(annotations) + 1,
                    "image_id": image.id,
                    "category_id": ids[row],
                    "bbox": boxes[row],
                    "area": areas[row],
                    "iscrowd": int(crowd[row]),
                }
                if self.masks:
                    packed = self._packed(slice(row, row + 1))[0]
                    annotation["segmentation"] = coco_masks.to_rle(packed, image.height, image.width)
                annotations.append(annotation)
        categories = [{"id": key, "name": name} for key, name in zip(self.category_ids, self.classes, strict=True)]
        return {"info": {}, "images": images, "annotations": annotations, "categories": categories}

    def _span(self, index: int) -> slice:
        row = int(self.images.rows[index])
        return slice(int(self._tables.starts[row]), int(self._tables.starts[row + 1]))

    def _rows(self) -> np.ndarray:
        """Rows of all annotations of this split's pictures."""
        starts, counts = self._tables.starts[self.images.rows], self.object_counts
        before = np.concatenate(([0], counts.cumsum()[:-1])) if len(counts) else counts
        return np.repeat(starts - before, counts) + np.arange(counts.sum())

    def _packed(self, rows: slice | np.ndarray) -> list[bytes]:
        if self._tables.masks is None:
            raise UserError(f"{self.description}: was read without masks; read it with masks=True")
        return [self._tables.masks[int(row)] for row in self._tables.mask_rows[rows]]


def _how(problem: CocoProblem) -> str:
    """How something is read: where it is the whole of the files, without a place."""
    return problem.message if problem.place.startswith('"') else str(problem)
