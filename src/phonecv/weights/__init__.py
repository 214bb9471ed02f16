"""Checkpoints: safe reading of every public layout, translation of names, our own format, download."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phonecv.late import late_names

if TYPE_CHECKING:
    from phonecv.weights.checkpoint import (
        CheckpointInfo,
        load_checkpoint,
        load_public_or_file,
        read_checkpoint,
        save_checkpoint,
    )
    from phonecv.weights.download import fetch
    from phonecv.weights.loading import Loading
    from phonecv.weights.translate import LAYOUTS, from_phonecv, to_phonecv

# Late, because options of verbs are looked at without torch.
__all__ = [
    "LAYOUTS",
    "CheckpointInfo",
    "Loading",
    "fetch",
    "from_phonecv",
    "load_checkpoint",
    "load_public_or_file",
    "read_checkpoint",
    "save_checkpoint",
    "to_phonecv",
]


if not TYPE_CHECKING:
    __getattr__ = late_names(__name__)
