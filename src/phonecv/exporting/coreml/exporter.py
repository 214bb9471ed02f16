"""Core ML: ML programs for iOS 16 and macOS 13 or later, written by coremltools.

Core ML itself runs on Apple's systems alone. Here the saved package is read back and evaluated by an interpreter of its
operators (`phonecv.exporting.coreml.interpreter`), which shows that the right program was written.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from phonecv.devices import torch_threads
from phonecv.errors import UserError
from phonecv.exporting.coreml.graph import operators_of
from phonecv.exporting.coreml.interpreter import Interpreter
from phonecv.exporting.coreml.package import Package, open_package
from phonecv.exporting.coreml.preview import labels, preview
from phonecv.exporting.coreml.program import read_program
from phonecv.exporting.coreml.toolkit import DECOMPOSED, KNOWN_AS, teach, toolkit
from phonecv.exporting.fields import FileRecord, parse_record
from phonecv.exporting.four_axes import with_four_axes
from phonecv.exporting.inputs import Input, check_taken
from phonecv.exporting.job import Job, Session, Written
from phonecv.exporting.record import read_record
from phonecv.exporting.where.finding import found_in
from phonecv.preprocessing import RGB

#: Of the record in a package's metadata.
KEY = "phonecv"

#: Oldest system that runs the files: the first with 8-bit weights, and with float16 programs on the Neural Engine.
TARGET = "iOS16"

#: Weights of fewer values stay in floating point: they are most of the damage and none of the size.
WEIGHT_THRESHOLD = 2048

_OLDEST = 9


def write(job: Job, folder: Path) -> Written:
    """The package, with inputs of a fixed size, one picture at a time.

    A network with its normalisation baked in takes a picture (RGB), others an array. Arrays in and out are float32,
    which Swift reads everywhere; the program computes in float16 for "fp16" and "int8-weights".

    Raises:
        UserError: a size that should stay free, or a version of coremltools that is too old.
    """
    check_version(version("coremltools"))
    if job.dynamic_size:
        raise UserError("Core ML packages are written for one input size; leave out the free size")
    coremltools = toolkit()
    if [one.kind for one in job.taken] == ["pictures"]:  # clips have windows over frames
        job = replace(job, module=with_four_axes(job.module, job.row[0]))
    exported, modules = _captured(job)
    teach()
    half = job.precision in ("fp16", "int8-weights")
    with torch.inference_mode():
        results, names = job.module(*job.row), labels(job)
    model = coremltools.convert(
        exported,
        convert_to="mlprogram",
        inputs=_inputs(job),
        outputs=[
            coremltools.TensorType(name=name, dtype=np.float32 if result.is_floating_point() else np.int32)
            for name, result in zip(job.outputs, results, strict=True)
        ],
        # Of its labels Vision makes observations; it takes the place of the array of probabilities.
        classifier_config=coremltools.ClassifierConfig(names) if names else None,
        minimum_deployment_target=getattr(coremltools.target, TARGET),
        compute_precision=coremltools.precision.FLOAT16 if half else coremltools.precision.FLOAT32,
        skip_model_load=True,
    )
    settings: dict[str, Any] = {}
    if job.precision == "int8-weights":
        model, settings = _with_int8_weights(model, job, modules)
    _describe(model, job)
    model.user_defined_metadata.update(preview(job, results[0].ndim))
    path = folder / f"{job.stem}.mlpackage"
    model.save(str(path))
    # For ExecuTorch's debugger; Core ML's manifest does not know it.
    (path / "executorch_debug_handle_mapping.json").unlink(missing_ok=True)
    program = read_program(open_package(path))
    operators = operators_of(program, modules)
    image = _takes_picture(job)
    picture = {"name": "images", "layout": f"{_colours(job.taken[0])} picture", "type": "uint8"}
    arrays = [{"name": one.name, "layout": one.layout, "type": one.type} for one in job.taken]
    details = {
        "target": TARGET,
        "computes_in": "float16" if half else "float32",
        "inputs": [picture] if image else arrays,
        "checked": "by an interpreter of the program, not by Core ML",
        **({"settings": settings} if settings else {}),
    }
    return Written(path, len(operators), details | found_in("coreml", operators))


def check_version(found: str) -> None:
    """Refuse a coremltools that is too old, with the line that installs another."""
    if int(found.split(".")[0]) < _OLDEST:
        raise UserError(
            f"coremltools {found} is too old, {_OLDEST}.0 or later is needed;"
            f' install it with: pip install "coremltools>={_OLDEST}.0"'
        )


def _captured(job: Job) -> tuple[Any, dict[str, str]]:
    """PyTorch's graph, and the module behind each of its operations and parameters."""
    with torch.no_grad():
        exported = torch.export.export(job.module, job.row).run_decompositions(DECOMPOSED)
    for node in exported.graph.nodes:
        node.target = KNOWN_AS.get(node.target, node.target)
    modules = {}
    for node in exported.graph.nodes:
        stack = list(node.meta.get("nn_module_stack", {}).values())
        if stack:
            modules[node.name] = _path(stack[-1][0])
    for name, parameter in exported.graph_signature.inputs_to_parameters.items():
        modules[name] = _path(parameter.rpartition(".")[0])
    return exported, modules


def _path(module: str) -> str:
    """Of a module in the network rather than in what wraps it for the file."""
    return "" if module == "network" else module.removeprefix("network.")


def _takes_picture(job: Job) -> bool:
    """Whether the file takes a picture as apps have it; a clip of pixels 0..255 stays an array."""
    return job.record.get("input_range") == "pixels 0..255" and job.taken[0].kind == "pictures"


