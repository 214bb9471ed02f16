"""Static int8 for ONNX Runtime: a float file goes in, one with quantize and dequantize nodes comes out."""

from __future__ import annotations

import contextlib
import logging
import math
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from phonecv.exporting.job import Job
from phonecv.exporting.onnx.opening import start_session
from phonecv.exporting.ranges import Tails, calibration_pictures, int8_settings

#: Operators in 8 bits. With everything that could be, OpenVINO took 1.5 times as long for EMOv2-5M, changing to and
#: fro.
OPERATORS = ("Conv", "Gemm", "Relu", "Clip")

#: What SiLU is made of. In 8 bits ONNX Runtime computes it by a table and a product of bytes: EMO-5M's file takes 0.66
#: of float32's time, and 0.78 with SiLU in floating point (benchmarks/int8_layers.py).
_SILU = ("Sigmoid", "Mul")

#: Pictures that calibration takes at once, at most, and their pixels: all activations of the network are in memory.
_STEP, _STEP_PIXELS = 4, 4 * 256 * 256

#: Operators that only move numbers: what stands before them in a row up to an output is what the file gives.
_MOVING = ("Transpose", "Reshape", "Concat", "Flatten", "Squeeze", "Unsqueeze", "Identity")


def quantize(job: Job, source: Path, path: Path) -> dict[str, Any]:
    """Write `source` with int8 weights (symmetric, per output channel) and uint8 activations (affine, per tensor).

    Args:
        job: with pictures to calibrate on; of `Job.settings` all are supported.
        source: the float file, made from ``job.module``.
        path: the file to write.

    Returns:
        What was used, as JSON values.

    Raises:
        UserError: bad settings or calibration pictures.
    """
    settings = int8_settings(job)
    pictures = calibration_pictures(job)
    stay = nodes_of(source, settings.float_layers)
    counts = quantize_file(source, pictures, path, percentile=settings.span, stay=stay)
    return settings.used(pictures) | {"activations": "uint8, affine, per tensor", "operators": counts}


def nodes_of(source: Path, paths: Sequence[str]) -> list[str]:
    """Names of the nodes whose weights belong to modules at these paths."""
    import onnx

    graph = onnx.load(source, load_external_data=False).graph
    return [
        node.name
        for node in graph.node
        if node.op_type in OPERATORS and any(name.startswith(f"{path}.") for name in node.input[1:] for path in paths)
    ]


