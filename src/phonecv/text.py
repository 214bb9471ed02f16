"""Other people's texts on our lines: file and class names may hold any character, and be of any length.

Printed raw, an escape sequence drives the terminal, a line break forges a line, a mark of writing direction turns one
around, and half a surrogate pair stops the print with an error.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

#: Characters of a name that are shown; longer ones are cut in the middle.
LONGEST_NAME = 80


#: Plural of a verb -> its singular.
_VERBS = {
    "are": "is",
    "were": "was",
    "have": "has",
    "do": "does",
    "lie": "lies",
    "occur": "occurs",
    "repeat": "repeats",
}


def counted(number: int, nouns: str, *, of: int | None = None) -> str:
    """How many there are, by the plural: ``counted(1, "loader workers")`` is "1 loader worker".

    The last word bends; a verb behind it too: ``counted(1, "classes are")`` is "1 class is", and with ``of=3`` it is
    "1 of 3 classes is".
    """
    words = nouns.split(" ")
    last = len(words) - 1 - (words[-1] in _VERBS)
    if (number if of is None else of) == 1:
        words[last] = _singular(words[last])
    if number == 1:
        words[-1] = _VERBS.get(words[-1], words[-1])
    return f"{number:,} {f'of {of:,} ' if of is not None else ''}{' '.join(words)}"


def _singular(noun: str) -> str:
    if noun.endswith("ies"):
        return f"{noun[:-3]}y"
    return noun[:-2] if noun.endswith(("sses", "xes", "ches", "shes")) else noun.removesuffix("s")


def lasting(seconds: float) -> str:
    """A time as people say it: "45 s", "12 min", "3 h 20 min", "2 d 4 h"."""
    if round(seconds) < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def printable(text: Path | str) -> str:
    """`text` on one line that any terminal and any UTF-8 file takes: odd bytes and control characters as ``\\x..``."""
    text = str(text)
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else _escaped(letter) for letter in text)


def _escaped(letter: str) -> str:
    try:
        return "".join(f"\\x{byte:02x}" for byte in os.fsencode(letter))
    except UnicodeEncodeError:  # a surrogate that stands for no byte of a file name
        return f"\\u{ord(letter):04x}"


def shortened(text: str, most: int = LONGEST_NAME) -> str:
    """`text`, cut in the middle to about `most` characters, and how many it had."""
    if len(text) <= most:
        return text
    tail = most // 4
    return f"{text[: most - tail]}...{text[-tail:]} ({len(text)} characters)"


def shortened_path(text: str, most: int = LONGEST_NAME) -> str:
    """A path in about `most` characters: folders are left out from the left on, the file's name never."""
    if len(text) <= most:
        return text
    *folders, shown = text.split("/")
    while folders and len(folders[-1]) + len(shown) + len(".../") < most:
        shown = f"{folders.pop()}/{shown}"
    return f".../{shown}" if folders else shown


def printable_name(name: object, most: int = LONGEST_NAME) -> str:
    """A name as people are shown it: `printable`, and cut to about `most` characters."""
    text = str(name)
    # Cut before it is escaped: a name of megabytes costs nothing, and no escape is cut in two.
    return printable(shortened(text, most))


def some_names(names: Sequence[str], most: int = 6) -> str:
    """The first `most` of `names`, and how many there are in all."""
    shown = ", ".join(printable_name(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown}, ... ({len(names)} in all)"


def first_names(names: Sequence[str], most: int = 6) -> str:
    """The first `most` of `names`, printable, and dots for the others."""
    return ", ".join(printable(name) for name in names[:most]) + (", ..." if len(names) > most else "")


def unique_names(names: Sequence[str]) -> list[str]:
    """The same names, numbered where several are alike but for letter case, which some file systems do not tell."""
    taken: set[str] = set()
    unique = []
    for name in names:
        other, number = name, 1
        while other.casefold() in taken:
            number += 1
            other = f"{name}-{number}"
        taken.add(other.casefold())
        unique.append(other)
    return unique


def quoted(name: str) -> str:
    """A name in quotes, so that blanks at its ends are seen."""
    return f"'{printable_name(name)}'"


def brief(value: Any, most: int = LONGEST_NAME) -> str:
    """A value out of a file as a short piece of a message: one line, printable, made in no time.

    Only the simplest kinds are shown; a container may hold itself or unfold to more than any memory, so of it (and of
    everything else) only the type is told.
    """
    if isinstance(value, str):
        return f"'{printable_name(value, most)}'"
    if isinstance(value, bytes):
        return repr(value[:most]) + ("..." if len(value) > most else "")
    if isinstance(value, int) and value.bit_length() > 128:
        return f"a whole number of {value.bit_length():,} bits"
    if value is None or isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple) and len(value) <= 8 and all(isinstance(n, int | float) for n in value):
        inner = ", ".join(brief(n) for n in value)
        return f"[{inner}]" if isinstance(value, list) else f"({inner}{',' if len(value) == 1 else ''})"
    count = f" of {len(value):,}" if isinstance(value, list | tuple | dict) else ""
    return f"a {type(value).__name__}{count}"
