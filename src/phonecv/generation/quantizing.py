"""Generators in 8 bits: not offered. A file is run many times over, and what rounding changes adds up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from phonecv.errors import UserError
from phonecv.generation.network import Generator
from phonecv.quantization.options import QuantizeOptions


def check_int8(network: Generator, formats: Sequence[str]) -> NoReturn:
    """Refuse all."""
    del formats
    raise UserError(
        f"{network.name} is a generator, which is not quantized: what rounding changes adds up over its steps;"
        " `phonecv export --precision fp16` halves the file"
    )


def open_workshop(network: Generator, options: QuantizeOptions) -> NoReturn:
    """Refuse, as `check_int8`."""
    del options
    check_int8(network, ())
