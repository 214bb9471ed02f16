"""What int8 saves of EMO's and EMOv2's time, by kind of layer, and what was tried.

    python benchmarks/int8_layers.py files FOLDER    some minutes: the files to time
    python benchmarks/int8_layers.py time FOLDER     two minutes; writes results/int8_layers.json

Networks at 224 px with fresh weights, one picture on one thread, in ONNX Runtime and OpenVINO. Times of whole files are
taken in turns; those of layers come from each runtime's own profiler in runs of their own, so they are given as shares.
Run the second command with nothing else on the machine; `python docs/update.py` puts the table into `docs/quantize.md`.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

import phonecv
from kinds import write_kind
from phonecv.benchmarking.fresh import settle
from phonecv.benchmarking.machine import disturbances
from phonecv.benchmarking.onnx_calls import onnxruntime_call, openvino_call
from phonecv.benchmarking.timing import interleave
from phonecv.exporting.deployable import deployable
from phonecv.exporting.job import Job
from phonecv.exporting.onnx import int8 as onnx_int8
from phonecv.exporting.onnx.exporter import write_graph
from phonecv.exporting.openvino import int8 as openvino_int8
from phonecv.exporting.perform import captured

RESULTS = Path(__file__).parent / "results" / "int8_layers.json"
NETWORKS = ("emo_5m", "emov2_5m")
SIDE, RUNS = 224, 30

#: Variants by runtime: the file's ending, and what it is. The first is what others are compared with.
VARIANTS = {
    "onnxruntime": {
        ".onnx": "float32",
        "-silu.onnx": "int8",
        "-conv.onnx": "int8, SiLU in floating point",
        "-sums.onnx": "int8, sums in 8 bits, too",
    },
    "openvino": {
        ".onnx": "float32",
        "-nncf.xml": "int8",
        "-conv.onnx": "int8, ONNX Runtime's file without SiLU",
        "-silu.onnx": "int8, ONNX Runtime's file",
    },
}
#: What the tables show by layer.
PROFILED = {"onnxruntime": (".onnx", "-silu.onnx"), "openvino": (".onnx", "-nncf.xml")}

#: Operators of a profile, in the words of the table; what is not named moves numbers about.
GROUPS: dict[str, tuple[str, ...]] = {
    "convolutions": ("Conv", "QLinearConv", "Convolution", "GroupConvolution"),
    "SiLU, GELU": ("QuickGelu", "Sigmoid", "Mul", "Gelu", "QLinearSigmoid", "QLinearMul"),
    "attention": ("MatMul", "Softmax", "SDPA"),
    "norms, means": ("LayerNormalization", "ReduceMean", "MVN", "Reduce"),
    "to 8 bits and back": ("QuantizeLinear", "DequantizeLinear", "FakeQuantize"),
    "sums": ("Add", "QLinearAdd", "Eltwise"),
    "fused, in floating point": ("Subgraph",),
    "classifier": ("Gemm", "QGemm", "FullyConnected"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("files", "time"))
    parser.add_argument("folder", type=Path)
    chosen = parser.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    if chosen.step == "files":
        for name in NETWORKS:
            write_files(name, chosen.folder)
        return
    found = {name: measured(name, chosen.folder) for name in NETWORKS}
    write_kind(RESULTS, {"side": SIDE}, {"networks": found, "disturbances": disturbances()})
    print(json.dumps(found, indent=1))


def write_files(name: str, folder: Path) -> None:
    """Float32 and every variant."""
    network = phonecv.fuse(settle(phonecv.create_model(name), size=SIDE))
    module, outputs = deployable(network)
    images = torch.randn(4, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    source = folder / f"{name}.onnx"
    job = Job(module, (images[:2],), outputs, name, precision="int8", calibration=images.numpy())
    with captured():
        write_graph(job, source)
    usual = onnx_int8.OPERATORS, onnx_int8.silus
    # As a person would change them; only here are there such files.
    for ending, operators, silus in (
        ("-silu.onnx", usual[0], usual[1]),
        ("-conv.onnx", usual[0], lambda *_: set()),
        ("-sums.onnx", (*usual[0], "Add"), usual[1]),
    ):
        onnx_int8.OPERATORS, onnx_int8.silus = operators, silus  # type: ignore[assignment]
        try:
            onnx_int8.quantize_file(source, images.numpy(), folder / f"{name}{ending}")
        except ValueError as error:  # its quantizer misses ranges of sums in EMOv2's attention
            print(f"{name}{ending}: {error}")
        onnx_int8.OPERATORS, onnx_int8.silus = usual  # type: ignore[assignment]
    import openvino

    model = openvino.Core().read_model(str(source))
    model.reshape([1, 3, SIDE, SIDE])
    quantized, _ = openvino_int8.quantize(job, model)
    openvino.save_model(quantized, str(folder / f"{name}-nncf.xml"), compress_to_fp16=False)


def measured(name: str, folder: Path) -> dict[str, Any]:
    """Whole files in turns, then layers."""
    picture = (np.random.default_rng(0).standard_normal((1, 3, SIDE, SIDE)).astype(np.float32),)
    calls: dict[str, Callable[[], object]] = {}
    for runtime, variants in VARIANTS.items():
        for ending in variants:
            path = folder / f"{name}{ending}"
            if not path.is_file():
                continue
            if runtime == "onnxruntime":
                calls[f"{runtime}{ending}"] = onnxruntime_call(path, picture, threads=1).run
            else:
                calls[f"{runtime}{ending}"] = openvino_call(path, picture, threads=1, precision="float32").run
    timings = interleave(calls, rounds=40, warmup=5, seconds=25)
    found: dict[str, Any] = {}
    for runtime, variants in VARIANTS.items():
        plain = timings[f"{runtime}.onnx"].median
        share = {
            title: round(timings[key].median / plain, 3)
            for ending, title in variants.items()
            if (key := f"{runtime}{ending}") in timings
        }
        layers = {
            variants[ending]: PROFILERS[runtime](folder / f"{name}{ending}", picture[0]) for ending in PROFILED[runtime]
        }
        found[runtime] = {
            "float32_ms": round(1e3 * plain, 2),
            "of_float32": share,
            # Of the float32 file's time as it was measured whole.
            "layers": {title: scaled(parts, share[title]) for title, parts in layers.items()},
        }
    return found


def scaled(parts: Mapping[str, float], whole: float) -> dict[str, float]:
    """Parts of a profile as shares of float32's time."""
    total = sum(parts.values())
    return {group: round(whole * value / total, 3) for group, value in parts.items() if value}


