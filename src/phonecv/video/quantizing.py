"""Classifiers of clips in 8 bits: not offered, for nobody has measured what they lose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from phonecv.errors import UserError
from phonecv.quantization.options import QuantizeOptions
from phonecv.video.network import VideoClassifier


def check_int8(network: VideoClassifier, formats: Sequence[str]) -> NoReturn:
    """Refuse."""
    del formats
    raise UserError(f"{network.name}: networks of clips are not quantized; export them with --precision fp16")


def open_workshop(network: VideoClassifier, options: QuantizeOptions) -> NoReturn:
    """Refuse, as `check_int8`."""
    del options
    check_int8(network, ())
