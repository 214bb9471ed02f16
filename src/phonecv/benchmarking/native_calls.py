"""LiteRT, ncnn and ExecuTorch as candidates. Only ExecuTorch imports torch: the memory of the others is without it.

Their files hold one picture, so a batch is taken picture after picture.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from phonecv.benchmarking.calls import Call
from phonecv.errors import UserError


def litert_call(path: Path | str, images: np.ndarray, *, threads: int) -> Call:
    """A .tflite file in LiteRT with XNNPACK. Pictures are copied into its input, which is part of the call."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=threads)
    (taken,) = interpreter.get_input_details()
    shape = [int(side) for side in taken["shape"]]
    last = shape[3] == 3
    laid = images.transpose(0, 2, 3, 1) if last else images
    if list(laid.shape[1:]) != shape[1:]:
        raise UserError(f"{path} takes {' x '.join(map(str, shape))}, not {' x '.join(map(str, laid.shape))}")
    interpreter.allocate_tensors()
    batches = [_as_taken(part, taken) for part in _parts(laid, shape[0])]

    def run() -> None:
        for batch in batches:
            interpreter.set_tensor(taken["index"], batch)
            interpreter.invoke()

    def outputs() -> list[np.ndarray]:
        found: list[list[np.ndarray]] = []
        for batch in batches:
            interpreter.set_tensor(taken["index"], batch)
            interpreter.invoke()
            found.append([_as_float(interpreter.get_tensor(item["index"]), item) for item in _outputs(interpreter)])
        return [np.concatenate(values)[: len(images)] for values in zip(*found, strict=True)]

    return Call(run, outputs, "nhwc" if last else "nchw")


def _outputs(interpreter: Any) -> list[dict[str, Any]]:
    """The outputs in the order of the network: named map0, map1, ... by whoever wrote the file for timing."""
    if not interpreter.get_signature_list():
        return interpreter.get_output_details()
    named = interpreter.get_signature_runner().get_output_details()
    return [named[name] for name in sorted(named, key=lambda name: (len(name), name))]


def _as_taken(values: np.ndarray, detail: dict[str, Any]) -> np.ndarray:
    """Float pictures as the file's input type; quantized files round them."""
    if detail["dtype"] == np.float32:
        return values
    scale, zero = detail["quantization"]
    limits = np.iinfo(detail["dtype"])
    return np.round(values / scale + zero).clip(limits.min, limits.max).astype(detail["dtype"])


def _as_float(values: np.ndarray, detail: dict[str, Any]) -> np.ndarray:
    scale, zero = detail["quantization"]
    return (values.astype(np.float32) - zero) * np.float32(scale) if scale else values.astype(np.float32)


def ncnn_call(path: Path | str, images: np.ndarray, *, threads: int) -> Call:
    """A .param file and its weights in ncnn, on the CPU in float32."""
    import ncnn

    path = Path(path)
    weights = next(
        (file for file in (path.with_suffix(".ncnn.bin"), path.with_suffix(".bin")) if file.is_file()), None
    )  # fmt: skip
    if weights is None:
        raise UserError(f"there is no {path.with_suffix('.ncnn.bin')}, which holds the weights of {path}")
    net = ncnn.Net()
    net.opt.num_threads = threads
    net.opt.use_vulkan_compute = False
    # Halves and bfloat16 are ncnn's own choice where the processor has them; rows of float32 mean it.
    for option in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_packed", "use_bf16_storage"):
        setattr(net.opt, option, False)
    if net.load_param(str(path)) or net.load_model(str(weights)):
        raise UserError(f"{path} cannot be used in ncnn")
    (entry,), results = net.input_names(), net.output_names()
    arrays = list(images)
    pictures = [ncnn.Mat(array) for array in arrays]

    def one(picture: Any) -> list[Any]:
        extractor = net.create_extractor()
        extractor.input(entry, picture)
        return [extractor.extract(name)[1] for name in results]

    def run() -> None:
        for picture in pictures:
            one(picture)

    def outputs() -> list[np.ndarray]:
        # Also keeps `arrays` alive: a Mat holds only the address of the array it was made from.
        assert len(arrays) == len(pictures)
        found = [[np.array(value, np.float32) for value in one(picture)] for picture in pictures]
        return [np.stack(values) for values in zip(*found, strict=True)]

    return Call(run, outputs, "nchw")


def executorch_call(path: Path | str, images: np.ndarray, *, threads: int) -> Call:
    """A .pte file in ExecuTorch with XNNPACK; it takes as many threads as told, not as many as there are cores."""
    from phonecv.exporting.executorch.exporter import open_session

    session = open_session(Path(path), threads=threads)
    if session.size is not None and images.shape[2:] != session.size:
        height, width = session.size
        raise UserError(f"{path} takes {height}x{width} pixels, not {images.shape[2]}x{images.shape[3]}")
    parts = _parts(images, session.batch or len(images))

    def run() -> None:
        for part in parts:
            session.run(part)

    def outputs() -> list[np.ndarray]:
        found = [session.run(part) for part in parts]
        # Copies: the arrays are views of memory that the next run writes to.
        joined = [np.concatenate(values)[: len(images)] for values in zip(*found, strict=True)]
        return [np.array(value, np.float32) for value in joined]

    return Call(run, outputs, "nchw")


def _parts(images: np.ndarray, batch: int) -> list[np.ndarray]:
    """Pictures in the batches that a file takes, the last one filled up."""
    count = -(-len(images) // batch) * batch
    filled = np.ascontiguousarray(images[np.arange(count) % len(images)], np.float32)
    return np.split(filled, count // batch)
