"""The samples of shards: pictures and their labels, as a list file would give them.

As in WebDataset the files of a sample have one name up to the first dot: ``cat/1.jpg`` and ``cat/1.cls``, whose text is
the number or the name of the class, or ``cat/1.json``, an object that has it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

from phonecv.data.folders.class_names import natural_key
from phonecv.data.folders.list_file import ListFile, ListProblem
from phonecv.data.shards.index import LONGEST_TEXT, SUFFIX, open_index, read_at
from phonecv.data.split_names import ALIASES, WHOLE, split_names, split_of
from phonecv.errors import UserError
from phonecv.text import counted, printable, printable_name

#: What a picture's file may end with, and a label's; the first that a sample has counts.
_PICTURES = ("jpg", "jpeg", "png", "webp", "bmp", "tif", "tiff", "ppm", "gif", "avif", "heic")
_LABELS = ("cls", "json")
#: Names under which an object has the class.
_KEYS = ("cls", "label", "class", "class_id", "label_id", "class_name", "category", "target", "species")
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
#: Shards that a name in braces may stand for.
_MOST = 100_000
_WHOLE_NUMBER = re.compile(r"[0-9]{1,9}")


def find_shards(root: Path, split: str, given: Path | str | None = None) -> list[Path]:
    """The shards of a split: ``train-0000.tar`` and so on, or those in the split's folder; of "all" those of no split.

    Args:
        root: the data folder.
        split: which.
        given: a name such as ``train-{0000..0099}.tar`` in the place of looking.

    Raises:
        UserError: a shard that is named is not there.
    """
    if given is not None:
        if not os.fspath(given).endswith(SUFFIX):
            return []
        return [_there(root, name) for name in expanded(os.fspath(given))]
    if not root.is_dir():
        return []
    here = sorted((path for path in root.glob(f"*{SUFFIX}") if path.is_file()), key=lambda path: natural_key(path.name))
    if split == WHOLE:
        return here if not any(_split_in(path.name) for path in here) else []
    found = [path for path in here if _split_in(path.name) == split]
    folders = (root / name for name in split_names(split))
    return found or [path for folder in folders for path in sorted(folder.glob(f"*{SUFFIX}")) if path.is_file()]


def has_shards(root: Path) -> bool:
    """Whether a folder holds shards."""
    return any(find_shards(root, split) for split in (*ALIASES, WHOLE))


def expanded(name: str) -> list[str]:
    """The names that ``a-{00..12}.tar`` stands for."""
    found = _RANGE.search(name)
    if found is None:
        return [name]
    first, last = found.groups()
    if not 0 <= int(last) - int(first) < _MOST:
        raise UserError(f"{printable(name)}: {{{first}..{last}}} is no range of at most {_MOST:,} shards")
    numbers = (str(number).zfill(len(first)) for number in range(int(first), int(last) + 1))
    every = (other for number in numbers for other in expanded(name[: found.start()] + number + name[found.end() :]))
    return list(islice(every, _MOST))


def read_shards(shards: Sequence[Path], root: Path, *, classes: int | None = None) -> ListFile:
    """Every picture of some shards with its label; a line is the number of the sample.

    Args:
        shards: the files, below `root`.
        root: the data folder.
        classes: how many there are, to check numbers; None takes what there is.

    Raises:
        UserError: a shard that can't be used.
    """
    paths: list[str] = []
    words: list[str] = []
    problems: list[ListProblem] = []
    alone = 0
    for shard in shards:
        index = open_index(shard)
        samples: dict[str, dict[str, int]] = {}
        for place in range(len(index.names)):
            name = os.fsdecode(index.names[place])
            folder, slash, leaf = name.rpartition("/")
            stem, _, ending = leaf.partition(".")
            samples.setdefault(f"{folder}{slash}{stem}", {})[ending.lower()] = place
        for parts in samples.values():
            picture = next((parts[ending] for ending in _PICTURES if ending in parts), None)
            if picture is None:
                alone += 1
                continue
            path = f"{_below(shard, root)}/{os.fsdecode(index.names[picture])}"
            ending = next((one for one in _LABELS if one in parts), "")
            size = int(index.sizes[parts[ending]]) if ending else 0
            told = read_at(shard, int(index.offsets[parts[ending]]), size) if 0 < size <= LONGEST_TEXT else b""
            word = _label(told, ending)
            number = len(paths) + len(problems) + 1
            if word is None:
                problems.append(ListProblem(number, "label", f"{printable_name(path)}: no label in a .cls or .json"))
            elif classes is not None and _WHOLE_NUMBER.fullmatch(word) and int(word) >= classes:
                problems.append(
                    ListProblem(number, "label", f"{printable_name(path)}: label {word} of {classes} classes")
                )
            else:
                paths.append(path)
                words.append(word)
    numbered = all(_WHOLE_NUMBER.fullmatch(word) for word in words)
    return ListFile(
        path=shards[0],
        paths=tuple(paths),
        labels=tuple(map(int, words)) if numbered else None,
        lines=tuple(range(1, len(paths) + 1)),
        problems=tuple(problems),
        class_names=None if numbered else tuple(words),
        notes=(f"left out without a picture: {counted(alone, 'samples')}",) if alone else (),
    )


def _label(text: bytes, ending: str) -> str | None:
    """The class that a text tells, if it does."""
    try:
        told = text.decode("utf-8-sig").strip()
        if ending != "json":
            return told or None
        content = json.loads(told or "null")
    except (ValueError, RecursionError):
        return None
    if isinstance(content, dict):
        content = next((content[key] for key in _KEYS if isinstance(content.get(key), int | str)), None)
    return str(content).strip() or None if isinstance(content, int | str) and not isinstance(content, bool) else None


def _split_in(name: str) -> str | None:
    """The split that a shard's name speaks of."""
    parts: Iterable[str] = re.split(r"[^A-Za-z]+", name.removesuffix(SUFFIX))
    return next((split for part in parts if (split := split_of(part))), None)


def _there(root: Path, name: str) -> Path:
    found = next((path for path in (root / name, Path(name)) if path.is_file()), None)
    if found is None:
        raise UserError(f"{printable(name)}: no such shard, neither below {printable(root)} nor here")
    return found


def _below(shard: Path, root: Path) -> str:
    return (shard.relative_to(root) if shard.is_relative_to(root) else shard.absolute()).as_posix()
