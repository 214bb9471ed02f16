"""Ideas for faster inference that were tried, each against what we do, in one run where the candidates take turns.

    python benchmarks/tried.py                     about five minutes, most of it compiling
    python benchmarks/tried.py --only attention    one kind of PARTS, renewed in the file

Writes this kind of processor's part of results/tried.json after every measurement. Run it with nothing else on the
machine; `python docs/update.py` puts the table into `docs/performance.md`. Ratios are ours / theirs in time: below 1 an
idea loses.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import phonecv
from kinds import kind_here, kinds_of, write_kind
from phonecv.benchmarking.fresh import settle
from phonecv.benchmarking.machine import disturbances
from phonecv.benchmarking.timing import interleave, ratios
from phonecv.files import write_json
from phonecv.models.blocks import ConvNormAct, multi_head_attention
from phonecv.models.mobileone import DeployedMobileOneBlock
from phonecv.training.threads import keep_freed_memory

RESULTS = Path(__file__).parent / "results" / "tried.json"

#: Settings of `torch._inductor.config` beside freezing, each tried in a process of its own.
COMPILED: dict[str, dict[str, Any]] = {
    "not frozen": {},
    "frozen": {"freezing": True},
    "frozen, C++ wrapper": {"freezing": True, "cpp_wrapper": True},
    "frozen, max-autotune": {"freezing": True, "max_autotune": True},
}


def compared(candidates: dict[str, Callable[[], object]], baseline: str, rounds: int = 30) -> dict[str, Any]:
    """Median milliseconds, and time of the baseline over that of each."""
    with torch.inference_mode():
        timings = interleave(candidates, rounds=rounds, warmup=3)
    found = ratios(timings, baseline)
    return {
        name: {
            "ms": round(1e3 * timing.median, 4),
            "ratio": round(found[name].median, 3),
            "low": round(found[name].low, 3),
            "high": round(found[name].high, 3),
        }
        for name, timing in timings.items()
    }


def attention(windows: int) -> dict[str, Any]:
    """EMOv2-5M's third stage: 49 tokens, 5 heads, 32 channels of queries and 128 of values in each."""
    heads, tokens, narrow, wide = 5, 49, 32, 128
    qk, v = torch.randn(windows, tokens, 2 * heads * narrow), torch.randn(windows, tokens, heads * wide)

    def by_head() -> tuple[Tensor, Tensor, Tensor]:
        q, k = qk.chunk(2, 2)
        return (
            q.unflatten(2, (heads, -1)).transpose(1, 2),
            k.unflatten(2, (heads, -1)).transpose(1, 2),
            v.unflatten(2, (heads, -1)).transpose(1, 2),
        )

    def built_in(pad: int) -> Tensor:
        q, k, values = by_head()
        out = F.scaled_dot_product_attention(F.pad(q, (0, pad)), F.pad(k, (0, pad)), values, scale=1.0)
        return out.transpose(1, 2).flatten(2)

    def one_by_one() -> Tensor:
        parts = []
        for head in range(heads):
            q = qk[..., head * narrow : (head + 1) * narrow]
            k = qk[..., (heads + head) * narrow : (heads + head + 1) * narrow]
            weights = torch.bmm(q, k.transpose(1, 2)).softmax(-1)
            parts.append(torch.bmm(weights, v[..., head * wide : (head + 1) * wide]))
        return torch.cat(parts, 2)

    twice = torch.cat([qk, qk]), torch.cat([v, v])
    return compared(
        {
            "ours, remote then close": lambda: [multi_head_attention(qk, v, heads, 1.0) for _ in range(2)],
            "remote and close in one call": lambda: multi_head_attention(
                torch.cat([qk, qk]), torch.cat([v, v]), heads, 1.0
            ),
            "one call, were joining free": lambda: multi_head_attention(*twice, heads, 1.0),
            "scaled_dot_product_attention": lambda: [built_in(0) for _ in range(2)],
            "the same, padded for its flash kernel": lambda: [built_in(wide - narrow) for _ in range(2)],
            "heads one by one, without copies": lambda: [one_by_one() for _ in range(2)],
        },
        "ours, remote then close",
    )


