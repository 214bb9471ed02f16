"""The audit of a data set of clips: its lists, its classes, and whether every clip can be read."""

from __future__ import annotations

from pathlib import Path

from phonecv.data.clips.listing import CLIPS, read_clips
from phonecv.data.clips.reading import count_frames, find_gap, frame_files, is_clip, read_frames
from phonecv.data.findings import Look, Notes, Numbers
from phonecv.data.folders.audit import check_list, numbers_of, report_problems, report_undivided
from phonecv.data.folders.listing import Listing, has_split
from phonecv.data.pictures.audit import in_order, sampled
from phonecv.data.pictures.opening import ImageError
from phonecv.data.split_names import ALIASES, WHOLE
from phonecv.errors import UserError
from phonecv.text import counted

#: Frames that a clip is read with: as published.
FRAMES = 4

CLIP_FIXES = {
    "short": "nothing, if that is meant; some of its frames are taken twice",
    "frames": "take the frames out of the video again, or mend the number in the list",
    "gap": "take the frames out of the video again; as it is, the clip jumps there",
}


def audit_clips(notes: Notes, root: Path, look: Look) -> Numbers:
    """Look at a data set of clips: quickly at a sample of them, else at all."""
    listings: dict[str, Listing] = {}
    there = [split for split in ALIASES if has_split(root, split, CLIPS)]
    for split in there or [WHOLE]:
        if not check_list(notes, root, split, look.quick, CLIPS):
            continue
        try:
            listings[split] = listing = read_clips(root, split)
        except UserError as error:
            notes.add("structure", "error", root / split, str(error))
            continue
        report_problems(notes, listing, root)
    report_undivided(notes, root, listings, CLIPS.noun)
    chosen = [
        (listing, index)
        for listing in listings.values()
        for index in (sampled(len(listing)) if look.quick else range(len(listing)))
    ]
    paths = [listing.samples[index].path for listing, index in chosen]
    listed = [listing.frames[index] if listing.frames else None for listing, index in chosen]
    results = in_order(_header if look.quick else _whole, paths, look)
    for path, wanted, (count, error) in zip(paths, listed, results, strict=True):
        if error:
            notes.add("unreadable", "error", path, error)
        else:
            _judge(notes, path, count, wanted)
    return {split: numbers_of(listing, "clips") for split, listing in listings.items()}, len(paths)


def _judge(notes: Notes, path: Path, count: int, listed: int | None) -> None:
    """Whether a clip that can be read has the frames that it should have."""
    if count < FRAMES:
        notes.add("short", "note", path, f"{counted(count, 'frames')}; networks take {FRAMES} or more")
    if listed is not None and listed != count:
        notes.add("frames", "warning", path, f"the list says {counted(listed, 'frames')}, there are {count}")
    if path.is_dir() and (gap := find_gap(frame_files(path))):
        notes.add("gap", "warning", path, gap)


def _header(path: Path) -> tuple[int, str]:
    """How many frames a clip has, or why it cannot be read."""
    if not path.is_dir() and not is_clip(path):
        return 0, "neither a video, by its name, nor a folder of frames"
    try:
        return count_frames(path), ""
    except UserError as error:
        return 0, error.reason if isinstance(error, ImageError) else str(error)


def _whole(path: Path) -> tuple[int, str]:
    """The same, with frames decoded from the first to the last part."""
    count, error = _header(path)
    if error:
        return count, error
    try:
        read_frames(path, count if path.is_dir() else FRAMES)
    except ImageError as problem:
        return count, problem.reason
    return count, ""
