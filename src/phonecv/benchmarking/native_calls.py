"""LiteRT, ncnn, MNN and ExecuTorch as candidates. The memory of LiteRT and ncnn is without torch.

All but MNN's files hold one picture, so a batch is taken picture after picture.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from phonecv.benchmarking.calls import Arrays, Call
from phonecv.errors import UserError


def litert_call(path: Path | str, given: Arrays, *, threads: int) -> Call:
    """A .tflite file in LiteRT with XNNPACK. Pictures are copied into its input, which is part of the call."""
    from ai_edge_litert.interpreter import Interpreter

    from phonecv.exporting.litert.opening import dequantized, quantized

    interpreter = Interpreter(model_path=str(path), num_threads=threads)
    details, laid, last = interpreter.get_input_details(), [], False
    for detail, array in zip(details, given, strict=True):
        shape = [int(side) for side in detail["shape"]]
        turned = np.moveaxis(array, 1, -1) if array.ndim > 3 else array
        fits = [values for values in (array, turned) if list(values.shape[1:]) == shape[1:]]
        if not fits:
            raise UserError(f"{path} takes {' x '.join(map(str, shape))}, not {' x '.join(map(str, array.shape))}")
        laid.append(fits[0])
        last = last or fits[0] is not array
    interpreter.allocate_tensors()
    split = [_parts(values, int(detail["shape"][0])) for values, detail in zip(laid, details, strict=True)]
    batches = [
        [quantized(part, detail) for part, detail in zip(parts, details, strict=True)]
        for parts in zip(*split, strict=True)
    ]

    def one(batch: list[np.ndarray]) -> None:
        for detail, values in zip(details, batch, strict=True):
            interpreter.set_tensor(detail["index"], values)
        interpreter.invoke()

    def run() -> None:
        for batch in batches:
            one(batch)

    def outputs() -> list[np.ndarray]:
        found: list[list[np.ndarray]] = []
        for batch in batches:
            one(batch)
            values = [dequantized(interpreter.get_tensor(item["index"]), item) for item in _outputs(interpreter)]
            found.append([np.asarray(value, np.float32) for value in values])
        return [np.concatenate(values)[: len(given[0])] for values in zip(*found, strict=True)]

    return Call(run, outputs, "nhwc" if last else "nchw")


def _outputs(interpreter: Any) -> list[dict[str, Any]]:
    """The outputs in the order of the network: named map0, map1, ... by whoever wrote the file for timing."""
    if not interpreter.get_signature_list():
        return interpreter.get_output_details()
    named = interpreter.get_signature_runner().get_output_details()
    return [named[name] for name in sorted(named, key=lambda name: (len(name), name))]


def ncnn_call(path: Path | str, given: Arrays, *, threads: int) -> Call:
    """A .param file and its weights in ncnn, on the CPU in float32."""
    import ncnn

    from phonecv.exporting.ncnn.opening import find_weights, load

    path = Path(path)
    net = load(path, find_weights(path), threads=threads, half=False)
    (entry,), results = net.input_names(), net.output_names()
    (images,) = given
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


def mnn_call(path: Path | str, given: Arrays, *, threads: int) -> Call:
    """A .mnn file in MNN, on the CPU in float32."""
    from phonecv.exporting.mnn.exporter import load, run

    module = load(path, threads=threads, half=False)
    (images,) = given
    return Call(lambda: run(module, images), lambda: [np.array(value) for value in run(module, images)], "nchw")


def executorch_call(path: Path | str, given: Arrays, *, threads: int) -> Call:
    """A .pte file in ExecuTorch with XNNPACK; it takes as many threads as told, not as many as there are cores."""
    from phonecv.exporting.executorch.exporter import open_session

    session = open_session(Path(path), threads=threads)
    if session.size is not None and given[0].shape[-2:] != session.size:
        (height, width), found = session.size, given[0].shape[-2:]
        raise UserError(f"{path} takes {height}x{width} pixels, not {found[0]}x{found[1]}")
    count = len(given[0])
    parts = list(zip(*(_parts(array, session.batch or count) for array in given), strict=True))

    def run() -> None:
        for part in parts:
            session.run(*part)

    def outputs() -> list[np.ndarray]:
        found = [session.run(*part) for part in parts]
        # Copies: the arrays are views of memory that the next run writes to.
        joined = [np.concatenate(values)[:count] for values in zip(*found, strict=True)]
        return [np.array(value, np.float32) for value in joined]

    return Call(run, outputs, "nchw")


def _parts(rows: np.ndarray, batch: int) -> list[np.ndarray]:
    """Rows of an input in the batches that a file takes, the last one filled up."""
    count = -(-len(rows) // batch) * batch
    filled = np.ascontiguousarray(rows[np.arange(count) % len(rows)])
    return np.split(filled, count // batch)
