"""Classifiers of clips in 8 bits: not offered, for nobody has measured what they lose."""

from __future__ import annotations

from phonecv.quantization.room import never

check_int8, open_workshop = never(": networks of clips are not quantized; export them with --precision fp16")
