"""Rules for values of JSON files from anywhere: their types and bounds, and one message for what does not keep them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from phonecv.errors import UserError
from phonecv.text import printable, printable_name

#: Whether a value will do.
Test = Callable[[Any], bool]
#: The test, and what would do, in words.
Rule = tuple[Test, str]

_MOST = 1_000_000


def kind(*kinds: type) -> Test:
    """Values of these types; true and false are no numbers."""
    return lambda value: isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))


def number(low: float = -1e300, high: float = 1e300) -> Test:
    """Finite numbers within these bounds."""
    return lambda value: kind(int, float)(value) and low <= value <= high and math.isfinite(value)


def whole(low: int = 0, high: int = 2**62) -> Test:
    """Whole numbers within these bounds."""
    return lambda value: kind(int)(value) and low <= value <= high


def list_of(item: Test, least: int = 0, most: int = _MOST) -> Test:
    """Lists of such values, of a length within these bounds."""
    return lambda value: isinstance(value, list) and least <= len(value) <= most and all(map(item, value))


def table_of(item: Test) -> Test:
    """Tables whose values are all such."""
    return lambda value: isinstance(value, dict) and all(map(item, value.values()))


def optional(rule: Test) -> Test:
    """Such values, or null."""
    return lambda value: value is None or rule(value)


def is_plain_name(value: Any) -> bool:
    """Whether this names a file of the same folder, on every system: no way out of it, no drive, no folder."""
    return isinstance(value, str) and value not in ("", ".", "..") and not re.search(r"[/\\:\x00]", value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and not re.search("[\ud800-\udfff]", value)


TEXT: Rule = (_is_text, "a text")
FLAG: Rule = (kind(bool), "true or false")
TEXTS: Rule = (list_of(_is_text), "a list of texts")
TABLE: Rule = (kind(dict), "a table of names and values")
COUNT: Rule = (whole(), "a whole number from 0 on")
NUMBER: Rule = (number(), "a number")


def check_table(
    values: object,
    rules: Mapping[str, Any],
    source: object,
    *,
    required: Iterable[str] = (),
    whole: bool = False,
    prefix: str = "",
) -> None:
    """Hold a table to its rules; names without a rule may be there and may be anything.

    Args:
        values: what stands in the place of the table.
        rules: name -> `Rule`, or the rules of the table that stands there.
        source: the file, for messages, which name field, value and what would do.
        required: names that have to be there.
        whole: in tables within, all names that have a rule have to be there.
        prefix: of names in messages, for a table within a table.
    """
    where = printable(str(source))
    if not isinstance(values, dict):
        raise UserError(f"{where}: {prefix.rstrip('.') or 'its content'} is {brief(values)}, not {TABLE[1]}")
    missing = [name for name in required if name not in values]
    if missing:
        raise UserError(f"{where} lacks {', '.join(repr(prefix + name) for name in missing)}")
    for name, rule in rules.items():
        if name not in values:
            continue
        value = values[name]
        fits, wanted = TABLE if isinstance(rule, Mapping) else rule
        if not fits(value):
            raise UserError(f"{where}: {prefix + name!r} is {brief(value)}, not {wanted}")
        if isinstance(rule, Mapping):
            check_table(value, rule, source, required=rule if whole else (), whole=whole, prefix=f"{prefix}{name}.")


def brief(value: Any) -> str:
    """A value in few words, however large it is."""
    if isinstance(value, dict | list):
        return f"a {'table' if isinstance(value, dict) else 'list'} of {len(value)}"
    if isinstance(value, str):
        return f"the text '{printable_name(value, 40)}'"
    return repr(value) if not isinstance(value, int) or abs(value) < 10**30 else "a number of very many digits"
