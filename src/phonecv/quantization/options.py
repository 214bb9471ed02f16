"""What `phonecv.quantize` takes, in Python and on the command line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from phonecv.options import Checked, Count, Size, flag
from phonecv.settings import Range

if TYPE_CHECKING:
    from phonecv.quantization.methods import Method
    from phonecv.quantization.result import Trial

#: Pictures to calibrate on, at most.
CALIBRATE = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizeOptions(Checked):
    """To what, on which pictures, and how far it may go.

    Attributes:
        formats: Formats, separated by commas: onnx, ort, openvino, executorch, litert, ncnn; weights alone also
            coreml, mnn.
        data: Pictures like those the app will see, 200 or more. One half finds ranges, the other one chooses; of a data
            folder, train/ and val/, or what the model's run trained on and held out. With class folders right answers
            are counted, otherwise changed ones.
        evaluation: Other pictures, on which the chosen files are scored, once; with labels in mIoU or AP.
        max_drop: Points of top-1 that may be lost (1.0). Without labels percent of answers that may change (5.0), of
            pixels (2.0), or of a detector's confident boxes that may come or go (5.0).
        precision: 8-bit weights and activations, 8-bit weights alone, or half precision.
        size: Input side in pixels, or height and width as in 256x192, of a detector or segmenter; by default its own.
        calibrate: Pictures to find ranges on, and to fine-tune on, at most.
        choose: Pictures to choose by, at most (1000; detectors and segmenters 100).
        fine_tune: Where nothing else meets the budget, train the fused network in 8 bits for a few minutes, taught by
            the float one on the calibration pictures.
        fine_tune_steps: Batches of that training.
        lists: list files of the pictures that find ranges and of those that choose; None: those of the model's run.
        stem: of the files; None for the model's name.
        methods: to try instead of the usual ones, see `phonecv.quantization.methods`.
        on_trial: called after every trial.
        say: called with lines about what takes long.
    """

    formats: Sequence[str] = field(metadata=flag("to"))
    data: Path | str
    evaluation: Path | str | None = field(default=None, metadata=flag("eval"))
    max_drop: Annotated[float, Range(low=0, below=100)] | None = None
    precision: Literal["int8", "int8-weights", "fp16"] = "int8"
    size: Size | None = None
    calibrate: Count = CALIBRATE
    choose: Count | None = None
    fine_tune: bool = True
    fine_tune_steps: Count = 150
    lists: tuple[Path, Path] | None = field(default=None, metadata=flag(None))
    stem: str | None = field(default=None, metadata=flag(None))
    methods: Sequence[Method] | None = field(default=None, metadata=flag(None))
    on_trial: Callable[[Trial], None] | None = field(default=None, metadata=flag(None))
    say: Callable[[str], None] | None = field(default=None, metadata=flag(None))
