"""What is timed: subjects in one runtime and precision, and the job of one process with them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from phonecv.benchmarking.calls import Arrays, Call, tiled
from phonecv.files import write_json


@dataclass(frozen=True, slots=True)
class Candidate:
    """One subject in one runtime and precision.

    Attributes:
        label: unique, "network/runtime/precision".
        runtime: a key of `phonecv.benchmarking.runtimes.RUNTIMES`.
        precision: float32, bf16, fp16 or int8.
        layout: for PyTorch "nchw", "nhwc" or "auto".
        probe: .npz of the inputs, then the outputs expected for them.
        file: the pickled network, or the exported file.
        limit: largest difference of the outputs; None for no limit.
        inputs: how many arrays of the probe they are.
    """

    label: str
    runtime: str
    precision: str
    layout: str
    probe: str
    file: str
    limit: float | None
    inputs: int = 1


@dataclass(frozen=True, slots=True)
class Job:
    """What one process does.

    Attributes:
        candidates: they take turns at every batch size.
        batches: one after the other.
        threads: of every runtime; with one, the process is bound to one core.
        device: "cpu" or a CUDA device.
        rounds: at most.
        seconds: of one batch size's rounds, about.
        warmup: calls, at most.
        peaks: whether to measure what the machine can do.
        memory: whether to look at the memory of one candidate instead of timing several.
    """

    candidates: tuple[Candidate, ...]
    batches: tuple[int, ...]
    threads: int
    device: str
    rounds: int
    seconds: float | None
    warmup: int
    peaks: bool = True
    memory: bool = False

    @classmethod
    def read(cls, path: Path) -> Job:
        """From the file that `write` made."""
        values = json.loads(path.read_text(encoding="utf-8"))
        values["candidates"] = tuple(Candidate(**candidate) for candidate in values["candidates"])
        values["batches"] = tuple(values["batches"])
        return cls(**values)

    def write(self, path: Path) -> None:
        """As JSON."""
        write_json(path, asdict(self))


def make_call(candidate: Candidate, job: Job, given: Arrays) -> Call:
    """Load the candidate's file into its runtime."""
    if candidate.runtime in ("eager", "compiled"):
        import torch

        from phonecv.benchmarking.torch_calls import torch_call

        # Written a moment ago by the process that started this one.
        network = torch.load(candidate.file, weights_only=False)
        return torch_call(
            network,
            given,
            precision=candidate.precision,
            layout=candidate.layout,
            device=job.device,
            compiled=candidate.runtime == "compiled",
        )
    from phonecv.benchmarking import native_calls, onnx_calls

    if candidate.runtime == "onnxruntime":
        return onnx_calls.onnxruntime_call(candidate.file, given, threads=job.threads, device=job.device)
    if candidate.runtime == "openvino":
        return onnx_calls.openvino_call(candidate.file, given, threads=job.threads, precision=candidate.precision)
    calls = {
        "executorch": native_calls.executorch_call,
        "litert": native_calls.litert_call,
        "ncnn": native_calls.ncnn_call,
        "mnn": native_calls.mnn_call,
    }
    return calls[candidate.runtime](candidate.file, given, threads=job.threads)


def probe(candidate: Candidate, batch: int) -> tuple[Arrays, list[np.ndarray]]:
    """The inputs of one batch, and the outputs expected for them."""
    with np.load(candidate.probe) as held:
        arrays = [tiled(held[name], batch) for name in held.files]
    return tuple(arrays[: candidate.inputs]), arrays[candidate.inputs :]
