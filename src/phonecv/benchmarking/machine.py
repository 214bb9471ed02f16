"""The machine that figures belong to: what it is, what disturbs it, and what it can do at best."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from phonecv.benchmarking.timing import interleave
from phonecv.devices import torch_threads, usable_cores
from phonecv.errors import UserError

#: Instruction sets that decide how fast a network can be, as Linux names them.
FLAGS = (
    "avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16",
    "amx_int8", "amx_fp16", "asimd", "asimdhp", "asimddp", "bf16", "i8mm", "sve",
)  # fmt: skip

#: Packages whose version may change a figure.
PACKAGES = (
    "phonecv", "torch", "torchvision", "timm", "numpy", "onnx", "onnxscript", "onnxruntime", "onnxruntime-gpu",
    "openvino",
)  # fmt: skip

PRECISIONS = ("float32", "bf16", "fp16", "int8")


def describe_machine() -> dict[str, Any]:
    """Processor, memory, GPUs, system and package versions, for a result file."""
    import torch

    gpus = []
    for index in range(torch.cuda.device_count()):
        found = torch.cuda.get_device_properties(index)
        gpus.append({"name": found.name, "memory_gib": round(found.total_memory / 2**30, 1),
                     "capability": f"{found.major}.{found.minor}"})  # fmt: skip
    return {
        "cpu": processor_name(),
        "cores": usable_cores(),
        "cores_of_machine": os.cpu_count(),
        "flags": processor_flags(),
        "memory_gib": _memory_gib(),
        "gpus": gpus,
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": package_versions(),
    }


def package_versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Installed ones of these packages."""
    found = {}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def processor_name() -> str:
    """The processor as it calls itself."""
    match = re.search(r"^model name\s*:\s*(.+)$", _cpuinfo(), re.MULTILINE)
    return match.group(1) if match else platform.processor() or platform.machine()


def processor_flags() -> list[str]:
    """Which of `FLAGS` the processor has; empty where the system does not say."""
    match = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", _cpuinfo(), re.MULTILINE)
    held = set(match.group(1).split()) if match else set()
    return [flag for flag in FLAGS if flag in held]


