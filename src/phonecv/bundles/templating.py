"""The small language of the templates in `templates/`.

What stands between @ signs is filled in. A line ``//if WORD ...`` starts a part that stays where one of the words
holds, ``//end`` ends it, and ``//include NAME`` stands for the template of that name in the same language.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from importlib.resources import files

_BLANK = re.compile(r"@([A-Z_]+)@")
_ORDER = re.compile(r"//(if|end|include)\b *(.*)")


def filled(template: str, values: Mapping[str, str], facts: Set[str] = frozenset()) -> str:
    """The text of a template.

    Args:
        template: name of its file.
        values: for what stands between @ signs.
        facts: words that hold.
    """
    # In one pass, so that nothing within a value is taken for a blank.
    return _BLANK.sub(lambda found: values[found[1]], "\n".join(_lines(template, facts)) + "\n")


def _lines(template: str, facts: Set[str]) -> list[str]:
    kept: list[str] = []
    shown = True
    text = (files("phonecv.bundles") / "templates" / template).read_text(encoding="utf-8")
    for line in text.splitlines():
        order = _ORDER.fullmatch(line)
        if order is None:
            kept += [line] if shown else []
        elif order[1] == "include":
            kept += _lines(f"{order[2]}.{template.rpartition('.')[2]}", facts) if shown else []
        else:  # parts do not lie within each other
            shown = order[1] == "end" or not facts.isdisjoint(order[2].split())
    return kept