def _colours(one: Input) -> str:
    return "RGB" if one.shape[0] == RGB else "gray"


def _inputs(job: Job) -> list[Any]:
    from coremltools import ImageType, TensorType, colorlayout

    if _takes_picture(job):
        (one,) = job.taken
        layout = colorlayout.RGB if one.shape[0] == RGB else colorlayout.GRAYSCALE
        return [ImageType(name=one.name, shape=(1, *one.shape), color_layout=layout)]
    return [TensorType(name=one.name, shape=(1, *one.shape), dtype=np.dtype(one.type).type) for one in job.taken]


def _with_int8_weights(model: Any, job: Job, modules: Mapping[str, str]) -> tuple[Any, dict[str, Any]]:
    """Weights in 8 bits, symmetric, one scale for each output channel; what is computed stays float16."""
    from coremltools.optimize.coreml import OpLinearQuantizerConfig, OptimizationConfig, linear_quantize_weights

    from phonecv.exporting.ranges import chosen_modules

    threshold = int(job.settings.get("weight_threshold", WEIGHT_THRESHOLD))
    floating = [_path(path) for path in chosen_modules(job.module, job.settings.get("float_layers", ()))]
    kept = {
        name: None
        for name, layer in modules.items()
        if any(layer == path or layer.startswith(f"{path}.") for path in floating)
    }
    operations = [item for function in model._mil_program.functions.values() for item in function.operations]
    names = {item.name for item in operations if item.op_type == "const"}
    config = OptimizationConfig(
        global_config=OpLinearQuantizerConfig(mode="linear_symmetric", dtype="int8", weight_threshold=threshold),
        op_name_configs={name: None for name in names if name.removesuffix("_to_fp16") in kept},
    )
    settings = {
        "weights": "int8, symmetric, per output channel",
        "weight_threshold": threshold,
        "float_layers": floating,
    }
    return linear_quantize_weights(model, config), settings


def _describe(model: Any, job: Job) -> None:
    record = job.record
    model.short_description = " ".join(str(record.get(key, "")) for key in ("model", "task", "form")).strip()
    model.version = str(record.get("version", ""))
    model.author = f"exported by phonecv {record.get('version', '')}".strip()
    if record.get("licence"):
        model.license = str(record["licence"])
    model.user_defined_metadata[KEY] = json.dumps(dict(record), ensure_ascii=False)
    spec = record.get("preprocessing")
    normalised = f", normalised by mean {spec.get('mean')} and std {spec.get('std')}" if isinstance(spec, dict) else ""
    baked = record.get("input_range") == "pixels 0..255"
    for one in job.taken:
        if one.coloured:
            height, width = one.shape[-2:]
            what = f"{_colours(one)} picture" if one.kind == "pictures" else f"{one.shape[1]} RGB pictures, each"
            model.input_description[one.name] = f"{what}, {height} high and {width} wide{'' if baked else normalised}"
        else:
            model.input_description[one.name] = one.kind + ("" if one.most is None else f", 0 to {one.most:g}")


def open_session(path: Path, *, threads: int, precision: str = "float32") -> Session:
    """A package in the interpreter, where PyTorch computes; `precision` is no choice here: the program says it."""
    package = open_package(path)
    program = read_program(package)
    picture = _picture(package, [type_.shape for type_ in program.inputs.values()])
    record = _record(package) or read_record(path)
    batch, size = check_taken(path, {name: type_.shape for name, type_ in program.inputs.items()}, record)
    interpreter = Interpreter(program, str(path))

    def run(*arrays: np.ndarray) -> list[np.ndarray]:
        given = {}
        for (name, type_), array in zip(program.inputs.items(), arrays, strict=True):
            if not type_.fits(array.shape):
                raise UserError(f"{path} takes pictures of {list(type_.shape)}, not of {list(array.shape)}")
            given[name] = picture(torch.from_numpy(np.ascontiguousarray(array)))
        with torch_threads(threads):
            return [output.numpy() for output in interpreter(given)]

    return Session(run, f"interpreter of Core ML programs (coremltools {version('coremltools')})", batch, size, record)


def _picture(package: Package, shapes: Sequence[Sequence[int | None]]) -> Callable[[torch.Tensor], torch.Tensor]:
    """From numbers to what an app can give: a picture has whole values 0..255, and may be stored blue first."""
    kinds = [item.type for item in package.model.description.input]
    if len(kinds) != 1 or kinds[0].WhichOneof("Type") != "imageType":
        return lambda images: images
    image = kinds[0].imageType
    space = image.ColorSpace.Name(image.colorSpace)
    if space not in ("RGB", "BGR", "GRAYSCALE"):
        raise UserError(f"{package.path} takes pictures in {space}; phonecv gives RGB, BGR or GRAYSCALE")
    channels = 1 if space == "GRAYSCALE" else 3
    if len(shapes[0]) == 4 and shapes[0][1] not in (None, channels):
        raise UserError(f"{package.path} takes pictures in {space}, but its program {list(shapes[0])}")
    bgr = space == "BGR"
    return lambda images: (images.flip(1) if bgr else images).round().clamp(0, 255)


def record_within(path: Path) -> FileRecord:
    """The record in a package; empty if it has none."""
    return _record(open_package(path))


def _record(package: Package) -> FileRecord:
    text = package.model.description.metadata.userDefined.get(KEY)
    return {} if text is None else parse_record(text, f"the record in {package.path}")