def grouped(spent: Mapping[str, float]) -> dict[str, float]:
    """Milliseconds by group of operators."""
    place = {kind: group for group, kinds in GROUPS.items() for kind in kinds}
    total: Counter[str] = Counter()
    for kind, value in spent.items():
        total[place.get(kind, "moving numbers")] += value
    return {group: total[group] for group in (*GROUPS, "moving numbers") if total[group]}


def onnxruntime_layers(path: Path, picture: np.ndarray) -> dict[str, float]:
    """By group, from ONNX Runtime's profiler."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    options.enable_profiling, options.profile_file_prefix = True, str(path.with_suffix(""))
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    for _ in range(RUNS):
        session.run(None, {session.get_inputs()[0].name: picture})
    spent: Counter[str] = Counter()
    for event in json.loads(Path(session.end_profiling()).read_text(encoding="utf-8")):
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            spent[event["args"]["op_name"]] += event["dur"] / 1e3 / RUNS
    return grouped(spent)


def openvino_layers(path: Path, picture: np.ndarray) -> dict[str, float]:
    """By group, from OpenVINO's counters. The last layer also counts what it waits for, so it is left out."""
    import openvino

    core = openvino.Core()
    model = core.read_model(str(path))
    model.reshape(list(picture.shape))
    settings = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "PERF_COUNT": True, "INFERENCE_PRECISION_HINT": "f32"}
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    request.set_input_tensor(openvino.Tensor(picture))
    spent: Counter[str] = Counter()
    for _ in range(RUNS):
        request.infer()
        for item in request.get_profiling_info():
            if item.node_type != "FullyConnected":
                spent[item.node_type] += item.real_time.total_seconds() * 1e3 / RUNS
    return grouped(spent)


PROFILERS = {"onnxruntime": onnxruntime_layers, "openvino": openvino_layers}


if __name__ == "__main__":
    main()
