"""The small language of the templates of readers and apps.

What stands between @ signs is filled in. A line ``//if WORD ...`` starts a part that stays where one of the words
holds, ``//end`` ends it, and ``//include PACKAGE:NAME`` stands for the template of this name, in the same language, in
the folder `reader_templates` of that package.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from importlib.resources import files
from importlib.resources.abc import Traversable

_BLANK = re.compile(r"@([A-Z_]+)@")
_ORDER = re.compile(r"//(if|end|include)\b *(.*)")


def filled(template: Traversable, values: Mapping[str, str], conditions: Set[str] = frozenset()) -> str:
    """The text of a template: `values` for what stands between @ signs, `conditions` that hold."""
    # In one pass, so that nothing within a value is taken for a blank.
    return _BLANK.sub(lambda found: values[found[1]], "\n".join(_lines(template, conditions)) + "\n")


def _lines(template: Traversable, conditions: Set[str]) -> list[str]:
    kept: list[str] = []
    shown = True
    for line in template.read_text(encoding="utf-8").splitlines():
        order = _ORDER.fullmatch(line)
        if order is None:
            kept += [line] if shown else []
        elif order[1] == "include":
            package, _, name = order[2].partition(":")
            other = files(package) / "reader_templates" / f"{name}.{template.name.rpartition('.')[2]}"
            kept += _lines(other, conditions) if shown else []
        else:  # parts do not lie within each other
            shown = order[1] == "end" or not conditions.isdisjoint(order[2].split())
    return kept
