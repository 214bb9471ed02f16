"""What the verbs that write files for other runtimes take, in Python and on the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from phonecv.exporting.formats import get_exporter
from phonecv.options import Checked, Size, decodings_of, flag
from phonecv.task import TASKS

if TYPE_CHECKING:
    import numpy as np


def decodings_text() -> str:
    """What files can hold, by task."""
    rows = {task.title: decodings_of(name) for name, task in TASKS.items()}
    return ". ".join(
        f"{title.capitalize()}s: " + ", ".join(f"{name} ({text})" for name, text in known.items() if name != "raw")
        for title, known in rows.items()
        if len(known) > 1
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class FileOptions(Checked):
    """What a file holds, and how far it may be from PyTorch.

    Attributes:
        precision: Arithmetic of the files: float32 or fp16; `phonecv quantize` makes int8 files.
        size: Input side in pixels, or height and width as in 256x192; by default the network's own.
        dynamic_size: Leave height and width free, where the format can; `size` is then what it is traced with.
        bake: The files take pixel values 0..255 and normalise them themselves (Core ML: a picture).
        opset: ONNX files for an older runtime: operator set, from 13 (ONNX Runtime 1.6) on.
        decode: How much the files hold of what follows the network; raw is nothing.
        images: Pictures to compare on: a folder, a file or a pattern; by default embedded photographs.
        max_diff: Largest difference of the outputs that passes, a share of the largest output; by default what the
            precision allows (float32 1e-4).
        min_agreement: Least share of pictures whose best class stays the same (float32 1, fp16 0.95).
    """

    precision: str = "float32"
    size: Size | None = None
    dynamic_size: bool = field(default=False, metadata=flag("any-size"))
    bake: bool = False
    opset: int | None = None
    decode: str = field(default="raw", metadata={"more": decodings_text})
    images: str | Path | Sequence[Path] | None = None
    max_diff: float | None = None
    min_agreement: float | None = None

    def of_format(self, format: str) -> ExportOptions:
        """The same for a file in a format."""
        values = {one.name: getattr(self, one.name) for one in fields(FileOptions)}
        # Several formats may be asked for at once, and only some have operator sets.
        opset = self.opset if get_exporter(format).opsets else None
        return ExportOptions(format=format, **values | {"opset": opset})


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions(FileOptions):
    """What `phonecv.export` writes, and how it is checked.

    Attributes:
        form: Deploy fuses the network first (a copy); training exports it as it is.
        verify: Run the written file and compare.
        format: a key of `EXPORTERS`; None for the one of the file's suffix.
        calibration: ``N 3 H W`` float32 for int8, as the network takes it; see `phonecv.quantize`.
        settings: of the quantization.
        licence: of the weights, for the file's metadata; None for what the catalog says of a name in it.
        replace_file: whether the file may exist; False refuses one that comes up during the export, too.
    """

    form: Literal["deploy", "training"] = "deploy"
    verify: bool = True
    format: str | None = field(default=None, metadata=flag(None))
    calibration: np.ndarray | None = field(default=None, metadata=flag(None))
    settings: Mapping[str, Any] = field(default_factory=dict, metadata=flag(None))
    licence: str | None = field(default=None, metadata=flag(None))
    replace_file: bool = field(default=True, metadata=flag(None))
