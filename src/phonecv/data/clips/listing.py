"""Which clips a data set has: class folders of videos or of folders of frames, and lists as those of Kinetics.

``train/<class>/<video or folder of frames>`` and ``val/...``, or ``train.txt`` and ``val.txt``, lines ``path label``
or, of folders of frames, ``path frames label``; or Kinetics' own ``train.csv``. Names, classes and mistakes are treated
as those of pictures, see `phonecv.data.folders.listing`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from phonecv.data.clips.reading import frame_files, frame_steps, is_clip, scan_clips
from phonecv.data.clips.streams import is_video
from phonecv.data.folders.list_file import read_list
from phonecv.data.folders.listing import Kind, find_list, read_split
from phonecv.data.folders.splits import class_folders, find_split
from phonecv.data.labelmaps.folders import IMAGE_FOLDERS, LABEL_FOLDERS
from phonecv.data.pictures.opening import ImageError, is_image_name, probe_image
from phonecv.data.split_names import ALIASES, WHOLE, split_of
from phonecv.errors import UserError

#: Frames that a folder has which is surely one of frames.
LEAST = 4

CLIPS = Kind(scan_clips, "clips")


#: Lists the clips of one split, see `phonecv.data.folders.listing.read_split`.
read_clips = partial(read_split, kind=CLIPS)


def has_clip_folders(root: Path) -> bool:
    """Whether a class of a split is a folder of clips; without splits, whether several folders surely are such."""
    if any(find_split(root, split) for split in ALIASES):
        return any(_first_clip(folder) is not None for folder in _classes(root))
    names = class_folders(root)
    # Pictures and label maps in folders of splits look like this, too.
    inner = [first.name for folder in _classes(root) if (first := _first_clip(folder)) is not None]
    others = {*names} & {*IMAGE_FOLDERS, *LABEL_FOLDERS} or any(map(split_of, inner))
    return len(names) > 1 and not others and surely_clips(root)


def surely_clips(root: Path) -> bool:
    """Whether every class is of videos, or of folders whose pictures are numbered as frames are; its first clip tells.

    Pictures that are sorted into folders within their classes have the layout of clips, too.
    """
    firsts = [_first_clip(folder) for folder in _classes(root)]
    return bool(firsts) and all(first is not None and _surely_clip(first) for first in firsts)


def _classes(root: Path) -> Iterator[Path]:
    found = [folder for split in ALIASES if (folder := find_split(root, split)) is not None]
    return (folder / name for folder in found or [root] for name in class_folders(folder))


def _first_clip(folder: Path) -> Path | None:
    """The first clip of a class; None where pictures lie in its folder, beside which a film is a stray one."""
    with os.scandir(folder) as entries:
        if any(is_image_name(entry.name) for entry in entries):  # the first tells, of however many
            return None
    found = next(scan_clips(folder), None)
    return None if found is None else folder / found


def _surely_clip(path: Path) -> bool:
    if is_video(path):
        return True
    steps = frame_steps(frames := frame_files(path))
    numbered = len(frames) >= LEAST and steps is not None and len(set(steps)) == 1
    try:  # all frames of a film have one size, photographs seldom
        return numbered and len({probe_image(frame)[1:] for frame in frames[:LEAST]}) == 1
    except ImageError:  # reported when its turn comes
        return True


def has_clip_lists(root: Path) -> bool:
    """Whether list files name clips."""
    for split in (*ALIASES, WHOLE):
        path = find_list(root, split, kind=CLIPS)
        if path is None:
            continue
        try:
            found = read_list(path, root, split)
        except UserError:  # whoever reads it says so
            continue
        if found.paths and is_clip(root / found.paths[0]):
            return True
    return False