def disturbances() -> list[str]:
    """What makes timings untrustworthy just now: other load, a saving governor, a battery. Empty when all is well."""
    found = []
    if hasattr(os, "getloadavg"):
        load, cores = os.getloadavg()[0], os.cpu_count() or 1
        if load > 0.5 * cores:
            found.append(f"the machine is busy: load {load:.1f} on {cores} cores; ratios hold better than times")
    governor = _read(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"))
    if governor not in ("", "performance"):
        found.append(f"the clock follows the load (governor {governor!r}); 'performance' gives steadier times")
    for supply in sorted(Path("/sys/class/power_supply").glob("*")):
        if _read(supply / "type") == "Battery" and _read(supply / "status") == "Discharging":
            found.append("the machine runs on battery")
    return found


@dataclass(frozen=True, slots=True)
class Peaks:
    """What the machine reached at best, for comparison.

    Attributes:
        device: "cpu" or "cuda".
        threads: of the CPU; 0 for a GPU.
        gflops: per precision 1e9 operations per second of a large matrix product, a multiply-add counted as two.
        copy_gbs: 1e9 bytes per second of a large copy, read and written counted.
    """

    device: str
    threads: int
    gflops: dict[str, float]
    copy_gbs: float

    def higher(self, other: Peaks) -> Peaks:
        """The better of two measurements of the same device and threads."""
        gflops = {name: max(value, other.gflops[name]) for name, value in self.gflops.items()}
        return replace(self, gflops=gflops, copy_gbs=max(self.copy_gbs, other.copy_gbs))


def measure_peaks(threads: int | None = None, *, device: str = "cpu", rounds: int = 8) -> Peaks:
    """Fastest of several rounds of a large matrix product in each precision, and of a large copy.

    On a CPU a float32 product runs through torch's BLAS and through oneDNN, whichever is faster: on AMD processors
    MKL reached less than half of what oneDNN did. Precisions for which the device has no instructions are left out,
    see `has_peak`.
    """
    import torch

    if threads is not None and threads < 1:
        raise UserError(f"threads {threads} is not at least 1")
    cpu = torch.device(device).type == "cpu"
    side, megabytes = (1536, 64) if cpu else (8192, 1024)
    with torch_threads(threads) as used, torch.inference_mode():
        products = {
            (precision, number): call
            for precision in PRECISIONS
            if has_peak(precision, device)
            for number, call in enumerate(_products(precision, side, device))
        }
        source = torch.zeros(megabytes * 2**18, device=device)  # 4 bytes each
        target = torch.empty_like(source)
        calls: dict[str, Callable[[], object]] = {f"{kind}/{number}": call for (kind, number), call in products.items()}
        calls["copy"] = partial(target.copy_, source)
        timings = interleave(calls, rounds=rounds, warmup=5, turn=0.01)
    gflops: dict[str, float] = {}
    for precision, number in products:
        reached = 2 * side**3 / min(timings[f"{precision}/{number}"].times) / 1e9
        gflops[precision] = max(gflops.get(precision, 0.0), reached)
    copied = 2 * source.numel() * source.element_size() / min(timings["copy"].times) / 1e9
    return Peaks(device=str(device), threads=used if cpu else 0, gflops=gflops, copy_gbs=copied)


def native(precision: str, device: str = "cpu") -> bool:
    """Whether the device computes in this precision itself, rather than emulating it."""
    import torch

    place = torch.device(device)
    if place.type == "cuda":
        capability = torch.cuda.get_device_capability(place)
        return capability >= {"float32": (0, 0), "fp16": (7, 0), "int8": (7, 5), "bf16": (8, 0)}[precision]
    if precision == "bf16":
        return torch.ops.mkldnn._is_mkldnn_bf16_supported()
    if precision == "fp16":
        return torch.ops.mkldnn._is_mkldnn_fp16_supported()
    return True


#: Instruction sets that multiply in a precision; without one a product of PyTorch's is no peak but an imitation, some
#: hundred times slower. (Its own word on bfloat16 is that it runs, not that the processor has it.)
_MULTIPLIES = {
    "bf16": {"avx512_bf16", "amx_bf16", "bf16"},
    "fp16": {"avx512_fp16", "amx_fp16", "asimdhp"},
    "int8": {"avx_vnni", "avx512_vnni", "amx_int8", "asimddp", "i8mm"},
}


def has_peak(precision: str, device: str = "cpu") -> bool:
    """Whether a product of matrices in this precision shows what the device can do at best.

    A processor has to have the instructions, and to tell: elsewhere nothing is known.
    """
    if not native(precision, device):
        return False
    wanted = _MULTIPLIES.get(precision)
    return not device.startswith("cpu") or wanted is None or bool(wanted & set(processor_flags()))


def _products(precision: str, side: int, device: str) -> Iterator[Callable[[], object]]:
    """Ways to multiply two square matrices of this precision."""
    import torch

    if precision == "int8":
        a = torch.ones(side, side, dtype=torch.int8, device=device)
        yield partial(torch._int_mm, a, a.t().contiguous().t())
        return
    dtype = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    x, weight = torch.ones(2, side, side, dtype=dtype, device=device).unbind()
    yield partial(torch.mm, x, weight)
    if x.device.type == "cpu" and torch.backends.mkldnn.is_available():
        yield partial(torch.ops.mkldnn._linear_pointwise, x, weight, None, "none", [], "")


def _cpuinfo() -> str:
    return _read(Path("/proc/cpuinfo"))


def _memory_gib() -> float | None:
    match = re.search(r"^MemTotal:\s*(\d+) kB", _read(Path("/proc/meminfo")), re.MULTILINE)
    return round(int(match.group(1)) / 2**20, 1) if match else None


def _read(path: Path) -> str:
    """A small system file, stripped; empty where this system has none or hides it."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
