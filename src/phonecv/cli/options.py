"""Options that several verbs share, and what they mean."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from phonecv.cli.completing import formats_like, models_like
from phonecv.errors import UserError, near_path
from phonecv.files import check_writable
from phonecv.models.catalog import MODELS
from phonecv.models.names import check_named
from phonecv.options import check_verb
from phonecv.task import DEFAULT_TASK
from phonecv.text import printable

if TYPE_CHECKING:
    from phonecv.models.headed import Network


_NAMES = "`hf://owner/name` of the hub, or a name that `phonecv models` lists (NAME:TAG for other weights)."
Source = Annotated[str, Parameter(help=f"A checkpoint of any supported layout, {_NAMES}", completer=models_like)]
Runnable = Annotated[
    str,
    Parameter(help=f"A checkpoint of any layout, an exported .onnx file, {_NAMES}", completer=models_like),
]
RunnableOrResults = Annotated[
    str,
    Parameter(
        help=f"A checkpoint of any layout, an exported .onnx file, a .json file of COCO results, {_NAMES}",
        completer=models_like,
    ),
]
Model = Annotated[
    str | None,
    Parameter(
        name="--model",
        help="Name of the network, where the file leaves it open (its window size, for example).",
        completer=models_like,
    ),
]
Formats = Annotated[str | None, Parameter(completer=formats_like)]
Ema = Annotated[
    bool | None,
    Parameter(
        name="--ema",
        negative="--live",
        help="Averaged or live weights, where a training checkpoint holds both; never guessed.",
    ),
]
Force = Annotated[bool, Parameter(help="Replace an existing destination.")]


def loading(source: str, model: str | None, ema: bool | None, *, verb: str = "") -> dict[str, Any]:
    """Arguments for `phonecv.create.load_network` beside the source, checked before anything heavy is imported.

    A name of the catalog is refused where its task has no such `verb`.

    Raises:
        UserError: the source is neither a file nor a model; or a catalog name or an exported file, which leave nothing
            to choose.
    """
    check_named(source)
    if verb and source.partition(":")[0] in MODELS and not Path(source).exists():
        check_verb(DEFAULT_TASK, verb, source)
    chosen = {key: value for key, value in (("name", model), ("ema", ema)) if value is not None}
    if chosen:
        if source.partition(":")[0] in MODELS and not Path(source).exists():
            raise UserError(
                f"{source!r} is the name of a network; --model, --ema and --live choose within a checkpoint file "
                f"(NAME:TAG chooses among public weights, see `phonecv models --weights`)"
            )
        if Path(source).suffix == ".onnx":
            raise UserError(f"{source!r} is an exported file; --model, --ema and --live belong to checkpoints")
    return chosen


def by_torchrun() -> dict[str, Any]:
    """The option `devices`, where torchrun has started several processes."""
    from phonecv.sharing import torchrun_processes

    processes = torchrun_processes()
    return {"devices": processes} if processes > 1 else {}


def check_there(*sources: Path | str) -> None:
    """Refuse a file or folder that is not there, before anything heavy is imported; patterns are let through."""
    for source in sources:
        if not Path(source).exists() and not glob.has_magic(str(source)):
            raise UserError(f"{printable(source)}: no such file or folder{near_path(source)}")


def load(source: str, model: str | None, ema: bool | None) -> Network:
    """The network of a checkpoint of any layout or a catalog name with public weights, in evaluation mode."""
    chosen = loading(source, model, ema)
    from phonecv.create import load_network
    from phonecv.weights import Loading

    return load_network(source, task=None, loading=Loading(**chosen)).eval()


def destination(path: Path, *, force: bool, source: str, suffix: str = "", into: bool | None = None) -> Path:
    """The file to write, checked before any heavy work; a folder gets a file named after the source.

    It has to have the suffix, unless that is empty; `into` says whether `path` is a folder, None if that is to be
    seen.

    Raises:
        UserError: another suffix, the source itself, or a file that exists already (without `force`).
    """
    if suffix and (path.is_dir() if into is None else into):
        path = path / f"{Path(source.partition(':')[0]).stem}{suffix}"
    if into is None and path.is_dir():
        raise UserError(f"{str(path)!r} is a folder; name the file to write")
    if suffix and path.suffix.lower() != suffix:
        raise UserError(f"{str(path)!r} does not end in {suffix}; try {str(path.with_suffix(suffix))!r}")
    if path.exists() and Path(source).exists() and path.samefile(source):
        raise UserError(f"source and destination are both {str(path)!r}; choose another destination")
    if path.exists() and not force:
        raise UserError(f"{str(path)!r} exists already; --force replaces it")
    check_writable(path)
    return path


def listed(formats: str) -> list[str]:
    """Names separated by commas, each once."""
    return list(dict.fromkeys(name.strip() for name in formats.split(",") if name.strip()))


def numbers(option: str, text: str) -> list[int]:
    """``"1,16"`` -> ``[1, 16]``."""
    found = listed(text)
    if not found or not all(word.isdecimal() for word in found):
        raise UserError(f"{option} {text!r} is not a whole number, or several with commas such as 1,16")
    return [int(word) for word in found]


def pixels(size: str) -> int | tuple[int, int]:
    """``"224"`` -> 224, ``"224x320"`` -> (224, 320), height first."""
    parts = size.lower().split("x")
    if len(parts) > 2 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise UserError(f"size {size!r} is not a number of pixels such as 224, or HEIGHTxWIDTH such as 224x320")
    return int(parts[0]) if len(parts) == 1 else (int(parts[0]), int(parts[1]))