def pointwise(channels: int, out: int, side: int) -> dict[str, Any]:
    """A 1x1 convolution of one picture, four ways."""
    x = torch.randn(1, channels, side, side).contiguous(memory_format=torch.channels_last)
    weight, bias = torch.randn(out, channels, 1, 1), torch.randn(out)
    matrix, rows = weight[:, :, 0, 0].contiguous(), x.permute(0, 2, 3, 1).reshape(-1, channels)
    last = weight.contiguous(memory_format=torch.channels_last)
    found = compared(
        {
            "ours: oneDNN, channels-last": lambda: torch.mkldnn_convolution(x, last, bias, (0, 0), (1, 1), (1, 1), 1),
            "PyTorch's choice": lambda: F.conv2d(x, last, bias),
            "matrix product of pixels (MKL)": lambda: F.linear(rows, matrix, bias),
        },
        "ours: oneDNN, channels-last",
    )
    for entry in found.values():
        entry["gflops"] = round(2 * channels * out * side**2 / entry["ms"] / 1e6, 1)
    return found


def projections() -> dict[str, Any]:
    """Queries, keys and values of EMOv2-5M's third stage from two convolutions or one."""
    x = torch.randn(1, 160, 14, 14).contiguous(memory_format=torch.channels_last)
    both = torch.randn(960, 160, 1, 1).contiguous(memory_format=torch.channels_last)
    qk, v = both[:320].clone(), both[320:].clone()

    def convolve(weight: Tensor) -> Tensor:
        return torch.mkldnn_convolution(x, weight, None, (0, 0), (1, 1), (1, 1), 1)

    def merged() -> tuple[Tensor, Tensor]:
        y = convolve(both)
        return y[:, :320], F.gelu(y[:, 320:])

    return compared({"ours: two": lambda: (convolve(qk), F.gelu(convolve(v))), "one": merged}, "ours: two")


def norms() -> dict[str, Any]:
    """The norms of a deploy form, which have no weights, and with ones and zeros, which gives the same numbers."""
    rows = [(torch.randn(pixels, channels), channels) for pixels, channels in ((784, 72), (196, 160), (49, 288))]
    ones, zeros = torch.ones(288), torch.zeros(288)
    return compared(
        {
            "ours: without weights": lambda: [F.layer_norm(x, (size,)) for x, size in rows],
            "with ones and zeros": lambda: [F.layer_norm(x, (size,), ones[:size], zeros[:size]) for x, size in rows],
        },
        "ours: without weights",
    )


class Packed(nn.Module):
    """A convolution with weights packed for this input, and its activation, in one oneDNN call."""

    def __init__(self, conv: nn.Conv2d, act: nn.Module, shape: torch.Size) -> None:
        super().__init__()
        self.geometry = (conv.padding, conv.stride, conv.dilation, conv.groups)
        self.weight = torch.ops.mkldnn._reorder_convolution_weight(conv.weight.detach(), *self.geometry, list(shape))
        self.bias = None if conv.bias is None else conv.bias.detach()
        self.act = {nn.SiLU: "swish", nn.GELU: "gelu", nn.ReLU: "relu", nn.Identity: "none"}[type(act)]

    def forward(self, x: Tensor) -> Tensor:
        algorithm = "none" if self.act == "gelu" else ""
        return torch.ops.mkldnn._convolution_pointwise(
            x, self.weight, self.bias, *self.geometry, self.act, [], algorithm
        )


