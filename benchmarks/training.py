"""Training steps side by side: forward, backward and update, reference-style against ours.

    python benchmarks/training.py                                  EMOv2-5M, one and two threads
    python benchmarks/training.py --models mobileone_s0 mobileone_s1 --batch 32
    python benchmarks/training.py --device cuda --batch 128        bf16, compiled, CUDA graphs (needs a GPU)

Every candidate lives in a process of its own, so that what holds for a whole process (threads, what the C library does
with freed memory) holds for it alone; the processes take turns step by step. The baseline is the network as its
description reads (`reference_style.py`; for MobileOne ours with a convolution and a norm per branch), trained as one
would without this package: PyTorch's layout, AdamW or SGD as it comes, float32, eager. The last candidate of a table is
what `phonecv train` picks by itself. Adds to benchmarks/results/training.json, for each kind of processor its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "training.json"
BASELINE = "reference-style"


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to train.

    Attributes:
        network: "reference" or "ours".
        keep_memory: whether the C library keeps freed memory (`phonecv.training.threads`); without effect on a GPU.
        channels_last: memory layout.
        fused: the optimizer's single-kernel update.
        amp: "none", "bf16" or "fp16".
        compile: mode of `torch.compile`, or "" for eager.
        checkpoint: whether activations are recomputed.
    """

    network: str = "ours"
    keep_memory: bool = False
    channels_last: bool = False
    fused: bool = False
    amp: str = "none"
    compile: str = ""
    checkpoint: bool = False


def candidates(device: str, *, compiled: bool) -> dict[str, Candidate]:
    """By name, each with one thing more than the one before it where that makes sense."""
    ours = Candidate(keep_memory=device == "cpu")
    last = replace(ours, channels_last=True)
    fused = replace(last, fused=True)
    found = {
        BASELINE: Candidate("reference"),
        "ours, as made": Candidate(),
        "+ channels-last": last,
        "+ fused optimizer": fused,
        "+ bf16": replace(fused, amp="bf16"),
    }
    if device == "cpu":
        found[f"{BASELINE}, freed memory kept"] = Candidate("reference", keep_memory=True)
        found["+ freed memory kept"] = ours
    if compiled:
        found["+ compiled"] = replace(fused, compile="default")
        found["+ bf16, compiled"] = replace(fused, amp="bf16", compile="default")
    if compiled and device == "cuda":
        found[f"{BASELINE}, bf16"] = Candidate("reference", amp="bf16")
        found["+ bf16, CUDA graphs"] = replace(fused, amp="bf16", compile="reduce-overhead")
        found["+ bf16, max-autotune"] = replace(fused, amp="bf16", compile="max-autotune")
    return found


def make_step(model: str, candidate: Candidate, device: str, batch: int, size: int) -> Callable[[], float]:
    """A function that does one training step and returns the loss; made in the candidate's own process."""
    if candidate.keep_memory:
        from phonecv.training.threads import keep_freed_memory

        keep_freed_memory()
    import torch
    import torch.nn.functional as F
    from torch import nn

    from phonecv.models import build_model
    from phonecv.models.catalog import get_record

    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    net: nn.Module
    if candidate.network == "ours":
        net = build_model(model)
        net.checkpoint_activations = candidate.checkpoint
    elif get_record(model).family == "mobileone":
        net = build_model(model, training_form="branches")
    else:
        import reference_style

        net = reference_style.build(model)
        net.load_state_dict(build_model(model).state_dict())
    net.train().to(device)
    if candidate.channels_last:
        for module in net.modules():
            if isinstance(module, nn.Conv2d):
                module.to(memory_format=torch.channels_last)
    sgd = get_record(model).family == "mobileone"  # as published
    fused = True if candidate.fused else None
    optimizer: torch.optim.Optimizer
    if sgd:
        optimizer = torch.optim.SGD(net.parameters(), lr=1e-4, momentum=0.9, weight_decay=1e-4, fused=fused)
    else:
        optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4, fused=fused)
    images = torch.randn(batch, 3, size, size, device=device)
    if candidate.channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, 1000, (batch,), device=device)
    forward: Any = torch.compile(net, mode=candidate.compile, dynamic=False) if candidate.compile else net
    low = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(candidate.amp)
    scaler = torch.amp.GradScaler(device, enabled=candidate.amp == "fp16")

    def step() -> float:
        with torch.autocast(device, dtype=low, enabled=low is not None):
            logits = forward(images)
        loss = F.cross_entropy(logits.float(), labels, label_smoothing=0.1)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)
        return float(loss.detach())  # waits for a GPU

    return step


