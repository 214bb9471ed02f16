"""Files of small detectors and segmenters in every way that the readers tell apart."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exporting.dense_files import busy, busy_masks, pretend
from phonecv.dense.model import DenseModel
from phonecv.exporting import opening
from phonecv.exporting.record import read_record, record_path
from phonecv.files import write_json
from phonecv.preprocessing import DensePreprocessing
from segment.tiny import tiny

#: Names that are awkward in some language, and one that says nothing.
NAMES = ('a "b"', "c\\d", "$e {f}", "größe", "background")


@dataclass(frozen=True, slots=True)
class Case:
    """A way in which a file is made.

    Attributes:
        network: makes it.
        decode: see `phonecv.options.decodings_of`.
        size: of the input.
        free: whether other sizes go, too.
        baked: whether it takes pixel values.
        layout: of the input, as in a record.
    """

    network: Callable[[], DenseModel]
    decode: str
    size: tuple[int, int]
    free: bool = False
    baked: bool = False
    layout: str = "NCHW"


def segmenter(*, square: bool = False, channels: int = 3) -> DenseModel:
    model = tiny("segformer", "mobileone_s0", in_chans=channels)
    model.class_names = NAMES
    spec = DensePreprocessing(size=64, longest=None if square else 96, multiple=1 if square else 32)
    model.preprocessing = spec.of_channels(channels)
    return model


def detector(architecture: str) -> DenseModel:
    model = busy(architecture)
    model.class_names = NAMES[:3]
    return model


CASES = {
    "classes of a stretched picture's logits": Case(lambda: segmenter(square=True), "raw", (64, 64)),
    "logits of baked pixels": Case(segmenter, "raw", (64, 96), baked=True, layout="NHWC"),
    "logits of gray pictures": Case(lambda: segmenter(channels=1), "raw", (64, 96), layout="NHWC"),
    "logits of any size": Case(segmenter, "raw", (64, 96), free=True),
    "classes": Case(segmenter, "final", (64, 96)),
    "SSDLite raw": Case(lambda: detector("ssdlite320"), "raw", (96, 96)),
    "SSDLite boxes, baked": Case(lambda: detector("ssdlite320"), "boxes", (96, 96), baked=True, layout="RGB picture"),
    "RetinaNet raw": Case(lambda: detector("retinanet_fpn"), "raw", (64, 96), layout="NHWC"),
    "RetinaNet raw of any size": Case(lambda: detector("retinanet_fpn"), "raw", (64, 96), free=True),
    "RetinaNet final": Case(lambda: detector("retinanet_fpn"), "final", (64, 96), layout="CHW"),
    "Mask R-CNN": Case(busy_masks, "final", (64, 96)),
}


@dataclass(frozen=True, slots=True)
class Made:
    """A file as `opening.open_session` gives it, and what its record says.

    Attributes:
        path: of the file.
        record: beside it.
        run: input values as the reader makes them -> outputs, in order.
    """

    path: Path
    record: Mapping[str, Any]
    run: Callable[[np.ndarray], list[np.ndarray]]


def made(case: Case, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    """The file of a case; PyTorch stands in for its runtime."""
    path = pretend(
        case.network(), folder / "a.onnx", monkeypatch, decode=case.decode, size=case.size, free=case.free,
        bake=case.baked,
    )  # fmt: skip
    session = opening.open_session(path)
    record: Any = session.record
    outputs = session(np.full((1, record["inputs"][0]["shape"][0], *case.size), 99, np.float32))
    shapes = {name: {"shape": list(values.shape[1:])} for name, values in zip(record["outputs"], outputs, strict=True)}
    record.update(
        file=path.name,
        format="onnx",
        dynamic_size=case.free,
        report={"inputs": [{"layout": case.layout}]},
        test={"picture": f"{path.stem}.test.png", "outputs": shapes},
    )
    write_json(record_path(path), record)

    def run(values: np.ndarray) -> list[np.ndarray]:
        if case.layout in ("NHWC", "RGB picture"):
            values = values.transpose(2, 0, 1)
        return session(np.ascontiguousarray(values[None]))

    return Made(path, read_record(path), run)


@cache
def record_of(name: str) -> Mapping[str, Any]:
    """The record of a case alone, made once."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        return made(CASES[name], Path(folder), patch).record
