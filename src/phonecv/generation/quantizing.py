"""Generators in 8 bits: not offered. A file is run many times over, and what rounding changes adds up."""

from __future__ import annotations

from phonecv.quantization.room import never

check_int8, open_workshop = never(
    " is a generator, which is not quantized: what rounding changes adds up over its steps;"
    " `phonecv export --precision fp16` halves the file"
)
