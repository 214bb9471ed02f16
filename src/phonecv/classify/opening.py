"""Classifiers ready to run: networks of ours, checkpoints, exported files of any runtime."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from phonecv.classify.verbs import OpeningOptions
from phonecv.data.class_mapping import IMAGENET_CLASSES, imagenet_names
from phonecv.errors import UserError
from phonecv.exporting.assumed import tell_assumed
from phonecv.exporting.fields import FileRecord
from phonecv.exporting.opening import OpenedFile
from phonecv.exporting.record import at_size, preprocessing_of, record_path
from phonecv.opening import Placed
from phonecv.preprocessing import Preprocessing
from phonecv.whole.opening import WholeRunner, in_parts

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class ClassifyRunner(WholeRunner):
    """A classifier ready to run: float32 batch ``B 3 H W`` in main memory -> logits ``B C`` in main memory.

    Attributes:
        thresholds: see `VisionModel`; None where classes exclude each other.
    """

    task: ClassVar[str] = "classify"

    thresholds: tuple[float, ...] | None = None


def network_runner(placed: Placed, options: OpeningOptions | None) -> ClassifyRunner:
    """See `phonecv.opening.OpeningRoom`."""
    network = placed.network
    if network.num_classes == 0 and not (options and options.headless):
        raise UserError(
            f"{network.name or 'this network'} has no classifier, so there is nothing to evaluate or predict;"
            " `predict` writes its features with embeddings='FILE.npz'"
        )
    return ClassifyRunner.of_network(placed, in_parts(placed), thresholds=network.thresholds)


def file_runner(file: OpenedFile, options: OpeningOptions | None) -> ClassifyRunner:
    """See `phonecv.opening.OpeningRoom`; files without a record get the usual preprocessing, which is logged."""
    path, session, record = file.path, file.session, file.record
    spec = preprocessing_of(record)
    preprocessing = spec if isinstance(spec, Preprocessing) else Preprocessing()
    if session.size is not None:
        if spec is None and session.size[0] == session.size[1]:
            preprocessing = at_size(preprocessing, *session.size)
        if session.size != (preprocessing.size, preprocessing.size):
            raise UserError(
                f"{path} takes {session.size[0]} x {session.size[1]} pixels; evaluation and prediction crop squares, "
                "so export with one number for the size"
            )
    side = preprocessing.size
    probe = session(np.zeros((1, preprocessing.channels, side, side), np.float32))
    if len(probe) != 1 or probe[0].ndim != 2:
        gives = ", ".join(str(list(output.shape)) for output in probe)
        # Only a record says how to read what else a network gives.
        lost = "" if record else f"; a detector's or segmenter's file needs its record, {record_path(path).name}"
        raise UserError(f"{path} gives {gives}; a classifier gives one table of logits, B x classes{lost}")
    count = probe[0].shape[1]
    tell_assumed(path, record, preprocessing, count)
    names = record.get("classes")
    if names and len(names) != count:
        raise UserError(f"{path} gives {count} classes, its record names {len(names)}; one is of another file")
    thresholds = thresholds_in(record)
    if thresholds is not None and len(thresholds) != count:
        raise UserError(f"{path} gives {count} classes, its record has {len(thresholds)} thresholds; export it again")
    shares = record.get("decoding", {}).get("kind") == "final"

    def arrays(images: np.ndarray) -> np.ndarray:
        found = file.arrays(images, preprocessing)[0].astype(np.float32, copy=False)
        return _logits_of(found, several=thresholds is not None) if shares else found

    def run(images: Tensor) -> Tensor:
        import torch

        return torch.from_numpy(arrays(images.numpy()))

    return ClassifyRunner.of_file(file, run, count, preprocessing=preprocessing, arrays=arrays, thresholds=thresholds)


def _logits_of(shares: np.ndarray, *, several: bool) -> np.ndarray:
    """Logits of which the softmax, or the sigmoid where a picture may have `several` labels, gives these shares."""
    least = np.finfo(np.float32).tiny
    logits = np.log(np.maximum(shares, least))
    return logits - np.log(np.maximum(1 - shares, least)) if several else logits


def thresholds_in(record: FileRecord) -> tuple[float, ...] | None:
    """Of the labels, where they do not exclude each other; else None."""
    found = record.get("decoding", {}).get("thresholds")
    return None if found is None else tuple(found)


def names_in(record: FileRecord) -> tuple[str, ...] | None:
    """See `phonecv.opening.OpeningRoom`: ImageNet's where nothing speaks against it."""
    if record.get("classes"):
        return tuple(record["classes"])
    return imagenet_names() if record.get("num_classes") in (None, IMAGENET_CLASSES) else None
