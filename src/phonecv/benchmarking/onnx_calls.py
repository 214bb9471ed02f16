"""ONNX Runtime and OpenVINO as candidates. Imports no torch: the memory of these runtimes is measured without it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from phonecv.benchmarking.calls import Arrays, Call
from phonecv.errors import UserError


def onnxruntime_call(path: Path | str, given: Arrays, *, threads: int, device: str = "cpu") -> Call:
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
        options.add_free_dimension_override_by_name(name, len(given[0]))
    gpu = device.partition(":")[0] == "cuda"
    session = onnxruntime.InferenceSession(
        str(path), options, providers=["CUDAExecutionProvider"] if gpu else ["CPUExecutionProvider"]
    )
    binding = session.io_binding()
    place = ("cuda", int(device.partition(":")[2] or 0)) if gpu else ("cpu", 0)
    for taken, array in zip(session.get_inputs(), given, strict=True):
        _check_shape(path, taken.shape, array)
        value = onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array), *place)
        binding.bind_ortvalue_input(taken.name, value)
    for output in session.get_outputs():
        binding.bind_output(output.name, *place)
    choices = onnxruntime.RunOptions()

    def run() -> None:
        session.run_with_iobinding(binding, choices)

    def outputs() -> list[np.ndarray]:
        run()
        return [np.asarray(value, dtype=np.float32) for value in binding.copy_outputs_to_cpu()]

    return Call(run, outputs, "nchw")


def openvino_call(path: Path | str, given: Arrays, *, threads: int, precision: str) -> Call:
    """An ONNX file in OpenVINO, compiled for exactly this batch.

    Pictures are given as NHWC, as decoders make them: otherwise the first thing OpenVINO does is to turn them, 3 to 6 %
    of MobileOne-S0.
    """
    import openvino
    from openvino.preprocess import PrePostProcessor

    core = openvino.Core()
    model = core.read_model(str(path))
    for port, array in zip(model.inputs, given, strict=True):
        _check_shape(path, [side.get_length() if side.is_static else None for side in port.partial_shape], array)
    model.reshape({place: list(array.shape) for place, array in enumerate(given)})
    steps, pictures = PrePostProcessor(model), len(given) == 1 and given[0].ndim == 4
    if pictures:
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
    held = [np.ascontiguousarray(array.transpose(0, 2, 3, 1) if pictures else array) for array in given]
    for place, array in enumerate(held):
        request.set_input_tensor(place, openvino.Tensor(array, shared_memory=True))

    def outputs() -> list[np.ndarray]:
        # Also keeps them alive: the request holds only their addresses.
        assert all(array.flags.c_contiguous for array in held)
        request.infer()
        return [
            np.array(request.get_output_tensor(number).data, dtype=np.float32)
            for number in range(len(compiled.outputs))
        ]

    return Call(request.infer, outputs, "nhwc" if pictures else "nchw")


def _free_batch_names(path: Path | str) -> list[str]:
    """What the file calls its free batch size, if it has one."""
    import onnx

    graph = onnx.load(str(path), load_external_data=False).graph
    firsts = [given.type.tensor_type.shape.dim[0].dim_param for given in graph.input]
    return [name for name in dict.fromkeys(firsts) if name]


def _check_shape(path: Path | str, shape: list[object], array: np.ndarray) -> None:
    for fixed, wanted in zip(shape, array.shape, strict=True):
        if isinstance(fixed, int) and fixed != wanted:
            takes = " x ".join(str(size) if isinstance(size, int) else "any" for size in shape)
            raise UserError(f"{path} takes {takes}, not {' x '.join(str(size) for size in array.shape)}")
