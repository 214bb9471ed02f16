"""ONNX Runtime and OpenVINO as candidates. Imports no torch: the memory of these runtimes is measured without it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from phonecv.benchmarking.calls import Call
from phonecv.errors import UserError


def onnxruntime_call(path: Path | str, images: np.ndarray, *, threads: int, device: str = "cpu") -> Call:
    """An ONNX file in ONNX Runtime, for exactly this batch; input and output stay where they are between calls.

    Its threads spin between operators, as they do by default: without, two threads took 1.6 times as long for
    MobileOne-S0. `interleave` waits until they sleep before it times somebody else.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    for name in _free_batch_names(path):
        options.add_free_dimension_override_by_name(name, len(images))
    gpu = device.partition(":")[0] == "cuda"
    session = onnxruntime.InferenceSession(
        str(path), options, providers=["CUDAExecutionProvider"] if gpu else ["CPUExecutionProvider"]
    )
    taken = session.get_inputs()[0]
    _check_shape(path, taken.shape, images)
    binding = session.io_binding()
    place = ("cuda", int(device.partition(":")[2] or 0)) if gpu else ("cpu", 0)
    given = onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(images), *place)
    binding.bind_ortvalue_input(taken.name, given)
    for output in session.get_outputs():
        binding.bind_output(output.name, *place)
    choices = onnxruntime.RunOptions()

    def run() -> None:
        session.run_with_iobinding(binding, choices)

    def outputs() -> list[np.ndarray]:
        run()
        return [np.asarray(value, dtype=np.float32) for value in binding.copy_outputs_to_cpu()]

    return Call(run, outputs, "nchw")


def openvino_call(path: Path | str, images: np.ndarray, *, threads: int, precision: str) -> Call:
    """An ONNX file in OpenVINO, compiled for exactly this batch.

    The input is given as NHWC, as decoders of pictures make it: otherwise the first thing OpenVINO does is to turn it,
    3 to 6 % of MobileOne-S0.
    """
    import openvino
    from openvino.preprocess import PrePostProcessor

    core = openvino.Core()
    model = core.read_model(str(path))
    _check_shape(path, [size.get_length() if size.is_static else None for size in model.input(0).partial_shape], images)
    model.reshape(list(images.shape))
    steps = PrePostProcessor(model)
    steps.input().tensor().set_layout(openvino.Layout("NHWC"))
    steps.input().model().set_layout(openvino.Layout("NCHW"))
    # Unset, it takes bfloat16 for float32 wherever the processor has it.
    hint = {"float32": "f32", "int8": "f32", "bf16": "bf16", "fp16": "f16"}[precision]
    compiled = core.compile_model(
        steps.build(),
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": hint,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
        },
    )
    request = compiled.create_infer_request()
    given = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
    request.set_input_tensor(openvino.Tensor(given, shared_memory=True))

    def outputs() -> list[np.ndarray]:
        # Also keeps `given` alive: the request holds only its address.
        assert given.flags.c_contiguous
        request.infer()
        return [
            np.array(request.get_output_tensor(number).data, dtype=np.float32)
            for number in range(len(compiled.outputs))
        ]

    return Call(request.infer, outputs, "nhwc")


def _free_batch_names(path: Path | str) -> list[str]:
    """What the file calls its free batch size, if it has one."""
    import onnx

    graph = onnx.load(str(path), load_external_data=False).graph
    first = graph.input[0].type.tensor_type.shape.dim[0]
    return [first.dim_param] if first.dim_param else []


def _check_shape(path: Path | str, shape: list[object], images: np.ndarray) -> None:
    for fixed, wanted in zip(shape, images.shape, strict=True):
        if isinstance(fixed, int) and fixed != wanted:
            takes = " x ".join(str(size) if isinstance(size, int) else "any" for size in shape)
            raise UserError(f"{path} takes {takes}, not {' x '.join(str(size) for size in images.shape)}")
