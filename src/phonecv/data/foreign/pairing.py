"""Which picture a label file belongs to: one of the same name, in the same folder or in its counterpart."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Sequence

from phonecv.data.coco.picture_names import without_upload
from phonecv.data.foreign.tree import split_in

#: Folders that tell of what kind the files in them are, not which.
_KINDS = frozenset(
    ("images", "image", "imgs", "img", "jpegimages", "pictures", "photos", "data", "labels", "label", "annotations",
     "annotation", "anns", "ann", "xml", "xmls", "txt", "json", "jsons", "bboxes")
)  # fmt: skip

Key = tuple[tuple[str, ...], str]


def _key(name: str) -> Key:
    """Equal for files that belong together: the folders without those that tell a kind, and the name's stem."""
    *folders, last = name.split("/")
    inner = tuple(part.casefold() for part in folders if part.casefold() not in _KINDS)
    return inner, last.rpartition(".")[0] or last


def _loose(name: str) -> str:
    return without_upload(unicodedata.normalize("NFC", _key(name)[1]).casefold().strip())


class Partners:
    """Finds the files of one kind (`there`) that belong to files of another one (`askers`)."""

    def __init__(self, there: Sequence[str], askers: Sequence[str]) -> None:
        self._by_key: dict[Key, list[str]] = defaultdict(list)
        for name in there:
            self._by_key[_key(name)].append(name)
        taken = {_key(name) for name in askers}
        self._free: dict[str, list[str]] = defaultdict(list)
        for name in there:
            if _key(name) not in taken:
                self._free[_loose(name)].append(name)

    def of(self, name: str) -> list[str]:
        """Those that belong to a file: several where they differ in their ending alone.

        Where none is in the counterpart of its folder, the one of that name anywhere that belongs to nobody else and is
        of no other split; letter case does not count then, nor what Label Studio puts before an upload.
        """
        if found := self._by_key.get(_key(name)):
            return found
        split = split_in(name)
        other = [one for one in self._free.get(_loose(name), ()) if split is None or split_in(one) in (None, split)]
        return other if len(other) == 1 else []
