"""The languages of the readers, and how each writes what differs between them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

_WIDTH = 118


@dataclass(frozen=True, slots=True)
class Language:
    """How a language writes numbers, texts and lists.

    Attributes:
        file: name of its source, and of the template it is made of.
        single: after a 32-bit number.
        indent: of the lines of a long list.
        escaped: letters in strings that need a backslash, beside the quotation mark and the backslash itself.
        place_argument: how a further argument `place` is handed on.
    """

    file: str
    single: str
    indent: int
    escaped: str = ""
    place_argument: str = ", place"

    def numbers(self, values: Iterable[float]) -> str:
        """32-bit numbers of a list."""
        return self.wrapped(f"{float(value)!r}{self.single}" for value in values)

    def strings(self, texts: Iterable[str]) -> str:
        """Strings of a list."""
        return self.wrapped(self.string(text) for text in texts)

    def string(self, text: str) -> str:
        """A string on one line."""
        printed = "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))
        quoted = json.dumps(printed, ensure_ascii=False)
        return "".join("\\" + letter if letter in self.escaped else letter for letter in quoted)

    def wrapped(self, items: Iterable[str]) -> str:
        """Items with commas between them, on as many lines as it takes."""
        lines = [""]
        for item in items:
            if lines[-1] and self.indent + len(lines[-1]) + len(item) + 2 > _WIDTH:
                lines.append("")
            lines[-1] += f"{' ' if lines[-1] else ''}{item},"
        return ("\n" + " " * self.indent).join(lines).removesuffix(",")


LANGUAGES = {
    "C++": Language("phonecv_reader.hpp", "f", 4),
    "JavaScript": Language("phonecv_reader.mjs", "", 2),
    "Kotlin": Language("PhonecvReader.kt", "f", 8, escaped="$"),
    "Swift": Language("PhonecvReader.swift", "", 4, place_argument=", place: place"),
}


def comment(name: str) -> str:
    """A name as it can stand in a comment of one line."""
    return " ".join(name.split()).replace("*/", "")
