"""What an unquoted text of a YAML document or of the command line stands for."""

from __future__ import annotations

import re
from typing import Any

from phonecv.errors import UserError

#: Groups within groups; the deepest of the shipped recipes has 3 levels.
MAX_DEPTH = 20
#: Of a whole number: 2^64 has 20.
MAX_DIGITS = 20

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)|0x[0-9a-fA-F]+", re.ASCII)
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?", re.ASCII)
_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


class Plain(str):
    """Unquoted text of a YAML document or of the command line, to be read by whoever knows what it is for."""

    __slots__ = ()


def scalar(text: str) -> Any:
    """What an unquoted text means where it need not be text: null, a truth value, a number, or the text itself.

    Numbers that YAML 1.1 and 1.2 read differently, such as ``010``, ``1_000`` and ``1:30``, stay texts: whoever wants a
    number refuses them.
    """
    word = text.strip()
    if word in ("", "~", "null", "Null", "NULL"):
        return None
    if word.lower() in _WORDS and word in (word.lower(), word.capitalize(), word.upper()):
        return _WORDS[word.lower()]
    if _INTEGER.fullmatch(word):
        if len(word) > MAX_DIGITS:
            raise UserError(f"a whole number of {len(word)} digits; at most {MAX_DIGITS} are read")
        return int(word, 0)
    found = number(word)
    return str(text) if found is None else found


def number(text: str) -> float | None:
    """The number that a text writes out, with or without an exponent; None if it is none."""
    return float(text) if _FLOAT.fullmatch(text) else None
