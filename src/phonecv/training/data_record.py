"""What a run remembers of its data, so that going on with other data is refused or told."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from phonecv.data.pictures.bit_depth import settle_depth
from phonecv.data.shards.index import size_of
from phonecv.errors import UserError
from phonecv.models.headed import Network
from phonecv.text import counted, some_names
from phonecv.weights.record import header_record

#: Files of a split whose size is looked at, evenly picked: asking for each takes minutes on a network disk.
_SIZES = 1000
#: Classes of a list that a message shows.
_SHOWN = 20


def data_record(
    classes: Sequence[str],
    files: Mapping[str, Sequence[Path]],
    root: Path,
    bits: int | None = None,
    labels: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Class names, and per split the number of pictures and digests of their names, sizes and labels; plain values.

    Args:
        classes: names, in label order.
        files: of each split.
        root: data folder.
        bits: of 16-bit pictures.
        labels: a digest of those of each split.
    """
    labels = labels or {}
    return {
        "root": str(root.resolve()),
        "classes": list(classes),
        "splits": {name: _digests(paths, root) | {"labels": labels.get(name, "")} for name, paths in files.items()},
        "bits": bits,
    }


def judged_by(record: Mapping[str, Any]) -> dict[str, Any]:
    """What figures have in common that can be compared: number and digest of the classes, and the validation split."""
    names = hashlib.blake2b(os.fsencode("\0".join(record["classes"])), digest_size=16).hexdigest()
    return {"classes": len(record["classes"]), "names": names, "val": record["splits"].get("val")}


def _digests(files: Sequence[Path], root: Path) -> dict[str, Any]:
    start = f"{os.fspath(root)}{os.sep}"
    names, sizes = hashlib.blake2b(digest_size=16), hashlib.blake2b(digest_size=16)
    every = max(1, len(files) // _SIZES)
    for place in range(len(files)):
        path = files[place]
        names.update(os.fsencode(os.fspath(path).removeprefix(start)) + b"\0")
        if place % every == 0:
            try:
                sizes.update(b"%d," % size_of(path))
            except OSError:  # told when its turn comes
                sizes.update(b"?")
    return {"pictures": len(files), "names": names.hexdigest(), "sizes": sizes.hexdigest()}


def settle_pictures(net: Network, pictures: Sequence[Path], before: Mapping[str, Any] | None) -> str:
    """Write into the network's preprocessing how 16-bit pictures are read, and say it; empty if there are none."""
    spec: Any = net.preprocessing
    if before and before.get("bits"):
        spec = replace(spec, bits=before["bits"])
    net.preprocessing, text = settle_depth(spec, pictures)
    return text


def check_classes(state: Mapping[str, Any], folder: Path, classes: Sequence[str]) -> None:
    """Refuse to go on where the rows of the classifier would come to mean other classes."""
    record = state.get("data")
    before = (record or header_record(folder / "last.safetensors")).get("classes")
    if before is None or list(before) == list(classes):
        return
    gone, new = [name for name in before if name not in classes], [name for name in classes if name not in before]
    what = [f"gone: {some_names(gone)}"] if gone else []
    what += [f"new: {some_names(new)}"] if new else []
    raise UserError(
        f"the classes are not those that the run in {folder} began with ({'; '.join(what) or 'their order differs'})."
        f" Then {len(before)}: {some_names(before, _SHOWN)}. Now {len(classes)}: {some_names(classes, _SHOWN)}."
        " Restore them to go on with that run, or choose another --out (run.out) to train on them"
    )


def check_moved(before: Mapping[str, Any] | None, folder: Path, now: Mapping[str, Any]) -> None:
    """Refuse to go on with the run in `folder` where its data are in another place and are others."""
    if before and before["root"] != now["root"] and (changes := changed_pictures(before, now)):
        raise UserError(
            f"the run in {folder} began with the pictures in {before['root']}, those in {now['root']} are others"
            f" ({changes}). Give the folder that holds the same pictures, wherever it is now, with --data (data.path),"
            " or choose another --out (run.out)"
        )


def changed_pictures(before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> str:
    """Says in what the pictures differ from those that a run began with; empty if they do not, or nobody knows."""
    texts = []
    for name, split in now["splits"].items():
        then = before["splits"].get(name) if before else None
        if not then or then == split:
            continue
        if then["pictures"] != split["pictures"]:
            texts.append(f"{counted(then['pictures'], f'{name} pictures')} then, {split['pictures']:,} now")
        elif then["names"] != split["names"]:
            texts.append(f"other {name} pictures than then, {split['pictures']:,} again")
        elif then["sizes"] != split["sizes"]:
            texts.append(f"{name} pictures have other contents than then")
        else:
            texts.append(f"{name} pictures have other labels than then")
    return "; ".join(texts)
