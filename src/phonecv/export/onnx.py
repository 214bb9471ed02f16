"""ONNX: written by PyTorch's exporter, run by ONNX Runtime, compared before the file gets its name."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from phonecv._version import __version__
from phonecv.errors import UserError
from phonecv.export import record_path
from phonecv.files import atomic_path, write_json, write_text
from phonecv.models import VisionModel
from phonecv.preprocessing import Preprocessing
from phonecv.runner import Runner

#: Metadata keys in the file start with this.
PREFIX = "phonecv."

#: Loggers of the exporter that write to the screen.
_LOGGERS = ("torch.onnx", "torch.export", "torch.fx", "onnxscript", "onnx_ir")


def export_onnx(
    network: VisionModel, path: Path, height: int, width: int, verify: bool, max_diff: float
) -> dict[str, Any]:
    """Write `network` (on the CPU, in evaluation mode) with a free batch size and a fixed height and width.

    The record (model, form, preprocessing, class names) goes into the file's metadata and into a JSON beside
    it. The exporter's own messages are kept from the screen; they are shown and kept when it fails.

    Returns:
        operators (nodes of the graph) and difference (None without `verify`).

    Raises:
        UserError: the exporter failed, or the file does not agree with PyTorch.
    """
    import onnx

    images = probe_images(height, width)
    expected = reference(network, images)
    record = describe(network, height, width)
    with atomic_path(path) as temporary:
        with captured() as log:
            failure: Exception | None = None
            try:
                write_graph(network, images[:2], temporary, list(expected))
            except Exception as error:  # whatever the exporter's many layers raise is its failure
                failure = error
        if failure is not None:
            log_path = path.with_name(path.name + ".log")
            write_text(log_path, log.getvalue() + "".join(traceback.format_exception(failure)))
            last = (str(failure).strip().splitlines() or [type(failure).__name__])[0]
            raise UserError(f"ONNX export of {network.name} failed: {last}; whole log: {log_path}") from failure
        proto = onnx.load(temporary)
        for key, value in record.items():
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            proto.metadata_props.add(key=PREFIX + key, value=text)
        onnx.checker.check_model(proto)
        onnx.save(proto, temporary)
        difference = compare(temporary, images, expected, max_diff, path) if verify else None
    write_json(record_path(path), {**record, "format": "onnx", "file": path.name, "difference": difference})
    return {"operators": len(proto.graph.node), "difference": difference}


def write_graph(network: nn.Module, example: Tensor, path: Path, outputs: list[str]) -> None:
    """Trace and write; only the batch size stays free."""
    torch.onnx.export(
        network,
        (example,),
        path,
        dynamo=True,
        input_names=["images"],
        output_names=outputs,
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        external_data=False,  # one file; mobile networks are far below protobuf's 2 GB
        verbose=False,
    )


def probe_images(height: int, width: int) -> Tensor:
    """Three inputs: noise, smooth colours, and a step, as different in statistics as pictures are."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(1, 3, height, width, generator=generator)
    coarse = torch.randn(1, 3, 4, 4, generator=generator)
    smooth = nn.functional.interpolate(coarse, size=(height, width), mode="bilinear", align_corners=False)
    step = torch.where(torch.arange(width) < width / 2, -1.5, 1.5).expand(1, 3, height, width)
    return torch.cat([noise, smooth, step])


@torch.inference_mode()
def reference(network: VisionModel, images: Tensor) -> dict[str, np.ndarray]:
    """PyTorch's outputs by name: "logits", or "stage1" ... of a dense backbone.

    Raises:
        UserError: they are not finite.
    """
    result = network(images)
    named = {"logits": result} if isinstance(result, Tensor) else {
        f"stage{stage}": value for stage, value in zip(network.out_indices or (), result, strict=True)
    }  # fmt: skip
    for name, value in named.items():
        if not value.isfinite().all():
            raise UserError(
                f"{name} of {network.name} holds NaN or infinity in PyTorch already; its weights are broken"
            )
    return {name: value.numpy() for name, value in named.items()}


def compare(path: Path, images: Tensor, expected: dict[str, np.ndarray], max_diff: float, name: Path) -> float:
    """Run the file at the whole batch and at batch 1 (the graph was traced with another) and compare.

    Returns:
        Largest absolute difference divided by max(1, largest output).

    Raises:
        UserError: it exceeds `max_diff`, or another class wins where PyTorch's two best are further apart than that.
    """
    session = start_session(path)
    worst = 0.0
    for part in (slice(0, len(images)), slice(0, 1)):
        outputs = session.run(list(expected), {"images": images[part].numpy()})
        for key, got in zip(expected, outputs, strict=True):
            want = expected[key][part]
            scale = max(1.0, float(np.abs(want).max()))
            difference = float(np.abs(got - want).max()) / scale
            if not difference <= max_diff:  # NaN fails, too
                raise UserError(
                    f"{name} was not written: {key} differ from PyTorch's by {difference:.2e} of the largest, "
                    f"{max_diff:.0e} is allowed (max_diff)"
                )
            if key == "logits" and not same_winner(want, got, max_diff * scale):
                raise UserError(f"{name} was not written: its best class is not PyTorch's")
            worst = max(worst, difference)
    return worst


def same_winner(want: np.ndarray, got: np.ndarray, tolerance: float) -> bool:
    """Whether each row's best class is the same; classes that tie within rounding may swap."""
    chosen = np.take_along_axis(want, got.argmax(1)[:, None], 1)[:, 0]
    return bool((want.max(1) - chosen <= 2 * tolerance).all())


