"""What can run a network: one table, and why a runtime cannot run one in some precision on some device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from phonecv.benchmarking.machine import native
from phonecv.errors import UserError, did_you_mean

#: Largest difference from PyTorch's float32 outputs, divided by max(1, largest output), that may be timed. Low
#: precision errs more on a network with random weights than on a trained one; an unrelated network errs by about 1.
#: int8 is calibrated on three synthetic pictures, so its difference is reported and not judged.
LIMITS: dict[str, float | None] = {"float32": 1e-4, "fp16": 0.1, "bf16": 0.5, "int8": None}


@dataclass(frozen=True, slots=True)
class Runtime:
    """Something that runs networks.

    Attributes:
        name: on the command line.
        title: for people.
        packages: import names it needs.
        extra: what to install, ``pip install "phonecv[extra]"``.
        formats: of the exported files that it runs, the one that networks are written in first; none for PyTorch.
        precisions: those it has kernels for, given a device that computes in them.
        by_default: timed when no runtime is asked for; others take up to minutes to prepare a network.
    """

    name: str
    title: str
    packages: tuple[str, ...]
    extra: str
    formats: tuple[str, ...]
    precisions: tuple[str, ...]
    by_default: bool = True

    @property
    def exported(self) -> bool:
        """Whether it runs exported files, not the PyTorch network."""
        return bool(self.formats)

    def missing(self) -> list[str]:
        """Packages that are not installed."""
        return [name for name in self.packages if find_spec(name) is None]


RUNTIMES: dict[str, Runtime] = {
    "eager": Runtime("eager", "PyTorch", ("torch",), "", (), ("float32", "bf16", "fp16")),
    "compiled": Runtime(
        "compiled", "torch.compile", ("torch",), "", (), ("float32", "bf16", "fp16"), by_default=False
    ),
    "onnxruntime": Runtime(
        "onnxruntime", "ONNX Runtime", ("onnx", "onnxscript", "onnxruntime"), "onnx", ("onnx",), ("float32", "int8")
    ),
    "openvino": Runtime(
        "openvino", "OpenVINO", ("onnx", "onnxscript", "onnxruntime", "openvino"), "openvino", ("onnx", "openvino"),
        ("float32", "bf16", "fp16", "int8"),
    ),
    "executorch": Runtime(
        "executorch", "ExecuTorch", ("executorch", "torchao"), "executorch", ("executorch",), ("float32", "int8"),
        by_default=False,
    ),
    "litert": Runtime(
        "litert", "LiteRT", ("litert_torch", "ai_edge_litert", "ai_edge_quantizer"), "litert", ("litert",),
        ("float32", "int8"), by_default=False,
    ),
    "ncnn": Runtime("ncnn", "ncnn", ("ncnn", "pnnx"), "ncnn", ("ncnn",), ("float32", "int8"), by_default=False),
    "mnn": Runtime("mnn", "MNN", ("MNN", "onnx", "onnxscript"), "mnn", ("mnn",), ("float32",), by_default=False),
}  # fmt: skip


def refusal(runtime: Runtime, precision: str, device: str) -> str:
    """Why this runtime cannot run any network in this precision here; empty if it can."""
    missing = runtime.missing()
    if missing:
        return f"{runtime.title} needs {', '.join(missing)}: pip install 'phonecv[{runtime.extra}]'"
    if precision not in runtime.precisions:
        if not runtime.exported:
            return f"{runtime.title} runs no int8 form of these networks; the runtimes of exported files do"
        return f"{runtime.title} has no {precision} kernels for whole networks"
    cpu = device.partition(":")[0] == "cpu"
    if not cpu and runtime.exported:
        return _no_gpu(runtime, precision)
    if not native(precision, device):
        return f"this {'processor' if cpu else 'GPU'} has no {precision} arithmetic"
    return ""


def _no_gpu(runtime: Runtime, precision: str) -> str:
    if runtime.name != "onnxruntime":
        return f"{runtime.title} runs on the CPU only"
    import onnxruntime

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        return "this ONNX Runtime was built without CUDA: pip install onnxruntime-gpu in its stead"
    return "ONNX Runtime's CUDA kernels run no int8 convolutions" if precision == "int8" else ""


def choose(kind: str, asked: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """The names asked for, each once and in order; at least one, and none that does not exist."""
    for name in asked:
        if name not in known:
            raise UserError(f"unknown {kind} {name!r}{did_you_mean(name, known)} (known: {', '.join(known)})")
    if not asked:
        raise UserError(f"no {kind} was given (known: {', '.join(known)})")
    return tuple(dict.fromkeys(asked))
