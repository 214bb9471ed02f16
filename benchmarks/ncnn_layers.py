"""Our networks in ncnn: what its switches give, and which layers take the time.

    python benchmarks/ncnn_layers.py                  four networks, about three minutes
    python benchmarks/ncnn_layers.py --only emo_1m    one, renewed in the file

One picture of 224 px in float32 on one core. The switches take turns with the usual settings and with PyTorch's eager
fused network. Layers are timed by asking for one result after the other, which ncnn computes one layer at a time, in
place where the layer can. Writes this kind of processor's part of results/ncnn_layers.json after every network. Run it
with nothing else on the machine.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

import phonecv
from inference import fresh
from kinds import kind_here, kinds_of, write_kind
from phonecv.benchmarking.machine import disturbances
from phonecv.benchmarking.timing import interleave, ratios
from phonecv.exporting.ncnn.graph import read_graph
from phonecv.exporting.ncnn.opening import load, weights_path
from runtimes import NETWORKS, plain

RESULTS = Path(__file__).parent / "results" / "ncnn_layers.json"
#: ncnn's switches, each turned off.
SWITCHES = ("use_sgemm_convolution", "use_winograd_convolution", "use_packing_layout")


def switches(path: Path, network: torch.nn.Module, picture: np.ndarray) -> dict[str, Any]:
    """Median milliseconds, the time of the usual settings over that of each, and how far the outputs are apart."""
    import ncnn

    graph, given = read_graph(path), ncnn.Mat(picture)

    def call(off: str | None) -> Any:
        net = ncnn.Net()
        net.opt.num_threads, net.opt.use_vulkan_compute = 1, False
        kinds = ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_packed", "bf16_storage")
        for option in (*(f"use_{kind}" for kind in kinds), *([off] if off else [])):
            setattr(net.opt, option, False)
        assert not net.load_param(str(path))
        assert not net.load_model(str(weights_path(path)))

        def run() -> Any:
            extractor = net.create_extractor()
            extractor.input(graph.inputs[0].outputs[0], given)
            return extractor.extract(graph.results[0])[1]

        return run

    calls = {"usual": call(None), **{f"without {off.removeprefix('use_')}": call(off) for off in SWITCHES}}
    usual = np.array(calls["usual"]())
    apart = {name: float(np.abs(np.array(run()) - usual).max() / np.abs(usual).max()) for name, run in calls.items()}
    tensor = torch.from_numpy(picture)[None]
    calls["PyTorch"] = lambda: network(tensor)
    with torch.inference_mode():
        timings = interleave(calls, rounds=60, warmup=3, seconds=15)
    found = ratios(timings, "usual")
    return {
        name: {
            "ms": round(1e3 * timing.median, 3),
            "ratio": round(found[name].median, 3),
            "low": round(found[name].low, 3),
            "high": round(found[name].high, 3),
            "apart": apart.get(name),
        }
        for name, timing in timings.items()
    }


def layers(path: Path, picture: np.ndarray, rounds: int = 40) -> dict[str, dict[str, float]]:
    """Number and milliseconds of the layers of every kind, dearest first."""
    import ncnn

    graph, given = read_graph(path), ncnn.Mat(picture)
    net = load(path, weights_path(path), threads=1, half=False)
    seconds: dict[str, list[float]] = {layer.name: [] for layer in graph.layers if layer.kind != "Input"}
    for _ in range(rounds):
        extractor = net.create_extractor()
        extractor.input(graph.inputs[0].outputs[0], given)
        for layer in graph.layers:
            if layer.kind != "Input":
                start = time.perf_counter()
                extractor.extract(layer.outputs[0], 1)  # 1: in whatever layout it has
                seconds[layer.name].append(time.perf_counter() - start)
    kinds: dict[str, list[float]] = defaultdict(list)
    for layer in graph.layers:
        if layer.kind != "Input":
            pointwise = layer.kind == "Convolution" and layer.parameters[1] == "1"
            kinds[f"{layer.kind} 1x1" if pointwise else layer.kind].append(statistics.median(seconds[layer.name]))
    ordered = sorted(kinds.items(), key=lambda item: -sum(item[1]))
    return {kind: {"number": len(times), "ms": round(1e3 * sum(times), 3)} for kind, times in ordered}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=NETWORKS, help="one network, renewed in the file")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the result file")
    chosen = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    networks = kinds_of(chosen.out).get(kind_here(), {}).get("networks", {})
    noise = disturbances()
    picture = np.random.default_rng(0).standard_normal((3, 224, 224)).astype(np.float32)
    for name in [chosen.only] if chosen.only else NETWORKS:
        fused = phonecv.fuse(fresh(name))
        with tempfile.TemporaryDirectory() as folder:
            path = phonecv.export(fused, Path(folder) / f"{name}.param", verify=False).path
            networks[name] = {"switches": switches(path, plain(fused), picture), "layers": layers(path, picture)}
        print(name, networks[name], flush=True)
        ordered = {name: networks[name] for name in NETWORKS if name in networks}
        write_kind(
            chosen.out,
            {"command": "python benchmarks/ncnn_layers.py"},
            {"disturbances": noise, "networks": ordered},
        )


if __name__ == "__main__":
    main()