def describe(network: VisionModel, height: int, width: int) -> dict[str, Any]:
    """The record that travels with the file."""
    return {
        "version": __version__,
        "model": network.name,
        "form": network.form,
        "overrides": network.overrides,
        "num_classes": network.num_classes,
        "classes": list(network.class_names) if network.class_names else None,
        "input_size": [height, width],
        "preprocessing": at_size(network.preprocessing, height, width).to_dict(),
    }


def at_size(preprocessing: Preprocessing, height: int, width: int) -> Preprocessing:
    """The preprocessing that makes this input: a square one changes its size, others keep the model's."""
    if height != width:
        return preprocessing
    return Preprocessing.from_dict({**preprocessing.to_dict(), "size": height})


# ------------------------------------------------------------------------------------------ running


def open_onnx(path: Path) -> Runner:
    """An ONNX classifier as a runner: ours with the record it carries, others with the usual preprocessing.

    Raises:
        UserError: not an ONNX file, weights outside its folder, or not a classifier of RGB pictures.
    """
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    refuse_outside_weights(path)
    session = start_session(path)
    inputs, outputs = session.get_inputs(), session.get_outputs()
    shape = list(inputs[0].shape)
    if len(inputs) != 1 or len(shape) != 4 or shape[1] != 3:
        wanted = ", ".join(f"{item.name} {item.shape}" for item in inputs)
        raise UserError(f"{path} takes {wanted}; a classifier takes one batch of pictures, B x 3 x H x W")
    classes = outputs[0].shape[-1]
    if len(outputs) != 1 or len(outputs[0].shape) != 2 or not isinstance(classes, int):
        gives = ", ".join(f"{item.name} {item.shape}" for item in outputs)
        raise UserError(f"{path} gives {gives}; a classifier gives one table of logits, B x classes")
    metadata = session.get_modelmeta().custom_metadata_map
    record = {key.removeprefix(PREFIX): value for key, value in metadata.items() if key.startswith(PREFIX)}
    preprocessing = Preprocessing()
    if "preprocessing" in record:
        preprocessing = Preprocessing.from_dict(json.loads(record["preprocessing"]))
    elif isinstance(shape[2], int):
        preprocessing = at_size(preprocessing, shape[2], shape[2])
    if [side for side in shape[2:] if isinstance(side, int) and side != preprocessing.size]:
        raise UserError(
            f"{path} takes {shape[2]} x {shape[3]} pixels; evaluation and prediction crop squares, "
            "so export with one number for the size"
        )
    names = json.loads(record.get("classes", "null"))
    name, form = record.get("model") or path.name, record.get("form", "unknown")
    input_name = inputs[0].name

    def run(images: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {input_name: images.numpy()})[0]).float()

    return Runner(
        description=f"{name}, {form} form, ONNX Runtime",
        run=run,
        preprocessing=preprocessing,
        num_classes=classes,
        class_names=tuple(names) if names else None,
        batch=shape[0] if isinstance(shape[0], int) else None,
        details={"model": name, "form": form, "runtime": "onnxruntime", "file": str(path)},
    )


def start_session(path: Path) -> Any:
    """ONNX Runtime on the CPU with torch's number of threads.

    Raises:
        UserError: the file is not a usable ONNX model.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    # Threads that spin while waiting slow each other, and everything else, down on a busy machine.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no base class of their own
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path} cannot be used as an ONNX model: {reason}") from error


def refuse_outside_weights(path: Path) -> None:
    """Refuse a file whose weights lie outside its folder: reading them would open any file of the machine.

    Raises:
        UserError: it does, or it is not an ONNX file.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        proto = onnx.load(path, load_external_data=False)
    except (DecodeError, ValueError, OSError) as error:
        raise UserError(f"{path} is not an ONNX file ({type(error).__name__})") from error
    folder = path.resolve().parent
    for tensor in [*proto.graph.initializer, *_attribute_tensors(proto.graph)]:
        for entry in tensor.external_data:
            if entry.key == "location" and not (folder / entry.value).resolve().is_relative_to(folder):
                raise UserError(f"{path} was refused: its weights {entry.value!r} lie outside its folder")


def _attribute_tensors(graph: Any) -> Iterator[Any]:
    for node in graph.node:
        for attribute in node.attribute:
            yield attribute.t
            yield from attribute.tensors
            for inner in [attribute.g, *attribute.graphs]:
                yield from inner.initializer
                if inner.node:
                    yield from _attribute_tensors(inner)


@contextlib.contextmanager
def captured() -> Iterator[io.StringIO]:
    """Collect what is printed, warned and logged inside, instead of showing it."""
    log = io.StringIO()
    handler: logging.Handler = logging.StreamHandler(log)
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    before = [(logger.propagate, list(logger.handlers)) for logger in loggers]
    for logger in loggers:
        logger.propagate, logger.handlers = False, [handler]
    try:
        with (
            contextlib.redirect_stdout(log),
            contextlib.redirect_stderr(log),
            warnings.catch_warnings(record=True) as w,
        ):
            warnings.simplefilter("always")
            try:
                yield log
            finally:
                log.write("".join(f"{item.category.__name__}: {item.message}\n" for item in w))
    finally:
        for logger, (propagate, handlers) in zip(loggers, before, strict=True):
            logger.propagate, logger.handlers = propagate, handlers
