"""What a recipe promises: the comment at its head, as text and as fields."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

#: What a head says, each on a line of its own that may go on in the next ones.
FIELDS = ("Data", "Hardware", "Time", "Score", "Source", "Command")


@dataclass(frozen=True, slots=True)
class Promise:
    """The head of a recipe: its title, fields by name in small letters (such as "score"), and the whole text."""

    title: str
    fields: dict[str, str]
    text: str


def read_promise(path: Path) -> Promise:
    """The head of a recipe file; empty where it has none."""
    lines: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").removeprefix(" "))
    parts: dict[str, list[str]] = {"": []}
    field = ""
    for line in lines:
        name, found, rest = line.partition(": ")
        if found and name in FIELDS:
            field, line = name.lower(), rest
        parts.setdefault(field, []).append(line.strip())
    joined = {name: " ".join(words) for name, words in parts.items()}
    return Promise(joined.pop(""), joined, "\n".join(lines))
