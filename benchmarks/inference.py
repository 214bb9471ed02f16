"""Inference against rivals, everything compared in one run where the candidates take turns.

    python benchmarks/inference.py                    all of it; writes results/inference.json
    python benchmarks/inference.py --quick            fewer rounds, nothing compiled, prints and writes nothing
    python benchmarks/inference.py --only emo         one part (mobileone, emo or matched), renewed in the file
    python benchmarks/inference.py --runtimes eager   of ours only these runtimes
    python benchmarks/inference.py --out FILE         write there instead

Parts:

- mobileone: S0 to S4 in deploy form against timm's network with the same weights, as timm makes it and as its
  `reparameterize_model` leaves it, in PyTorch's default layout (the baseline) and channels-last.
- emo: EMO-5M and EMOv2-5M in deploy form against `reference_style.py` with the same weights, run eagerly.
- matched: ours beside networks of other families by published accuracy.

Ours are frozen (``phonecv.fuse(network, frozen=True)``), and once as plain `fuse` leaves them. Results of other kinds
of processors stay in the file. Run it with nothing else on the machine; `python docs/update.py` then makes the tables
and the picture anew. Exporting and compiling take most of its time.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from timm.utils import reparameterize_model
from torch import nn

import phonecv
import reference_style
from kinds import kind_here, kinds_of, write_kind
from phonecv.benchmarking.fresh import settle
from phonecv.benchmarking.machine import describe_machine, disturbances
from phonecv.benchmarking.plan import Entry
from phonecv.benchmarking.run import measure
from phonecv.benchmarking.subject import Subject, network_subject
from phonecv.models.catalog import get_record
from phonecv.training.threads import usable_cores
from phonecv.weights.translate import from_phonecv

RESULTS = Path(__file__).parent / "results" / "inference.json"

#: Goes into the result file.
METHOD = (
    "Candidates of a part, batch size and number of threads take turns in one process, round by round in changing "
    "order, after a warm-up; times are medians of the rounds with p10 and p90, ratios are taken round by round. "
    "Every number of threads has a process of its own, with one thread bound to one core. Weights are random with "
    "settled statistics. Outputs are compared with PyTorch's float32 before anything is timed. int8 is calibrated on "
    "synthetic pictures, for speed alone."
)

#: Runtimes and precisions of our networks; eager first.
OURS = (
    ("eager", "float32"), ("compiled", "float32"), ("onnxruntime", "float32"), ("openvino", "float32"),
    ("openvino", "bf16"), ("onnxruntime", "int8"), ("openvino", "int8"),
)  # fmt: skip


@dataclass(frozen=True)
class Rival:
    """A network of another family.

    Attributes:
        name: in its package, and in tables.
        package: "torchvision" or "timm".
        size: input side its accuracy was published for.
        top1: published, in percent, of one crop.
        source: of that figure.
    """

    name: str
    package: str
    size: int
    top1: float
    source: str

    def build(self) -> nn.Module:
        """In the form it would be deployed in."""
        if self.package == "torchvision":
            return settle(torchvision.models.get_model(self.name), size=self.size)
        return reparameterize_model(settle(timm.create_model(self.name), size=self.size)).eval()


_TIMM = "timm results/results-imagenet.csv"
RIVALS = (
    Rival("mobilenet_v3_small", "torchvision", 224, 67.668, "torchvision IMAGENET1K_V1"),
    Rival("mobilenet_v3_large", "torchvision", 224, 75.274, "torchvision IMAGENET1K_V2"),
    Rival("efficientvit_b0", "timm", 224, 71.404, f"{_TIMM}, r224_in1k"),
    Rival("starnet_s1", "timm", 224, 73.5, "arXiv 2403.19967"),
    Rival("mobilenetv4_conv_small", "timm", 224, 73.730, f"{_TIMM}, e2400_r224_in1k"),
    Rival("fastvit_t8", "timm", 256, 76.184, f"{_TIMM}, apple_in1k"),
    Rival("repvit_m0_9", "timm", 224, 78.654, f"{_TIMM}, dist_300e_in1k (distilled)"),
)
MATCHED = ("mobileone_s0", "mobileone_s1", "mobileone_s2", "emo_1m", "emo_5m", "emov2_1m", "emov2_2m", "emov2_5m")


@dataclass(frozen=True)
class Part:
    """Candidates that take turns.

    Attributes:
        name: such as "mobileone_s0".
        entries: what is timed.
        baseline: label of what ratios refer to.
        batches: pictures at once.
        threads: numbers of threads.
        seconds: of rounds for each batch size and number of threads.
        notes: facts that belong to the figures.
    """

    name: str
    entries: Sequence[Entry]
    baseline: str
    batches: Sequence[int]
    threads: Sequence[int]
    notes: dict[str, Any]
    seconds: float = 8


def same_outputs(ours: nn.Module, theirs: nn.Module, size: int = 224) -> float:
    """Largest relative difference of two networks in double precision, so that only mistakes show."""
    x = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1)).double()
    with torch.no_grad():
        a, b = (net.double().eval()(x) for net in (ours, theirs))
    ours.float(), theirs.float()
    difference = ((a - b).abs().max() / a.abs().max()).item()
    if difference > 1e-6:
        sys.exit(f"the rival with our weights gives other outputs ({difference:.1e}); this is no comparison")
    return difference


def fresh(name: str) -> Any:
    """A network of ours with random weights worth timing."""
    torch.manual_seed(0)
    return settle(phonecv.create_model(name), size=224)


def mobileone(runtimes: Sequence[str]) -> Iterator[Part]:
    """MobileOne against timm's."""
    for size in range(5):
        name = f"mobileone_s{size}"
        ours = fresh(name)
        theirs = timm.create_model(name)
        theirs.load_state_dict(from_phonecv(ours.state_dict(), "timm"))
        notes = {"difference_to_timm": same_outputs(ours, theirs)}
        reparameterised = network_subject(
            reparameterize_model(theirs.eval()), name=f"timm {name} reparameterised", form="deploy", size=224
        )
        as_made = network_subject(theirs.eval(), name=f"timm {name} as made", form="training", size=224)
        entries = [
            Entry(reparameterised, "eager", "float32", "nchw"),
            Entry(replace(reparameterised, name=f"{reparameterised.name} channels-last"), "eager", "float32", "nhwc"),
            Entry(as_made, "eager", "float32", "nchw"),
            *_ours(ours, name, runtimes),
        ]
        batches = (1, 16) if size == 0 else (1,)
        yield Part(name, entries, entries[0].label, batches, _threads(), notes)


