"""What `phonecv.bench` takes, in Python and on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from phonecv.options import Checked, Size, flag


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchOptions(Checked):
    """What is timed, where, and for how long.

    Attributes:
        batches: Pictures at once; several with commas. 1 is latency, more is throughput.
        threads: CPU threads; by default 1 and all usable cores.
        precisions: Of float32, bf16, fp16 and int8; by default those that run here.
        runtimes: Of eager, compiled, onnxruntime, openvino, executorch, litert and ncnn; by default the installed ones
            among eager, onnxruntime and openvino, as the others take up to minutes to prepare a network.
        device: Cpu or cuda.
        size: Input side in pixels, or height and width as in 256x192; by default each network's own.
        form: Deploy fuses networks in training form; training times them as they are, and says so in every row.
        layout: How PyTorch's input lies in memory; auto takes the faster one.
        baseline: What ratios refer to, as NETWORK/RUNTIME/PRECISION or a part that only one has; by default the first.
        rounds: At most so many rounds.
        seconds: About so many seconds of rounds for each batch size and number of threads.
        memory: Measure peak memory, too, which takes a process for each.
        out: Folder for bench.csv, bench.json and bench.png; with --serve for what phones send, runs/phones by default.
    """

    batches: Sequence[int] = field(default=(1, 16), metadata=flag("batch"))
    threads: Sequence[int] | None = None
    precisions: Sequence[str] | None = field(default=None, metadata=flag("precision"))
    runtimes: Sequence[str] | None = field(default=None, metadata=flag("runtime"))
    device: str = "cpu"
    size: Size | None = None
    form: Literal["deploy", "training"] = "deploy"
    layout: Literal["auto", "nchw", "nhwc"] = "auto"
    baseline: str | None = None
    rounds: int = 30
    seconds: float = 15.0
    memory: bool = True
    out: Path | str | None = None
