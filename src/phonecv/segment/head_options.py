"""Checks of the heads' options, before anything is built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from phonecv.errors import UserError
from phonecv.models.factory import check_known
from phonecv.segment.inference import Windows

#: Options that every architecture takes, and those of `unet` alone.
COMMON = ("aux", "aux_channels", "aux_weight", "slide")
UNET = ("finest",)

#: Options that hold one whole number > 0, or a list of them.
_NUMBERS = ("channels", "neck_channels", "aux_channels")
_LISTS = ("dilations", "pools", "widths")


def check_options(architecture: str, options: Mapping[str, Any], own: Sequence[str]) -> None:
    """Every option is known (to the head itself, by `own`, or to all) and has a value in range."""
    check_known(architecture, "option", options, [*own, *COMMON, *(UNET if architecture == "unet" else ())])
    for key, value in options.items():
        if key in _NUMBERS and not _positive(value):
            raise UserError(f"{key} {value!r} is not a whole number > 0")
        if key in _LISTS and not (isinstance(value, list | tuple) and value and all(map(_positive, value))):
            raise UserError(f"{key} {value!r} is not a list of whole numbers > 0")
        if key == "dropout" and not _number(value, below=1.0):
            raise UserError(f"dropout {value!r} is not in [0, 1)")
        if key == "aux" and not isinstance(value, bool):
            raise UserError(f"aux {value!r} is neither true nor false")
        if key == "aux_weight" and not _number(value, below=float("inf")):
            raise UserError(f"aux_weight {value!r} is not a number >= 0")
        if key == "finest" and value not in (2, 4):
            raise UserError(f"finest {value!r} is neither 2 nor 4")
        if key == "slide" and value is not None:
            pair = value if isinstance(value, Mapping) else {}
            if set(pair) != {"crop", "stride"} or not all(map(_positive, pair.values())):
                raise UserError(f"slide {value!r} is not of the form {{'crop': 512, 'stride': 341}}, in pixels")
            Windows(**pair)


def _positive(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _number(value: Any, *, below: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < below