def quantize_file(
    source: Path, images: np.ndarray, path: Path, *, percentile: float = 100.0, stay: Sequence[str] = ()
) -> dict[str, int]:
    """The same for any ONNX file of one input.

    Activations are unsigned, because ONNX Runtime's kernels for x86 are made for that: with signed ones MobileOne-S4
    took 1.7 times as long. Biases become 32-bit integers. `percentile` is the share of the values of `images` that a
    range spans, both ends cut alike; nodes named in `stay` remain float.

    Returns:
        How many nodes of each kind are quantized, and how many of those kinds are not.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantType
    from onnxruntime.quantization.calibrate import TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder, _silenced():
        prepared = Path(folder) / "prepared.onnx"
        # Symbolic shape inference fails on graphs with window attention, and the batch is free all the same.
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        model = onnx.load(prepared)
        fold_first(model, stay)
        silu = silus(model, stay)
        apart = [node.name for node in model.graph.node if node.op_type in _SILU and node.name not in silu]
        nodes = [
            node
            for node in model.graph.node
            if node.name in silu or (node.op_type in OPERATORS and node.name not in stay)
        ]
        ranges = measure_ranges(model, images, percentile, [node.name for node in nodes], Path(folder))
        low_high: dict[str, Any] = {
            name: (np.array(low, np.float32), np.array(high, np.float32)) for name, (low, high) in ranges.items()
        }
        quantizer = QDQQuantizer(
            model,
            per_channel=True,
            reduce_range=False,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QUInt8,
            tensors_range=TensorsData(CalibrationMethod.MinMax, low_high),
            nodes_to_quantize=[],
            nodes_to_exclude=[*stay, *apart],
            op_types_to_quantize=[*OPERATORS, *_SILU],
            # What the classifier gives is read by nothing in 8 bits; rounding it costs answers for no gain.
            extra_options={"OpTypesToExcludeOutputQuantization": ["Gemm"]},
        )
        quantizer.quantize_model()
        keep_float(quantizer.model.model, stay)
        quantizer.model.save_model_to_file(str(path), False)
    weighted = [node for node in model.graph.node if node.op_type in ("Conv", "Gemm")]
    left = sum(node.name in stay for node in weighted)
    return {"quantized": len(weighted) - left, "float": left}


def silus(model: Any, stay: Sequence[str] = ()) -> set[str]:
    """Names of the nodes that make SiLU, x sigmoid(x), of what convolutions give; not behind nodes named in `stay`."""
    makers = {name: node for node in model.graph.node for name in node.output}
    found: set[str] = set()
    for node in model.graph.node:
        if node.op_type != "Mul":
            continue
        for gate, value in (node.input, node.input[::-1]):
            sigmoid, source = makers.get(gate), makers.get(value)
            if sigmoid is None or source is None or sigmoid.op_type != "Sigmoid" or sigmoid.input[0] != value:
                continue
            if source.op_type == "Conv" and source.name not in stay:
                found |= {node.name, sigmoid.name}
    return found


def fold_first(model: Any, stay: Sequence[str] = ()) -> None:
    """Let the first convolution read blocks of 2 x 2 pixels as channels, in place; its results stay what they are.

    ONNX Runtime gathers what an 8-bit convolution reads pixel by pixel, three bytes at a time for a picture: the first
    layer took a quarter of MobileOne-S0's time. A 3 x 3 kernel with stride 2 on 3 channels is a 2 x 2 kernel with
    stride 1 on 12, some of its weights zero; first layer and the one behind it then took 0.41 ms instead of 0.63.

    Done where a convolution of that kind reads the file's input and height and width are fixed and even.
    """
    from onnx import TensorProto, helper, numpy_helper

    graph = model.graph
    given = graph.input[0]
    height, width = (side.dim_value for side in given.type.tensor_type.shape.dim[2:4])
    readers = [node for node in graph.node if given.name in node.input]
    if len(readers) != 1 or readers[0].op_type != "Conv" or readers[0].name in stay:
        return
    conv = readers[0]
    weights = next((one for one in graph.initializer if one.name == conv.input[1]), None)
    attributes = {one.name: helper.get_attribute_value(one) for one in conv.attribute}
    if weights is None or sum(weights.name in node.input for node in graph.node) != 1:
        return
    if not (height and width) or height % 2 or width % 2:
        return
    kernel = numpy_helper.to_array(weights)
    if kernel.shape[2:] != (3, 3) or list(attributes.get("dilations", (1, 1))) != [1, 1]:
        return
    if attributes.get("group", 1) != 1 or attributes.get("auto_pad", b"NOTSET") != b"NOTSET":
        return
    if list(attributes.get("strides", ())) != [2, 2] or list(attributes.get("pads", ())) != [1, 1, 1, 1]:
        return
    outputs, channels = kernel.shape[:2]
    # Rows -1, 0 and 1 around an output are the lower half of the block above and both halves of its own.
    halves = ((0, 1), (1, 0), (1, 1))  # block, half
    folded = np.zeros((outputs, 2, 2, channels, 2, 2), kernel.dtype)  # halves of both axes before channels
    for y, (block_y, half_y) in enumerate(halves):
        for x, (block_x, half_x) in enumerate(halves):
            folded[:, half_y, half_x, :, block_y, block_x] = kernel[:, :, y, x]
    weights.CopyFrom(numpy_helper.from_array(folded.reshape(outputs, 4 * channels, 2, 2), weights.name))
    now = {"kernel_shape": [2, 2], "strides": [1, 1], "pads": [1, 1, 0, 0]}
    kept = [one for one in conv.attribute if one.name not in now]
    del conv.attribute[:]
    conv.attribute.extend([*kept, *(helper.make_attribute(name, value) for name, value in now.items())])
    blocks = f"{given.name}_blocks"
    batch = given.type.tensor_type.shape.dim[0]
    shape = [batch.dim_value or batch.dim_param or None, 4 * channels, height // 2, width // 2]
    # What was noted of the weights' shape is no longer true.
    known = [value for value in graph.value_info if value.name != weights.name]
    del graph.value_info[:]
    graph.value_info.extend([*known, helper.make_tensor_value_info(blocks, TensorProto.FLOAT, shape)])
    conv.input[0] = blocks
    graph.node.insert(0, helper.make_node("SpaceToDepth", [given.name], [blocks], name=blocks, blocksize=2))


def keep_float(model: Any, stay: Sequence[str]) -> None:
    """Let what these nodes give stay float too, in place.

    Float weights between two quantized tensors are rounded by ONNX Runtime itself when it loads the file, most likely
    with one scale for the whole tensor (its WeightBiasQuantization): MobileOne-S0 with four depthwise layers left float
    fell from 99 of 114 right answers to 71. Where the output is not quantized the file gives the same with the
    runtime's optimizations and without; the next layer then computes in floating point too, with its 8-bit weights.
    """
    graph = model.graph
    for name in [node.output[0] for node in graph.node if node.name in stay]:
        readers = [node for node in graph.node if name in node.input]
        while len(readers) == 1 and readers[0].op_type in ("Relu", "Clip"):
            name = readers[0].output[0]
            readers = [node for node in graph.node if name in node.input]
        for first in [node for node in readers if node.op_type == "QuantizeLinear"]:
            for second in [node for node in graph.node if first.output[0] in node.input]:
                for node in graph.node:
                    for place, given in enumerate(node.input):
                        if given == second.output[0]:
                            node.input[place] = name
                graph.node.remove(second)
            graph.node.remove(first)
    used = {name for node in graph.node for name in node.input}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in used]:
        graph.initializer.remove(tensor)  # scales of what was quantized; runtimes warn of them


def measure_ranges(
    model: Any, images: np.ndarray, percentile: float, names: Sequence[str], folder: Path
) -> dict[str, tuple[float, float]]:
    """Low and high end of what the named nodes read and give.

    ONNX Runtime's own percentiles keep every value of every picture in memory. What the file itself gives spans all
    that was seen: the rarest scores of a detector are its objects.
    """
    import onnx

    wanted = _activations(model, names)
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    given = model.graph.input[0]
    there = {value.name for value in watched.graph.output}
    for name in wanted:
        if name not in there and name != given.name:
            watched.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    onnx.save(watched, folder / "watched.onnx")
    session = start_session(folder / "watched.onnx", torch.get_num_threads())
    whole_range = _given_out(model)
    largest = max(1, min(_STEP, _STEP_PIXELS // math.prod(images.shape[2:])))
    step = given.type.tensor_type.shape.dim[0].dim_value or largest
    # A fixed batch is filled up with the first pictures again; they are in the ranges already.
    whole = images[np.arange(math.ceil(len(images) / step) * step) % len(images)]
    fetched = [name for name in wanted if name != given.name]
    tails: dict[str, Tails] = {}
    for start in range(0, len(whole), step):
        part = np.ascontiguousarray(whole[start : start + step])
        values = dict(zip(fetched, session.run(fetched, {given.name: part}), strict=True))
        if given.name in wanted:
            values[given.name] = part
        for name, array in values.items():
            if name not in tails:
                tails[name] = Tails(array.size // step * len(whole), 100.0 if name in whole_range else percentile)
            tails[name].add(array)
    return {name: tail.range() for name, tail in tails.items()}


def _given_out(model: Any) -> set[str]:
    """Names of the file's outputs, and of what is only moved about before it becomes one."""
    makers = {name: node for node in model.graph.node for name in node.output}
    found: set[str] = set()
    waiting = [output.name for output in model.graph.output]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            if name in makers and makers[name].op_type in _MOVING:
                waiting += makers[name].input
    return found


def _activations(model: Any, names: Sequence[str]) -> list[str]:
    chosen = set(names)
    constants = {tensor.name for tensor in model.graph.initializer}
    found: dict[str, None] = {}
    for node in model.graph.node:
        if node.name in chosen:
            for name in (node.input[0], *node.output):
                if name and name not in constants:
                    found[name] = None
    return list(found)


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """The quantizer logs and warns on the root logger about choices that were made on purpose."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
