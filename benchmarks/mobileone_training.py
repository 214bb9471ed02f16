"""Training steps of MobileOne (forward, backward, update): branch by branch against one convolution per layer.

    python benchmarks/mobileone_training.py                                  S0 and S1, two threads and one, 5 minutes
    python benchmarks/mobileone_training.py --models mobileone_s2 --dry      another member, result not written

The baseline is the layer as its paper draws it, trained as one would without this package: a convolution and a norm per
branch, PyTorch's layout, its SGD as it comes. Every candidate has a process of its own, because what the C library does
with freed memory holds for a whole process; they take turns step by step, and the ratio is the median of the rounds'
own. All begin with the same weights and pictures, so their first losses must agree; timm's network, with weights of its
own, is there for its time. Also counts what a forward pass keeps for the backward pass, per picture.

Writes benchmarks/results/mobileone_training.json. Needs 12 GiB of memory, and a machine with nothing else to do.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import resource
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

RESULTS = Path(__file__).parent / "results" / "mobileone_training.json"
BASELINE = "plain"
LAST = torch.channels_last


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to train.

    Attributes:
        network: "plain" (`PlainBlock`), "timm" or "ours".
        channels_last: layout of weights and pictures.
        fused: the optimizer's single-kernel update.
        keep_memory: whether the C library keeps freed memory (`phonecv.training.threads`).
    """

    network: str
    channels_last: bool = False
    fused: bool = False
    keep_memory: bool = False


CANDIDATES = {
    BASELINE: Candidate("plain"),
    "timm": Candidate("timm"),
    "plain, channels-last": Candidate("plain", channels_last=True),
    "plain, freed memory kept": Candidate("plain", keep_memory=True),
    "ours": Candidate("ours", channels_last=True, fused=True),
    "ours, freed memory kept": Candidate("ours", channels_last=True, fused=True, keep_memory=True),
}

#: On one thread, where a step takes twice as long: what the ratios are made of.
FEW = (BASELINE, "ours", "ours, freed memory kept")


class PlainBlock(nn.Module):
    """A layer of MobileOne in training as one would write it down; parameter names are ours."""

    def __init__(self, like: nn.Module, *, channels_last: bool) -> None:
        super().__init__()
        self.rbr_conv, self.rbr_scale, self.rbr_skip = like.rbr_conv, like.rbr_scale, like.rbr_skip
        self.se, self.act = like.se, nn.ReLU()
        for branch in self.rbr_conv:
            branch.conv = plain_convolution(branch.conv, branch.conv.stride[0])
        if self.rbr_scale is not None:
            self.rbr_scale.conv = plain_convolution(self.rbr_scale.conv, int(like.stride), sliced=channels_last)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.zeros(())
        for branch in [*self.rbr_conv, *([self.rbr_scale] if self.rbr_scale is not None else [])]:
            y = y + branch.bn(branch.conv(x))
        if self.rbr_skip is not None:
            y = y + self.rbr_skip(x)
        return self.act(self.se(y))


class Sliced(nn.Conv2d):
    """A strided 1x1 convolution of the pixels it needs; PyTorch's own corrupts memory on channels-last pictures."""

    def forward(self, input: Tensor) -> Tensor:
        return F.conv2d(input[:, :, :: self.stride[0], :: self.stride[1]], self.weight, self.bias, groups=self.groups)


def plain_convolution(conv: nn.Conv2d, stride: int, *, sliced: bool = False) -> nn.Conv2d:
    """PyTorch's own class with these weights."""
    kernel = conv.kernel_size[0]
    plain = (Sliced if sliced else nn.Conv2d)(
        conv.in_channels, conv.out_channels, kernel, stride, kernel // 2, groups=conv.groups, bias=conv.bias is not None
    )
    plain.load_state_dict(conv.state_dict())
    return plain


def make_network(model: str, candidate: Candidate) -> nn.Module:
    """The candidate's network in training mode."""
    torch.manual_seed(0)
    if candidate.network == "timm":
        import timm

        net = timm.create_model(model)
    else:
        import phonecv
        from phonecv.models.mobileone import MobileOneBlock

        net = phonecv.create_model(model)
        if candidate.network == "plain":
            for stage in ("stage0", "stage1", "stage2", "stage3", "stage4"):
                layers = net.get_submodule(stage)
                if isinstance(layers, MobileOneBlock):
                    net.stage0 = PlainBlock(layers, channels_last=candidate.channels_last)
                else:
                    assert isinstance(layers, nn.Sequential)
                    setattr(
                        net,
                        stage,
                        nn.Sequential(*(PlainBlock(layer, channels_last=candidate.channels_last) for layer in layers)),
                    )
    if candidate.channels_last:
        net = net.to(memory_format=LAST)
    return net.train()


def make_pictures(batch: int, size: int, candidate: Candidate) -> Tensor:
    """The same random pictures for everyone, in the candidate's layout."""
    pictures = torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(1))
    return pictures.contiguous(memory_format=LAST) if candidate.channels_last else pictures


def make_step(model: str, candidate: Candidate, batch: int, size: int) -> Callable[[], float]:
    """A function that does one training step and returns the loss."""
    net, pictures = make_network(model, candidate), make_pictures(batch, size, candidate)
    labels = torch.randint(0, 1000, (batch,), generator=torch.Generator().manual_seed(2))
    optimizer = torch.optim.SGD(
        net.parameters(), lr=1e-3, momentum=0.9, weight_decay=1e-4, fused=True if candidate.fused else None
    )

    def step() -> float:
        loss = F.cross_entropy(net(pictures), labels, label_smoothing=0.1)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    return step


