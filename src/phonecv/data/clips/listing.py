"""Which clips a data set has: class folders of videos or of folders of frames, and lists as those of Kinetics.

``train/<class>/<video or folder of frames>`` and ``val/...``, or ``train.txt`` and ``val.txt``, lines ``path label``.
Names, classes and mistakes are treated as those of pictures, see `phonecv.data.folders.listing`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from phonecv.data.clips.reading import frame_files, is_clip, is_video, scan_clips
from phonecv.data.folders.list_file import read_list
from phonecv.data.folders.listing import Kind, Listing, find_list, read_split
from phonecv.data.folders.splits import class_folders, find_split
from phonecv.data.split_names import known_splits
from phonecv.errors import UserError

#: Frames that a folder has which is surely one of frames.
LEAST = 4

CLIPS = Kind(scan_clips, "clips")


def read_clips(
    root: Path | str,
    split: str = "train",
    *,
    list_file: Path | str | None = None,
    classes: Sequence[str] | None = None,
) -> Listing:
    """List the clips of one split; see `phonecv.data.folders.listing.read_split`."""
    return read_split(root, split, list_file=list_file, classes=classes, kind=CLIPS)


def has_clip_folders(root: Path) -> bool:
    """Whether the folders of the splits hold a folder of clips for each class."""
    splits = [folder for split in known_splits() if (folder := find_split(root, split)) is not None]
    return any(any(scan_clips(folder / name)) for folder in splits for name in class_folders(folder))


def surely_clips(root: Path) -> bool:
    """Whether every class is of videos, or of folders whose pictures are numbered as frames are; its first clip tells.

    Pictures that are sorted into folders within their classes, or lie beside a video, have the layout of clips, too.
    """
    splits = [folder for split in known_splits() if (folder := find_split(root, split)) is not None]
    return all(_surely_class(folder / name) for folder in splits for name in class_folders(folder))


def _surely_class(folder: Path) -> bool:
    first = next(scan_clips(folder), None)
    if first is None or frame_files(folder):
        return False
    if is_video(first):
        return True
    numbers = [re.search(r"(\d+)$", frame.stem) for frame in frame_files(folder / first)]
    steps = {int(after[1]) - int(before[1]) for before, after in pairwise(numbers) if before and after}
    return len(numbers) >= LEAST and all(numbers) and len(steps) == 1


def has_clip_lists(root: Path) -> bool:
    """Whether list files name clips."""
    for split in known_splits():
        path = find_list(root, split)
        if path is None or path.suffix == ".csv":
            continue
        try:
            found = read_list(path, root, split)
        except UserError:  # whoever reads it says so
            continue
        if found.paths and is_clip(root / found.paths[0]):
            return True
    return False
