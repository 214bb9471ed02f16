"""Files of a folder by names that are not quite theirs: backslashes, another letter case, accents written otherwise."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from phonecv.data.folders.class_names import name_key
from phonecv.data.pictures.opening import is_helper_folder, is_image_name
from phonecv.data.shards.index import is_there
from phonecv.text import printable_name

_BACKSLASHES = "with backslashes between folders"
_ALIKE = "in another letter case, or with other accents or blanks"
_BARE = "without an extension"
#: Folders of the top folder that are looked into for the files of a list.
_LOOKED_INTO = 50


class Present:
    """Which files are there; reads each folder once, as asking for every file takes minutes on a network disk."""

    def __init__(self, root: Path) -> None:
        self._root = os.fspath(root)
        self._folders: dict[str, frozenset[str]] = {}
        self._keys: dict[str, dict[str, list[str]]] = {}
        self._stems: dict[str, dict[str, list[str]]] = {}

    def __contains__(self, name: str) -> bool:
        folder, _, leaf = name.rpartition("/")
        # The second question is for file systems that do not tell upper from lower case, and for "a//b.jpg".
        path = os.path.join(self._root, name)  # noqa: PTH118
        return leaf in self._listed(folder) or is_there(Path(path))

    def find(self, name: str) -> tuple[str | None, str]:
        """The file that `name` means, and how `name` is written otherwise; None if there is none or several.

        Where there is none, the second is what is there instead, to end a message with, or empty.
        """
        if name in self:
            return name, ""
        plain = name.replace("\\", "/")
        if plain != name and plain in self:
            return plain, _BACKSLASHES
        found: list[str] = [""]
        for place, part in enumerate(parts := plain.split("/")):
            last = place == len(parts) - 1
            found = [near for folder in found for near in self._near(folder, part, last=last)]
        if len(found) == 1:
            bare = not is_image_name(plain) and is_image_name(found[0])
            return found[0], _BARE if bare else _BACKSLASHES if plain != name else _ALIKE
        several = " or ".join(printable_name(one) for one in found[:2])
        return None, f"; {several} may be meant" if found else ""

    def other_kind(self, name: str) -> str:
        """The picture that is called so but for its ending; empty where there is none."""
        folder, slash, leaf = name.rpartition("/")
        if not is_image_name(leaf):
            return ""
        self._near(folder, leaf, last=True)
        found = self._stems[folder].get(leaf.rpartition(".")[0], [])
        return f"{folder}{slash}{found[0]}" if found else ""

    def folders(self) -> list[str]:
        """The first folders of the top folder."""
        names = sorted(name for name in self._listed("") if not is_helper_folder(name))
        return [name for name in names if Path(self._root, name).is_dir()][:_LOOKED_INTO]

    def like(self, names: Sequence[str]) -> list[str]:
        """Entries of the top folder that are called so, letter case apart."""
        wanted = {name.casefold() for name in names}
        return sorted(entry for entry in self._listed("") if entry.casefold() in wanted)

    def _listed(self, folder: str) -> frozenset[str]:
        if folder not in self._folders:
            try:
                self._folders[folder] = frozenset(os.listdir(os.path.join(self._root, folder)))  # noqa: PTH118, PTH208
            except OSError:
                self._folders[folder] = frozenset()
        return self._folders[folder]

    def _near(self, folder: str, part: str, *, last: bool) -> list[str]:
        listed, start = self._listed(folder), f"{folder}/" if folder else ""
        if part in listed:
            return [start + part]
        if folder not in self._keys:
            self._keys[folder], self._stems[folder] = {}, {}
            for entry in sorted(listed):
                self._keys[folder].setdefault(name_key(entry), []).append(entry)
                if is_image_name(entry):
                    self._stems[folder].setdefault(entry.rpartition(".")[0], []).append(entry)
        found = self._keys[folder].get(name_key(part), [])
        if not found and last and not is_image_name(part):
            found = self._stems[folder].get(part, [])
        return [start + entry for entry in found]
