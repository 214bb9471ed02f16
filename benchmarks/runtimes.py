"""Our networks in every runtime against PyTorch's eager fused float32: one thread on one core, batch 1.

    python benchmarks/runtimes.py               all networks; writes this kind's part of results/runtimes.json
    python benchmarks/runtimes.py --quick       fewer rounds, prints and writes nothing
    python benchmarks/runtimes.py --only NAME   one network, renewed in the file

Run it with nothing else on the machine; writing the files takes most of its time.
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path

from torch import nn

import phonecv
from inference import METHOD, Part, fresh, run, show
from kinds import kind_here, kinds_of, write_kind
from phonecv.benchmarking.machine import disturbances
from phonecv.benchmarking.plan import Entry
from phonecv.benchmarking.subject import network_subject
from phonecv.models.blocks import Conv2d

RESULTS = Path(__file__).parent / "results" / "runtimes.json"
NETWORKS = ("mobileone_s0", "emo_1m", "emov2_1m", "emov2_5m")
RUNTIMES = ("eager", "onnxruntime", "openvino", "executorch", "litert", "ncnn")
#: Runtimes whose files can have 8 bits.
INT8 = ("onnxruntime", "openvino", "executorch", "litert")


def plain(network: nn.Module) -> nn.Module:
    """The same network with PyTorch's own convolutions, without what ours do around their weaknesses."""
    network = copy.deepcopy(network)
    for module in network.modules():
        if isinstance(module, Conv2d):
            module.__class__ = nn.Conv2d
    return network


def part(name: str, quick: bool) -> Part:
    """One network in all runtimes; int8 of MobileOne alone (others: docs/quantize.md)."""
    fused = phonecv.fuse(fresh(name))
    subject = network_subject(fused, name=name, form="deploy")
    usual = network_subject(plain(fused), name=f"{name} plain", form="deploy")
    kinds = [(runtime, "float32") for runtime in RUNTIMES]
    if name.startswith("mobileone"):
        kinds += [(runtime, "int8") for runtime in INT8]
    entries = [Entry(subject, *kind) for kind in kinds] + [Entry(usual, "eager", "float32")]
    return Part(name, entries, entries[0].label, (1,), (1,), {}, seconds=4 if quick else 15)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a trial: fewer rounds, nothing written")
    parser.add_argument("--only", choices=NETWORKS, action="append", help="only this network; may be repeated")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the result file")
    chosen = parser.parse_args()
    parts = {found["part"]: found for found in kinds_of(chosen.out).get(kind_here(), {}).get("parts", [])}
    for name in chosen.only or NETWORKS:
        warnings = disturbances()
        found = run(part(name, chosen.quick), chosen.quick)
        show(found)
        parts[name] = found | {"warnings": warnings}
        if not chosen.quick:
            common = {"command": "python benchmarks/runtimes.py", "method": METHOD}
            write_kind(chosen.out, common, {"parts": [parts[name] for name in NETWORKS if name in parts]})


if __name__ == "__main__":
    main()
