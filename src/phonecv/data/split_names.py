"""How people call the folders of training, validation and test pictures."""

from __future__ import annotations

import re
from collections.abc import Sequence

#: The splits that a training reads.
SPLITS = ("train", "val")
#: The one of data that have no splits: all pictures.
WHOLE = "all"
#: Those that trainings learn from; others may lack classes.
LEARNT = ("train", WHOLE)

#: Split -> what its folder may be called, in any letter case; the first is ours.
ALIASES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}

#: What stands beside such a word in the names of folders of pictures.
_ADDED = frozenset(("images", "image", "imgs", "img", "pictures", "photos", "data", "set", "jpg", "jpeg", "png"))


def split_names(split: str) -> tuple[str, ...]:
    """What the folder of a split may be called; for any other word the word itself."""
    return ALIASES.get(split, (split,))


def split_of(folder: str) -> str | None:
    """The split that a folder of this name is; None if it is none."""
    return next((split for split, names in ALIASES.items() if folder.casefold() in names), None)


def name_words(folder: str) -> list[str]:
    """The words of a folder's name, without letter case."""
    return re.split(r"[ _.-]+", folder.casefold())


def are_splits(folders: Sequence[str]) -> bool:
    """Whether several folders are all called like splits with something added, such as ``train_images``, or with the
    same word in all of them, such as ``seg_train`` and ``seg_test``."""
    words = [[word for word in name_words(folder) if word not in _ADDED] for folder in folders]
    rests = {tuple(word for word in found if split_of(word) is None) for found in words}
    return len(folders) > 1 == len(rests) and all(
        sum(split_of(word) is not None for word in found) == 1 for found in words
    )
