"""Pictures without labels: all of a folder, however nested."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from phonecv.classify.config import ClassifyConfig
from phonecv.data.findings import Problem
from phonecv.data.folders.listing import Listing, SampleTable
from phonecv.data.folders.splits import find_split
from phonecv.data.pictures.opening import Passed, scan_images
from phonecv.errors import UserError
from phonecv.text import counted, printable
from phonecv.training.checks import data_folder

#: Share that is held out where none is set, and the most of it: these pictures tell how near the student comes.
HELD_OUT, MOST = 0.05, 2000


def read_pictures(config: ClassifyConfig) -> tuple[Listing, Listing]:
    """The pictures to learn from and those held out; what folders they lie in says nothing.

    A folder with train/ and val/ is taken by its splits. Else a share (`data.val`) is held out by names: the same
    pictures each time, and most of them the same when others are added.

    Raises:
        UserError: there is no such folder, or it does not hold two pictures.
    """
    root = data_folder(config, "a folder of pictures, in folders of any kind or none")
    passed = Passed()
    train, val = (find_split(root, split) for split in ("train", "val"))
    if train is not None and val is not None:
        names, held = ([f"{one.name}/{name}" for name in scan_images(one, passed)] for one in (train, val))
    else:
        every = list(scan_images(root, passed))
        share = HELD_OUT if config.data.val is None else config.data.val
        drawn = sorted(every, key=lambda name: hashlib.blake2b(os.fsencode(name), digest_size=8).digest())
        chosen = set(drawn[: min(MOST, max(1, round(share * len(every))))])
        names, held = [name for name in every if name not in chosen], sorted(chosen)
    if not names or not held:
        raise UserError(f"{printable(root)}: {counted(len(names) + len(held), 'pictures are')} too few to learn from")
    kinds = ", ".join(f"{count} x {suffix}" for suffix, count in passed.unread.most_common(6))
    text = f"pictures of a kind that is not read are left out: {kinds}; save them as JPEG or PNG"
    problems = (Problem(text, place=root),) if kinds else ()
    return _listing(root, "train", names, problems), _listing(root, "val", held)


def _listing(root: Path, split: str, names: list[str], problems: tuple[Problem, ...] = ()) -> Listing:
    return Listing(root, split, (), SampleTable(root, names, [0] * len(names)), problems)
