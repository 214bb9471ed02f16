"""The small language of the readers' templates, which lie in the folders `reader_templates` of the tasks.

What stands between @ signs is filled in. A line ``//if WORD ...`` starts a part that stays where one of the words
holds, ``//end`` ends it, and ``//include PACKAGE:NAME`` stands for that package's template of this name in the same
language.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from importlib.resources import files

_BLANK = re.compile(r"@([A-Z_]+)@")
_ORDER = re.compile(r"//(if|end|include)\b *(.*)")


def filled(package: str, template: str, values: Mapping[str, str], conditions: Set[str] = frozenset()) -> str:
    """The text of a template of `package`: `values` for what stands between @ signs, `conditions` that hold."""
    # In one pass, so that nothing within a value is taken for a blank.
    return _BLANK.sub(lambda found: values[found[1]], "\n".join(_lines(package, template, conditions)) + "\n")


def _lines(package: str, template: str, conditions: Set[str]) -> list[str]:
    kept: list[str] = []
    shown = True
    text = (files(package) / "reader_templates" / template).read_text(encoding="utf-8")
    for line in text.splitlines():
        order = _ORDER.fullmatch(line)
        if order is None:
            kept += [line] if shown else []
        elif order[1] == "include":
            other, _, name = order[2].partition(":")
            kept += _lines(other, f"{name}.{template.rpartition('.')[2]}", conditions) if shown else []
        else:  # parts do not lie within each other
            shown = order[1] == "end" or not conditions.isdisjoint(order[2].split())
    return kept
