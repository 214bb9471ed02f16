"""The lists of a division in a run folder: plain list files, one sample a line, that can be given again."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from phonecv.data.folders.class_names import text_lines
from phonecv.data.folders.splits import find_split
from phonecv.data.shards.index import is_there
from phonecv.data.split_names import SPLITS
from phonecv.errors import UserError
from phonecv.files import atomic_path
from phonecv.plain_yaml import read_yaml_file
from phonecv.text import printable

#: Folder of the lists within a run folder.
FOLDER = "split"
#: Names of a list that are looked up, to tell whether a folder holds its samples.
_LOOKED_UP = 20
#: Folders above a model in which the lists of its run are looked for: files of a run are mostly written into it.
_ABOVE = 3


@dataclass(frozen=True, slots=True)
class Division:
    """How data without splits was divided.

    Attributes:
        train: names of the samples that are trained on, relative to the data folder.
        val: of those that are held out.
        note: how they were chosen, for people.
    """

    train: tuple[str, ...]
    val: tuple[str, ...]
    note: str = ""


def list_of(run: Path, split: str) -> Path:
    """The list of a split in a run folder."""
    return run / FOLDER / f"{split}.txt"


def write_division(run: Path, division: Division, words: Mapping[str, str] | None = None) -> None:
    """Write the lists into a run folder; `words` are the classes of the samples, where the lists hold them, too."""
    for split in SPLITS:
        names: Sequence[str] = getattr(division, split)
        if odd := next((name for name in names if "\n" in name or "\r" in name or "\t" in name), None):
            raise UserError(f"{printable(odd)}: a line break or tab in a name, which no list can hold; rename the file")
        lines = [f"# {line}" for line in division.note.splitlines()]
        # A name that begins like a comment is none.
        shown = [f"./{name}" if name.startswith("#") else name for name in names]
        ends = [f"\t{words[name]}" if words else "" for name in names]
        lines += [f"{name}{end}" for name, end in zip(shown, ends, strict=True)]
        with atomic_path(list_of(run, split)) as path:
            path.write_bytes(os.fsencode("\n".join(lines) + "\n"))


def read_division(run: Path) -> Division | None:
    """What `write_division` wrote; None where it did not.

    Raises:
        UserError: a list can't be read.
    """
    if not all(list_of(run, split).is_file() for split in SPLITS):
        return None
    train, val = (tuple(read_names(list_of(run, split))) for split in SPLITS)
    return Division(train, val)


def read_names(path: Path) -> list[str]:
    """The names in a list that was written by `write_division`."""
    try:
        text = os.fsdecode(path.read_bytes())
    except OSError as error:
        raise UserError(f"{printable(path)}: the list can't be read ({error.strerror})") from error
    return [line.partition("\t")[0].removeprefix("./") for _, line in text_lines(text)]


def own_list(model: object, data: object, split: str) -> Path | None:
    """The list of a split that the run of a model left, if its samples are those of a data folder or file.

    Looked for are run folders that the model's file lies in, or somewhat below.
    """
    if split not in SPLITS or not isinstance(model, Path | str) or not isinstance(data, Path | str):
        return None
    root = Path(data) if Path(data).is_dir() else Path(data).parent
    if not Path(model).exists() or not root.is_dir() or find_split(root, split) is not None:
        return None
    near = Path(model).absolute().parents[:_ABOVE]
    # As the person wrote it where that leads there.
    for folder in (*Path(model).parents, *near):
        if folder.absolute() not in near:
            continue
        path = list_of(folder, split)
        names = read_names(path)[:_LOOKED_UP] if path.is_file() else []
        there = any(is_there(root / name) or (root / name).is_dir() for name in names)
        if there and not _learnt_elsewhere(folder, root):
            return path
    return None


def own_lists(model: object, data: object) -> tuple[Path, Path] | None:
    """The lists of what the run of a model trained on and held out, for a data folder of its own, see `own_list`."""
    held = own_list(model, data, "val") if isinstance(data, Path | str) and Path(data).is_dir() else None
    return None if held is None else (held.with_name("train.txt"), held)


def listed_files(path: Path, root: Path) -> list[Path]:
    """The files below a data folder that a list of `write_division` names and that are there."""
    return [root / name for name in read_names(path) if is_there(root / name)]


def _learnt_elsewhere(run: Path, root: Path) -> bool:
    """Whether a run's settings name other data, which are still there: those may have samples of the same names."""
    settings = run / "config.yaml"
    content = read_yaml_file(settings, printable(settings)) if settings.is_file() else None
    group = content.get("data") if isinstance(content, Mapping) else None
    given = group.get("path") if isinstance(group, Mapping) else None
    if not isinstance(given, str) or not Path(given).exists():
        return False  # data that were moved
    return not root.samefile(given if Path(given).is_dir() else Path(given).parent)
