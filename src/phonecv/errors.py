"""The one exception meant for people, and the helper that names the nearest good value."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from pathlib import Path

from phonecv.migration import replacement


class UserError(Exception):
    """Bad input or a mistake that a person can mend.

    The message names the bad value, the good ones and the next step. The command line prints it
    alone, without a traceback, and exits with status 2.
    """


def nearest(name: str, options: Iterable[str]) -> str:
    """The option nearest to `name`, or an empty string if none is near."""
    # The comparison takes the square of the length, and no option is that long.
    return next(iter(difflib.get_close_matches(name[:200], list(options), n=1, cutoff=0.5)), "")


def near_path(path: Path | str) -> str:
    """The ending ``"; did you mean 'x'?"`` for what lies nearest to a path that is not there, or an empty string."""
    path = Path(path)
    try:
        near = nearest(path.name, sorted(entry.name for entry in path.parent.iterdir()))
    except OSError:  # no such folder either, or a name that none can have
        return ""
    return f"; did you mean {str(path.parent / near)!r}?" if near else ""


def did_you_mean(name: str, options: Collection[str]) -> str:
    """The ending ``"; did you mean 'x'?"`` for the option nearest to `name`, or what replaces a name of elsewhere."""
    cut = any(option.startswith(name) for option in options)  # a name of ours without its end
    if not cut and (instead := replacement(name)) is not None:
        return f"; {instead}"
    near = nearest(name, options)
    return f"; did you mean {near!r}?" if near else ""
