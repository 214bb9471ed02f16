"""Whether a torch.export file can be opened without running anything in it.

PyTorch's loader unpickles example inputs and some tensors, gives the text of size expressions to a parser that
evaluates Python, and makes Python from names in the graph. A file passes only if it has nothing of the kind: plain
tensors, operators of PyTorch, expressions of whole numbers.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from phonecv.errors import UserError
from phonecv.exporting.fields import FileRecord, checked_fields

#: Name of the record within the archive, as PyTorch calls it; it puts such files into a folder "extra".
RECORD = "phonecv.json"

#: Files of an archive: the graph, lists of tensors, the tensors, and what says how they are stored.
_KNOWN = re.compile(
    r"(archive_format|archive_version|byteorder|version|models/model\.json"
    r"|data/(weights|constants)/model_(weights|constants)_config\.json"
    r"|data/(weights/weight|constants/tensor)_\d+|data/sample_inputs/model\.pt"
    r"|extra/" + re.escape(RECORD) + r"|\.data/(serialization_id|version)|\.format_version|\.storage_alignment)"
)
#: Operators: PyTorch's own and the suppression of torchvision, and arithmetic of sizes.
_OPERATOR = re.compile(r"(torch\.ops\.(aten|torchvision)\.\w+\.\w+|_operator\.\w+|math\.\w+|torch\.sym_\w+)")
_REFUSED = re.compile(r"torch\.ops\.aten\.(from_file|save|load)\b|_operator\.(methodcaller|attrgetter|call)\b")
#: Texts elsewhere are names: without brackets, quotes and signs nothing in them can be called.
_NAME = re.compile(r"[\w.+\-:/]*")
#: Keys of a dictionary, as JSON once more.
_KEYS = re.compile(r"[\w.\[\]\", ]*")
#: A size as text: sympy's functions of symbols and whole numbers that are not too long to compute with.
_EXPRESSION = re.compile(r"[\w+*/(), \-<>=]*")
_SYMBOL = re.compile(r"Symbol\('([suf]\d+)'")
_WORD = re.compile(r"[A-Za-z_]\w*|\d{10,}")
_WORDS = {
    "Symbol", "positive", "nonnegative", "integer", "Integer", "Rational", "Add", "Mul", "Pow", "FloorDiv", "CeilDiv",
    "ModularIndexing", "Mod", "PythonMod", "CleanDiv", "Max", "Min", "ceiling", "floor", "TruncToInt", "CeilToInt",
    "FloorToInt", "ToFloat", "IntTrueDiv", "Equality", "Unequality", "LessThan", "StrictLessThan", "GreaterThan",
    "StrictGreaterThan", "Eq", "Ne", "Le", "Lt", "Ge", "Gt", "And", "Or", "Not", "True", "False", "oo", "int_oo",
}  # fmt: skip


def checked_record(path: Path) -> FileRecord:
    """The record in the archive, after a look at everything else in it; empty if it has none."""
    try:
        with zipfile.ZipFile(path) as archive:
            return _check(path, archive)
    except (zipfile.BadZipFile, OSError, UnicodeDecodeError, ValueError, RecursionError, KeyError) as error:
        raise UserError(f"{path} is not a torch.export file ({type(error).__name__}: {error})") from error


def _check(path: Path, archive: zipfile.ZipFile) -> FileRecord:
    record: FileRecord = {}
    graphs = 0
    seen = set()
    for entry in archive.infolist():
        # The archive's folder has the file's name or another; everything is below it.
        name = "/".join(PurePosixPath(entry.filename).parts[1:])
        if not _KNOWN.fullmatch(name) or name in seen:
            _refuse(path, f"the unknown entry {entry.filename[:80]!r}")
        seen.add(name)
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > path.stat().st_size:
            _refuse(path, "compressed entries")
        if name.startswith("data/sample_inputs") and entry.file_size:
            _refuse(path, "pickled example inputs")
        if not name.endswith(".json"):
            continue
        content = json.loads(archive.read(entry).decode("utf-8"))
        if name == f"extra/{RECORD}":
            record = checked_fields(content, f"the record in {path}")
        elif name == "models/model.json":
            graphs += 1
            _check_graph(path, content)
        elif any(key == "use_pickle" and value is not False for key, value in _leaves(content)):
            _refuse(path, "pickled tensors")
    if graphs != 1:
        raise UserError(f"{path} is not a torch.export file (it holds {graphs} graphs)")
    return record


def _check_graph(path: Path, content: Any) -> None:
    for key, value in _leaves(content):
        if not isinstance(value, str):
            continue
        if key == "target" and value.startswith(("torch.", "_operator.", "math.")):
            good = _OPERATOR.fullmatch(value) is not None and not _REFUSED.match(value)
        elif key == "expr_str":
            plain = _SYMBOL.sub(r"Symbol(\1", value)
            words = set(_WORD.findall(plain)) - _WORDS
            good = _EXPRESSION.fullmatch(plain) is not None and all(re.fullmatch(r"[suf]\d+", word) for word in words)
        elif key in ("in_spec", "out_spec"):
            # How inputs and outputs nest, as JSON within the JSON.
            nested = _leaves(json.loads(value)) if value else ()
            texts = [(inner, text) for inner, text in nested if isinstance(text, str)]
            good = all((_KEYS if inner == "context" else _NAME).fullmatch(text) for inner, text in texts)
        else:
            good = _NAME.fullmatch(value) is not None
        if not good or key == "guards_code":
            _refuse(path, f"{key} {value[:80]!r}")


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """All values of nested JSON with the key nearest to them; the keys themselves, too."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield "key", name
            yield from _leaves(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner, key)
    else:
        yield key, value


def _refuse(path: Path, what: str) -> None:
    raise UserError(
        f"{path} was refused: it holds {what}, and PyTorch's loader could run code from it; "
        "only files that `phonecv export` wrote are opened"
    )
