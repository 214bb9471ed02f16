"""The names of pictures in a COCO file: which are safe, which are there, and which are there under a near name."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from phonecv.data.json_file import shown
from phonecv.data.pictures.opening import is_image_name, scan_images
from phonecv.data.split_names import ALIASES
from phonecv.text import printable_name

#: Stands before what is not looked for; nothing of this name is in a folder of pictures.
REFUSED = ".refused"

#: What Label Studio puts before the name of an uploaded file.
_UPLOAD = re.compile(r"\A[0-9a-f]{8}-")
#: A folder of one split, perhaps with a year.
_SPLIT = re.compile(rf"({'|'.join(name for names in ALIASES.values() for name in names)})([-_]?\d+)?")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def called(name: Any) -> str:
    """A picture's file name for a message, whatever it is."""
    return printable_name(name) if isinstance(name, str) else shown(name)


def unsafe_name(name: Any) -> str:
    """Why a picture's file name is refused; empty if it is a path that stays below its folder."""
    if not isinstance(name, str) or not name:
        return f"file_name {shown(name)} is not the name of a file"
    if _ADDRESS.match(name):
        return f"file_name {shown(name)} is a web address; nothing is downloaded, give a path relative to the folder"
    path = PurePosixPath(name)
    windows = PureWindowsPath(name)
    if path.is_absolute() or windows.anchor:
        return f"file_name {shown(name)} is an absolute path; give one relative to the folder of the pictures"
    if ".." in windows.parts:  # both kinds of separators
        return f"file_name {shown(name)} leaves the folder of the pictures"
    try:
        if b"\0" in os.fsencode(name):
            return f"file_name {shown(name)} holds a zero character"
    except UnicodeEncodeError:
        return f"file_name {shown(name)} is not text that a file can be called"
    return ""


def clean_name(name: str) -> str:
    """A safe file name with "/" between its parts, as in files made on Windows it is not."""
    return str(PurePosixPath(name.replace("\\", "/")))


def near_names(folder: Path, wanted: Mapping[int, Any], taken: Collection[str]) -> dict[int, str]:
    """Files below `folder` that are meant by names under which nothing is there.

    Folders before a name may be those of another machine, letters may be escaped as in addresses or composed otherwise,
    capitals and ``.jpeg`` for ``.jpg`` do not count, and neither does what Label Studio puts before an upload. A file
    is taken where one alone fits, and only for one name; nothing outside the folder ever is, and nothing in the folder
    of a split that the name does not speak of, for splits often number their pictures alike.
    """
    files = [name for name in scan_images(folder) if name not in taken] if folder.is_dir() else []
    found: dict[int, str] = {}
    for loosen in (_alike, _without_upload, _without_ending):
        index: dict[str, list[str]] = defaultdict(list)
        for name in files:
            index[loosen(name.rpartition("/")[2])].append(name)
        for row, name in wanted.items():
            if row not in found and isinstance(name, str) and (file := _nearest(path_of(name), index, loosen)):
                found[row] = file
    rows: dict[str, list[int]] = defaultdict(list)
    for row, name in found.items():
        rows[name].append(row)
    return {those[0]: name for name, those in rows.items() if len(those) == 1}


def path_of(name: str) -> list[str]:
    """The parts of a path in a name of any kind."""
    if _ADDRESS.match(name) or "?" in name:
        try:
            address = urlsplit(name)
            # Label Studio's local files: /data/local-files/?d=folder/name
            name = parse_qs(address.query).get("d", [address.path])[0]
        except ValueError:  # not an address after all
            return []
    return [part for part in unquote(name).replace("\\", "/").split("/") if part not in ("", ".", "..")]


def _nearest(parts: list[str], index: Mapping[str, list[str]], loosen: Any) -> str:
    """The file of that name whose folders agree with the last ones of `parts` farthest, if it is one alone."""
    if not parts:
        return ""
    folders = {part.casefold() for part in parts[:-1]}
    there = [
        one
        for one in index.get(loosen(parts[-1]), [])
        if all(part in folders for part in one.casefold().split("/")[:-1] if _SPLIT.fullmatch(part))
    ]
    if len(there) < 2:
        return there[0] if there else ""
    agree = [_common([_alike(part) for part in parts[:-1]], [_alike(p) for p in one.split("/")[:-1]]) for one in there]
    best = max(agree)
    return there[agree.index(best)] if agree.count(best) == 1 else ""


def _common(first: list[str], second: list[str]) -> int:
    """How many of the last parts of two paths are the same."""
    count = 0
    for one, other in zip(reversed(first), reversed(second), strict=False):
        if one != other:
            break
        count += 1
    return count


def _alike(name: str) -> str:
    stem, dot, ending = unicodedata.normalize("NFC", unquote(name)).casefold().strip().rpartition(".")
    return f"{stem}{dot}{'jpg' if ending in ('jpeg', 'jpe') else ending}"


def without_upload(name: str) -> str:
    """A name without what Label Studio puts before it."""
    return _UPLOAD.sub("", name)


def _without_upload(name: str) -> str:
    return without_upload(_alike(name))


def _without_ending(name: str) -> str:
    """Only a name that has no ending of a picture may leave it out."""
    plain = _without_upload(name)
    return plain.rpartition(".")[0] + "." if is_image_name(plain) else plain + "."


def file_names(folder: Path) -> list[str]:
    """What is directly in a folder, in order; nothing where there is none."""
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208
    except OSError:  # there is none, or its name is too long to be one; what is looked for is not there then
        return []


def exists(path: Path) -> bool:
    """Whether there is something of this name."""
    # Not Path.exists, which raises an error for names that are too long.
    return os.path.exists(path)  # noqa: PTH110
