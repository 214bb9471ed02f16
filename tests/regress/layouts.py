from __future__ import annotations

from pathlib import Path

from phonecv.data.findings import Look, Notes, Numbers
from phonecv.data.layouts import Layout
from regress.data import read_split


def has_numbers(root: Path) -> bool:
    return (root / "train.csv").is_file()


def audit(notes: Notes, root: Path, look: Look) -> Numbers:
    del look
    splits = {name: read_split(root, name) for name in ("train", "val")}
    for split in splits.values():
        for path in split.paths:
            if not path.is_file():
                notes.add("missing", "error", path, "there is no such picture")
    return {name: {"images": len(split.paths)} for name, split in splits.items()}, 0


LAYOUTS = (Layout("numbers", "regress", has_numbers, audit, {"missing": "remove the line"}),)
