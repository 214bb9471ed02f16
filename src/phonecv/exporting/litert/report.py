"""What of a LiteRT file runs in XNNPACK here, and what a phone's GPU delegate would take."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phonecv.exporting.job import Job

#: Operators that LiteRT's GPU delegate takes, from the checks in tflite/tools/versioning/gpu_compatibility.cc of
#: google-ai-edge/LiteRT (2025). It has more conditions than are looked at here, so this is an upper bound.
_GPU_NAMES = """
ABS ADD ADD_N AVERAGE_POOL_2D BATCH_MATMUL CAST CONCATENATION CONV_2D COS CUMSUM DENSIFY DEPTHWISE_CONV_2D
DEPTH_TO_SPACE DEQUANTIZE DIV ELU EQUAL EXP FLOOR FLOOR_DIV FLOOR_MOD FULLY_CONNECTED GATHER GELU GREATER
GREATER_EQUAL HARD_SWISH LEAKY_RELU LESS LESS_EQUAL LOG LOGICAL_AND LOGISTIC LSTM MAXIMUM MAX_POOL_2D MEAN MINIMUM
MIRROR_PAD MUL NEG NOT_EQUAL ONE_HOT PACK PAD PADV2 POW PRELU QUANTIZE REDUCE_MAX REDUCE_MIN REDUCE_PROD RELU RELU6
RELU_N1_TO_1 RESHAPE RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR RSQRT SELECT SELECT_V2 SIGN SIN SLICE SOFTMAX
SPACE_TO_DEPTH SPLIT SPLIT_V SQRT SQUARE SQUARED_DIFFERENCE STRIDED_SLICE SUB SUM TANH TILE TRANSPOSE TRANSPOSE_CONV
"""
GPU = frozenset(_GPU_NAMES.split())
#: Those that it takes for tensors of three or four axes only; others may have fewer.
_GPU_THREE_OR_FOUR = frozenset({"SLICE", "STRIDED_SLICE", "PAD", "PADV2", "MIRROR_PAD"})


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator of a file.

    Attributes:
        kind: as CONV_2D.
        layer: path of the module it comes from, empty where not known.
        inputs: numbers of the tensors it reads.
        outputs: numbers of the tensors it makes.
        axes: of its first input.
        most_axes: of any input or output.
    """

    kind: str
    layer: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    axes: int
    most_axes: int


def report(model: Any, path: Path, job: Job) -> dict[str, Any]:
    """Operators by kind, and those outside XNNPACK and outside the GPU, by layer."""
    operators = read_operators(model, job)
    outside = outside_xnnpack(model, operators, path)
    refused = [(operator, why) for operator in operators if (why := gpu_refuses(operator))]
    count = max(1, len(operators))
    return {
        "operators": dict(Counter(operator.kind for operator in operators).most_common()),
        "xnnpack": {
            "share": round(1 - len(outside) / count, 4),
            "outside": _by_layer([(operator, "") for operator in outside]),
        },
        "gpu": {"share": round(1 - len(refused) / count, 4), "outside": _by_layer(refused)},
    }


def read_operators(model: Any, job: Job) -> list[Operator]:
    """The operators of a file, in order."""
    from ai_edge_litert import schema_py_generated as schema

    from phonecv.exporting.litert.int8 import converted_name

    kinds = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
    layers = {}
    for name, _ in job.module.named_modules():
        # A list of modules is never called itself, so the converter does not know it.
        parts = converted_name(job.module, name).split("/") if name else []
        known = "/".join(part for part in parts if not part.startswith("torch.nn.modules.container.ModuleList_"))
        layers[known] = name.removeprefix("network.")
    graph = model.subgraphs[0]

    def layer(tensor: Any) -> str:
        # The converter joins the names of values it merged; the last is the operator's own. A number may follow.
        own = tensor.name.decode("utf-8", "replace").rpartition(";;")[2]
        return layers.get(own.partition(";")[0], "")

    found = []
    for operator in graph.operators:
        read = tuple(int(number) for number in operator.inputs if number >= 0)
        made = tuple(int(number) for number in operator.outputs if number >= 0)
        axes = [len(graph.tensors[number].shape) for number in (*read, *made)]
        kind = kinds.get(model.operatorCodes[operator.opcodeIndex].builtinCode, "unknown")
        found.append(Operator(kind, layer(graph.tensors[made[0]]), read, made, axes[0], max(axes)))
    return found


def outside_xnnpack(model: Any, operators: list[Operator], path: Path) -> list[Operator]:
    """Operators that the interpreter runs by itself, found by going back from the outputs of the opened file.

    A delegate adds an operator to the graph that makes the same tensors as those it replaces.
    """
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    # LiteRT offers no public way to list what is delegated.
    nodes = interpreter._get_ops_details()
    delegates = [node for node in nodes if node["op_name"] == "DELEGATE"]
    maker: dict[int, Operator | tuple[int, ...]] = {}
    for operator in operators:
        maker.update(dict.fromkeys(operator.outputs, operator))
    for node in delegates:
        maker.update(dict.fromkeys(map(int, node["outputs"]), tuple(map(int, node["inputs"]))))
    waiting = [int(number) for number in model.subgraphs[0].outputs]
    seen: set[int] = set()
    outside: list[Operator] = []
    while waiting:
        number = waiting.pop()
        if number in seen or number not in maker:
            continue
        seen.add(number)
        made_by = maker[number]
        if isinstance(made_by, Operator):
            if made_by not in outside:
                outside.append(made_by)
            waiting += made_by.inputs
        else:
            waiting += made_by
    return sorted(outside, key=operators.index)


def gpu_refuses(operator: Operator) -> str:
    """Why the GPU delegate does not take it; empty if it may."""
    if operator.kind not in GPU:
        return "not in its list"
    if operator.most_axes > 4:
        return f"{operator.most_axes} axes"
    if operator.kind in _GPU_THREE_OR_FOUR and operator.axes < 3:
        return f"{operator.axes} axes"
    return ""


def _by_layer(operators: list[tuple[Operator, str]]) -> list[dict[str, Any]]:
    counts = Counter((operator.layer, operator.kind, why) for operator, why in operators)
    return [
        {"layer": layer, "operator": kind, "count": count} | ({"why": why} if why else {})
        for (layer, kind, why), count in counts.items()
    ]