def emo(runtimes: Sequence[str]) -> Iterator[Part]:
    """EMO and EMOv2 against a plain transcription."""
    for name in ("emo_5m", "emov2_5m"):
        ours = fresh(name)
        plain = reference_style.build(name)
        plain.load_state_dict(ours.state_dict())
        notes = {"difference_to_reference_style": same_outputs(ours, plain)}
        reference = network_subject(plain.eval(), name=f"reference-style {name}", form="training", size=224)
        entries = [Entry(reference, "eager", "float32", "nchw"), *_ours(ours, name, runtimes)]
        yield Part(name, entries, entries[0].label, (1, 16), (1,), notes)


def matched(runtimes: Sequence[str]) -> Iterator[Part]:
    """All families by published accuracy."""
    subjects: list[Subject] = []
    accuracies = {}
    for rival in RIVALS:
        subjects.append(network_subject(rival.build(), name=rival.name, form="deploy", size=rival.size))
        accuracies[rival.name] = {"top1": rival.top1, "source": rival.source, "ours": False}
    for name in MATCHED:
        weights = get_record(name).weights[0]
        subjects.append(network_subject(phonecv.fuse(fresh(name), frozen=True), name=name, form="deploy"))
        accuracies[name] = {"top1": weights.top1, "source": weights.source, "ours": True}
    entries = [
        Entry(subject, runtime, "float32")
        for subject in subjects
        for runtime in ("eager", "onnxruntime", "openvino")
        if runtime in runtimes
    ]
    yield Part("matched", entries, entries[0].label, (1,), (1,), {"accuracies": accuracies}, seconds=45)


