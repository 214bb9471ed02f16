"""The exported files that the phone page is offered, and what it needs to know about each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from phonecv.bundles.languages import LANGUAGES
from phonecv.bundles.room import bundling_of
from phonecv.errors import UserError
from phonecv.exporting.fields import FileRecord
from phonecv.files import sha256
from phonecv.opening import opening_room
from phonecv.preprocessing import Preprocessing
from phonecv.task import DEFAULT_TASK

#: Suffixes that run in a browser, and what the page calls the format.
FORMATS = {".onnx": "onnx", ".tflite": "litert"}


@dataclass(frozen=True)
class PageModel:
    """One file for the page.

    Attributes:
        path: the file.
        name: on the page and in its figures; unique.
        format: "onnx" or "litert".
        digest: SHA-256 of the file.
        record: what was written with it; empty for a file of another's.
        picture: the picture it is checked on, or None.
        outputs: per output what PyTorch gave for that picture, or None where it is not known.
    """

    path: Path
    name: str
    format: str
    digest: str
    record: FileRecord
    picture: Path | None = None
    outputs: tuple[tuple[float, ...] | None, ...] = ()

    def to_page(self, number: int) -> dict[str, Any]:
        """Plain values for the page; addresses are relative to it."""
        from phonecv.exporting.record import preprocessing_of

        record = self.record
        size = record.get("input_size") or [224, 224]
        test = {"url": f"tests/{number}.png", "outputs": self.outputs} if self.picture else None
        return {
            "name": self.name,
            "title": self.title(),
            "url": f"models/{number}",
            "format": self.format,
            "bytes": self.path.stat().st_size,
            "precision": record.get("precision", "float32"),
            "task": self.task,
            "model": record.get("model", ""),
            "form": record.get("form", "unknown"),
            "sha256": self.digest,
            "input_size": list(size),
            "baked": record.get("input_range") == "pixels 0..255",
            "preprocessing": (preprocessing_of(record) or Preprocessing()).to_dict(),
            "classes": self.classes(),
            "outputs": list(record.get("outputs", ())),
            "guessed": not record.get("report", {}).get("inputs"),
            **{name: self.made_place(name, number) for name in ("reader", "draw") if name in self.sources},
            "test": test,
        }

    @cached_property
    def sources(self) -> Mapping[str, str]:
        """JavaScript that feeds the file and shows its answers, as bundles hold it: "reader" and "draw".

        Empty where the record tells too little; what a classifier's does not tell is guessed.
        """
        guess = {
            "preprocessing": Preprocessing().to_dict(),
            "num_classes": len(self.record.get("classes") or ()) or 1000,
        }
        record = cast(FileRecord, guess | {"outputs": ["logits"], "input_size": [224, 224]} | dict(self.record))
        room = bundling_of(record)
        if any(name not in record for name in room.NEEDED_FIELDS) or room.why_no_readers(record):
            return {}
        reader = room.reader_files(record, self.name)[LANGUAGES["JavaScript"].file]
        return {"reader": reader, "draw": room.app_sources(record)["draw.js"]}

    def made_place(self, name: str, number: int) -> str:
        """Where the page finds one of them."""
        return f"{name}{number}.mjs"

    def title(self) -> str:
        """Network and precision for the page; the file's own name where its record does not say."""
        model, precision = self.record.get("model"), self.record.get("precision", "float32")
        return f"{model}, {precision}" if model else self.name

    @property
    def task(self) -> str:
        """Key of `phonecv.task.TASKS`."""
        return self.record.get("task", DEFAULT_TASK)

    def classes(self) -> list[str] | None:
        """A name for every class, as `predict` has them; None where only numbers are known.

        The page takes those that are not the file's own only if it has as many outputs.
        """
        names = opening_room(self.task).names_in(self.record)
        return None if names is None else list(names)


def open_models(sources: Sequence[str | Path]) -> list[PageModel]:
    """The files for the page."""
    paths = list(dict.fromkeys(Path(source) for source in sources))
    if not paths:
        raise UserError("name the exported files to offer, as in `phonecv bench --serve signs.onnx signs.tflite`")
    for path in paths:
        if path.suffix.lower() not in FORMATS:
            raise UserError(
                f"{str(path)!r} does not run in a browser; {' and '.join(FORMATS)} files do, and `phonecv export` "
                "writes them"
            )
        if not path.is_file():
            raise UserError(f"there is no file {str(path)!r}")
    stems = [path.name for path in paths]
    return [_open(path, path.name if stems.count(path.name) == 1 else str(path)) for path in paths]


def _open(path: Path, name: str) -> PageModel:
    from phonecv.exporting.assumed import tell_assumed
    from phonecv.exporting.record import find_record

    record = find_record(path)
    tell_assumed(path, record, Preprocessing())
    picture, outputs = _test(path, record)
    digest = sha256(path)
    return PageModel(path, name, FORMATS[path.suffix.lower()], digest, record, picture, outputs)


def _test(path: Path, record: FileRecord) -> tuple[Path | None, tuple[tuple[float, ...] | None, ...]]:
    test = record.get("test", {})
    if "picture" not in test:
        return None, ()
    picture = path.with_name(test["picture"])
    # A link may lead anywhere, and whoever made the file may have made the link.
    if picture.suffix.lower() != ".png" or picture.is_symlink() or not picture.is_file():
        return None, ()
    found = test.get("outputs", {})
    values = (found.get(name, {}).get("values") for name in record.get("outputs", ()))
    return picture, tuple(None if value is None else tuple(float(number) for number in value) for value in values)