def kept_bytes(net: nn.Module, pictures: Tensor) -> int:
    """Bytes that a forward pass keeps for the backward pass: every storage once, the network's own left out."""
    own = {value.untyped_storage().data_ptr() for value in [*net.parameters(), *net.buffers()]}
    storages: dict[int, int] = {}
    alive = []  # an address must not be used twice while we count

    def pack(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        if storage.data_ptr() not in own:
            storages[storage.data_ptr()] = storage.nbytes()
            alive.append(value)
        return value

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
        net(pictures)
    return sum(storages.values())


def kept_per_picture(model: str, candidate: Candidate, size: int) -> float:
    """MiB per picture; what is kept of the weights, whatever the batch, is left out."""
    net = make_network(model, candidate)
    few, more = (kept_bytes(net, make_pictures(batch, size, candidate)) for batch in (4, 8))
    return (more - few) / 4 / 2**20


def serve(pipe: Connection, model: str, candidate: Candidate, batch: int, size: int, threads: int) -> None:
    """The candidate's process: a step for every message."""
    if candidate.keep_memory:
        from phonecv.training.threads import keep_freed_memory

        keep_freed_memory()
    torch.set_num_threads(threads)
    step = make_step(model, candidate, batch, size)
    while pipe.recv():
        loss = step()
        pipe.send({"loss": loss, "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024})


class Child:
    """A process with one candidate; calling it does a step there."""

    def __init__(self, *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=serve, args=(other, *arguments), daemon=True)
        self.process.start()
        other.close()
        self.answers: list[dict[str, float]] = []

    def __call__(self) -> None:
        self.pipe.send(True)
        self.answers.append(self.pipe.recv())

    def close(self) -> None:
        """End the process."""
        with suppress(BrokenPipeError):  # it has died, and whoever waited for its answer says so
            self.pipe.send(False)
        self.process.join()


def compare(model: str, threads: int, chosen: argparse.Namespace) -> dict[str, Any]:
    """All candidates of one network on so many threads."""
    from phonecv.benchmarking.timing import interleave, ratios

    names = [name for name in CANDIDATES if threads > 1 or name in FEW]
    with ExitStack() as stack:
        children = {name: Child(model, CANDIDATES[name], chosen.batch, chosen.size, threads) for name in names}
        for child in children.values():
            stack.callback(child.close)
        timings = interleave(children, rounds=chosen.rounds, warmup=2, seconds=chosen.seconds)
    compared = ratios(timings, BASELINE)
    first = children[BASELINE].answers[0]["loss"]
    for name, child in children.items():
        loss = child.answers[0]["loss"]
        if name != "timm" and not math.isclose(loss, first, rel_tol=1e-4):
            raise SystemExit(f"{name} does not compute what {BASELINE} does: first loss {loss}, not {first}")
    return {
        name: {
            "settings": asdict(CANDIDATES[name]),
            "milliseconds": round(timings[name].median * 1e3, 1),
            "spread": round(timings[name].spread, 3),
            "ratio": round(compared[name].median, 3),
            "ratio_low": round(compared[name].low, 3),
            "ratio_high": round(compared[name].high, 3),
            "rounds": len(timings[name].times),
            "peak_mib": children[name].answers[-1]["peak_mib"],
            "first_loss": children[name].answers[0]["loss"],
        }
        for name in names
    }


def main() -> None:
    """Run and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["mobileone_s0", "mobileone_s1"])
    parser.add_argument("--threads", nargs="+", type=int, default=[2, 1])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=60.0, help="of one table's rounds, about; at least 5 rounds")
    parser.add_argument("--dry", action="store_true", help="write no results")
    chosen = parser.parse_args()
    from phonecv.benchmarking.machine import describe_machine, disturbances
    from phonecv.files import write_json

    results: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": describe_machine(),
        "method": (
            "one process per candidate, turn by turn; medians over rounds of forward, backward and update; ratio: "
            "median of the rounds' own ratios to the baseline, with the tenth and ninetieth percentile"
        ),
        "batch": chosen.batch,
        "size": chosen.size,
        "baseline": BASELINE,
        "kept_mib_per_picture": {},
        "tables": {},
    }
    for model in chosen.models:
        kept = {
            name: round(kept_per_picture(model, CANDIDATES[name], chosen.size), 1)
            for name in (BASELINE, "timm", "ours")
        }
        results["kept_mib_per_picture"][model] = kept
        print(f"{model}: kept for the backward pass, MiB per picture: {kept}", flush=True)
        for threads in chosen.threads:
            rows = compare(model, threads, chosen)
            results["tables"][f"{model}, {threads} threads"] = {"rows": rows, "disturbances": disturbances()}
            print(f"{model}, batch {chosen.batch}, {threads} threads")
            for name, row in rows.items():
                print(
                    f"  {name:26} {row['milliseconds']:8.0f} ms  {row['ratio']:5.2f}x"
                    f" ({row['ratio_low']:.2f} to {row['ratio_high']:.2f})  peak {row['peak_mib']} MiB"
                    f"  first loss {row['first_loss']:.5f}",
                    flush=True,
                )
    if not chosen.dry:
        write_json(RESULTS, results)
        print(f"written: {RESULTS}")


if __name__ == "__main__":
    main()