def packed(name: str) -> dict[str, Any]:
    """A deploy form against the same with packed convolutions."""
    torch.manual_seed(0)
    ours = phonecv.fuse(settle(phonecv.create_model(name), size=224))
    x = torch.randn(1, 3, 224, 224).contiguous(memory_format=torch.channels_last)
    kinds = (ConvNormAct, DeployedMobileOneBlock)
    shapes: dict[str, torch.Size] = {}
    hooks = [
        unit.register_forward_pre_hook(lambda _, inputs, key=key: shapes.__setitem__(key, inputs[0].shape))
        for key, unit in ours.named_modules()
        if isinstance(unit, kinds)
    ]
    with torch.no_grad():
        expected = ours(x)
        for hook in hooks:
            hook.remove()
        other = copy.deepcopy(ours)
        for key, shape in shapes.items():
            unit = other.get_submodule(key)
            conv = unit.conv if isinstance(unit, ConvNormAct) else unit.reparam_conv
            other.set_submodule(key, Packed(conv, unit.act, shape))
        assert (other(x) - expected).abs().max() < 1e-4 * expected.abs().max()
    return compared({"ours": lambda: ours(x), "packed": lambda: other(x)}, "ours")


def compiled(setting: str) -> dict[str, Any]:
    """EMOv2-5M compiled with a setting against the same run eagerly."""
    from torch._inductor import config

    ours = phonecv.fuse(settle(phonecv.create_model("emov2_5m"), size=224))
    x = torch.randn(1, 3, 224, 224)
    start = time.perf_counter()
    with config.patch(COMPILED[setting]), torch.inference_mode():
        run = torch.compile(ours, dynamic=False)
        run(x), run(x)
    seconds = time.perf_counter() - start
    found = compared({"ours": lambda: ours(x), "compiled": lambda: run(x)}, "ours")["compiled"]
    return found | {"compile_seconds": round(seconds, 1)}


def part(name: str, threads: int) -> Any:
    """One measurement by name."""
    if threads == 1 and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    kind, _, argument = name.partition(":")
    if kind == "attention":
        keep_freed_memory()
        return attention(int(argument))
    if kind == "pointwise":
        channels, out, side = map(int, argument.split(","))
        return pointwise(channels, out, side)
    return {
        "projections": projections,
        "norms": norms,
        "packed": lambda: packed(argument),
        "compiled": lambda: compiled(argument),
    }[kind]()


PARTS = [
    ("attention:4", 1), ("attention:64", 1),
    ("pointwise:48,96,56", 1), ("pointwise:160,640,14", 1), ("pointwise:1152,288,7", 1),
    ("projections", 1), ("norms", 1),
    *((f"packed:{name}", threads) for name in ("emov2_5m", "mobileone_s0") for threads in (1, 2)),
    *((f"compiled:{setting}", 1) for setting in COMPILED),
]  # fmt: skip


def main() -> None:
    """Measure all, each part in a process of its own, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--only", choices=sorted({name.partition(":")[0] for name, _ in PARTS}))
    parser.add_argument("--part", nargs=2, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.part:
        write_json(chosen.out, part(chosen.part[0], int(chosen.part[1])))
        return
    common = {"method": "one process per part, candidates in turn; ratio = time of ours / time of the idea"}
    before = kinds_of(chosen.out).get(kind_here(), {}).get("parts", [])
    parts = {(one["name"], one["threads"]): one for one in before}
    noise = disturbances()
    scratch = chosen.out.with_suffix(".part.json")
    for name, threads in PARTS:
        if chosen.only not in (None, name.partition(":")[0]):
            continue
        subprocess.run([sys.executable, __file__, "--part", name, str(threads), "--out", str(scratch)], check=True)
        found = json.loads(scratch.read_text(encoding="utf-8"))
        scratch.unlink()
        print(name, threads, found, flush=True)
        parts[name, threads] = {"name": name, "threads": threads, "candidates": found}
        ordered = [parts[key] for key in PARTS if key in parts]
        write_kind(chosen.out, common, {"disturbances": noise, "parts": ordered})


if __name__ == "__main__":
    main()