PARTS = {"mobileone": mobileone, "emo": emo, "matched": matched}


def _ours(network: Any, name: str, runtimes: Sequence[str]) -> list[Entry]:
    frozen = network_subject(phonecv.fuse(network, frozen=True), name=name, form="deploy")
    plain = network_subject(phonecv.fuse(network), name=f"{name} not frozen", form="deploy")
    return [Entry(plain, "eager", "float32"), *(Entry(frozen, *kind) for kind in OURS if kind[0] in runtimes)]


def _threads() -> tuple[int, ...]:
    return tuple(sorted({1, min(2, usable_cores())}))


def run(part: Part, quick: bool) -> dict[str, Any]:
    """Time a part; its rows without the single rounds."""
    rows, peaks = measure(
        part.entries,
        baseline=part.baseline,
        batches=part.batches,
        threads=part.threads,
        rounds=8 if quick else 40,
        seconds=3 if quick else part.seconds,
    )
    return {
        "part": part.name,
        "date": time.strftime("%Y-%m-%d"),
        "baseline": part.baseline,
        **part.notes,
        "peaks": [asdict(peak) for peak in peaks],
        "rows": [{key: value for key, value in asdict(row).items() if key != "times_ms"} for row in rows],
    }


def show(found: dict[str, Any]) -> None:
    """Print a part's rows."""
    for row in found["rows"]:
        print(
            f"{row['threads']} threads, batch {row['batch']:2}  {row['label']:52} {row['median_ms']:9.3f} ms "
            f"[{row['p10_ms']:.3f} {row['p90_ms']:.3f}]  {row['ratio']:6.2f}x  "
            f"of peak {row['share_of_peak'] or 0:4.0%}  difference {row['difference']:.0e}",
            flush=True,
        )


def main() -> None:
    """Run the parts, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a trial: fewer rounds, nothing compiled, nothing written")
    parser.add_argument("--only", choices=PARTS, action="append", help="only this part; may be repeated")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the result file")
    known = tuple(dict.fromkeys(runtime for runtime, _ in OURS))
    parser.add_argument("--runtimes", choices=known, nargs="+", default=known, help="of our networks")
    chosen = parser.parse_args()
    runtimes = [name for name in chosen.runtimes if not (chosen.quick and name == "compiled")]
    start, warnings = time.perf_counter(), disturbances()
    before = None
    if chosen.only and not chosen.quick and (before := kinds_of(chosen.out).get(kind_here())):
        machine = describe_machine()
        if (before["machine"]["cpu"], before["machine"]["versions"]) != (machine["cpu"], machine["versions"]):
            sys.exit(f"{chosen.out} has {kind_here()} with other versions; run all parts, or choose another --out")
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    found = []
    for name in chosen.only or PARTS:
        for part in PARTS[name](runtimes):
            found.append(run(part, chosen.quick))
            show(found[-1])
    seconds = time.perf_counter() - start
    print(f"{seconds:.0f} s")
    if chosen.quick:
        return
    if before is not None:
        renewed = {part["part"]: part for part in found}
        found = [renewed.pop(part["part"], part) for part in before["parts"]] + list(renewed.values())
        seconds = before["seconds"]
    write_kind(
        chosen.out,
        {"command": "python benchmarks/inference.py", "method": METHOD},
        {"seconds": round(seconds), "warnings": warnings, "parts": found},
    )


if __name__ == "__main__":
    main()