class Child:
    """A process with one candidate; calling it does a step there."""

    def __init__(self, job: Mapping[str, Any], threads: int) -> None:
        skip = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
        environment = {key: value for key, value in os.environ.items() if key not in skip}
        environment["OMP_NUM_THREADS"] = str(threads)
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--child", json.dumps(dict(job))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.facts = self._read()

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("a candidate's process has ended")
        return json.loads(line)

    def __call__(self) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write("step\n")
        self.process.stdin.flush()
        self.last = self._read()
        return self.last

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def serve(job: Mapping[str, Any]) -> None:
    """The candidate's process: a step for every line, its loss and the time it took as the answer."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints must not mix with the answers
    step = make_step(job["model"], Candidate(**job["candidate"]), job["device"], job["batch"], job["size"])

    def answer(values: Mapping[str, Any]) -> None:
        answers.write(json.dumps(dict(values)) + "\n")
        answers.flush()

    start = time.perf_counter()
    loss = step()
    answer({"first_loss": loss, "first_seconds": time.perf_counter() - start})
    for _ in sys.stdin:
        start = time.perf_counter()
        loss = step()
        answer({"loss": loss, "seconds": time.perf_counter() - start})


def compare(model: str, chosen: argparse.Namespace, threads: int) -> dict[str, Any]:
    """All candidates of one network on so many threads."""
    from phonecv.benchmarking.timing import interleave, ratios

    wanted = candidates(chosen.device, compiled=chosen.compile)
    if chosen.only:
        wanted = {name: wanted[name] for name in wanted if name == BASELINE or name in chosen.only}
    children: dict[str, Child] = {}
    with ExitStack() as stack:
        for name, candidate in wanted.items():
            job = {
                "model": model,
                "candidate": asdict(candidate),
                "device": chosen.device,
                "batch": chosen.batch,
                "size": chosen.size,
            }
            children[name] = Child(job, threads)
            stack.callback(children[name].close)
        timings = interleave(children, rounds=chosen.rounds, warmup=3, seconds=chosen.seconds)
    compared = ratios(timings, BASELINE)
    return {
        name: {
            "settings": asdict(wanted[name]),
            "milliseconds": round(timings[name].median * 1e3, 1),
            "spread": round(timings[name].spread, 3),
            "ratio": round(compared[name].median, 3),
            "ratio_low": round(compared[name].low, 3),
            "ratio_high": round(compared[name].high, 3),
            "rounds": len(timings[name].times),
            "first_step_seconds": round(children[name].facts["first_seconds"], 1),
            "first_loss": children[name].facts["first_loss"],
        }
        for name in wanted
    }


def main() -> None:
    """Run and add to the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["emov2_5m"])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=120.0, help="of one table's rounds, about")
    parser.add_argument("--compile", action="store_true", help="compiled candidates, too")
    parser.add_argument("--only", nargs="*", help="these candidates and the baseline")
    parser.add_argument("--dry", action="store_true", help="write no results")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.child:
        serve(json.loads(chosen.child))
        return
    from kinds import kind_here
    from phonecv.benchmarking.machine import describe_machine, disturbances
    from phonecv.files import write_json

    results: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    results["method"] = (
        "one process per candidate, turn by turn; medians over rounds of forward, backward and update; ratio: median of"
        " the rounds' own ratios to the baseline, with the tenth and ninetieth percentile; random pictures"
    )
    for model in chosen.models:
        for threads in chosen.threads if chosen.device == "cpu" else [0]:
            print(f"{model}, batch {chosen.batch}, {threads} threads", flush=True)
            found = compare(model, chosen, threads)
            for name, row in found.items():
                print(
                    f"  {name:34} {row['milliseconds']:9.1f} ms  {row['ratio']:5.2f}x"
                    f" ({row['ratio_low']:.2f}-{row['ratio_high']:.2f})  loss {row['first_loss']:.5f}"
                    f" first {row['first_step_seconds']:.1f} s",
                    flush=True,
                )
            where = f"{kind_here()}: " if chosen.device == "cpu" else ""
            key = f"{where}{model} {chosen.device} {f'{threads} threads, ' if threads else ''}batch {chosen.batch}"
            results.setdefault("tables", {})[key] = {
                "date": time.strftime("%Y-%m-%d"),
                "machine": describe_machine(),
                "disturbances": disturbances(),
                "size": chosen.size,
                "baseline": BASELINE,
                "rows": found,
            }
            if not chosen.dry:
                write_json(RESULTS, results)


if __name__ == "__main__":
    main()
