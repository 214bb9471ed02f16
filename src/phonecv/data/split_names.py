"""How people call the folders of training, validation and test pictures."""

from __future__ import annotations

#: The splits that a training reads.
SPLITS = ("train", "val")
#: The one of data that have no splits: all pictures.
WHOLE = "all"

#: Split -> what its folder may be called, in any letter case; the first is ours.
ALIASES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}


def split_names(split: str) -> tuple[str, ...]:
    """What the folder of a split may be called; for any other word the word itself."""
    return ALIASES.get(split, (split,))


def split_of(folder: str) -> str | None:
    """The split that a folder of this name is; None if it is none."""
    return next((split for split, names in ALIASES.items() if folder.casefold() in names), None)


def known_splits() -> tuple[str, ...]:
    """All splits that a folder may hold."""
    return tuple(ALIASES)
