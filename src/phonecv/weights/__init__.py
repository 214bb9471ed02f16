"""Checkpoints: safe reading of every public layout, translation of names, our own format, download."""

from phonecv.weights.checkpoint import (
    CheckpointInfo,
    Loading,
    load_checkpoint,
    load_public_or_file,
    read_checkpoint,
    save_checkpoint,
)
from phonecv.weights.download import fetch
from phonecv.weights.translate import LAYOUTS, WRITABLE, from_phonecv, to_phonecv

__all__ = [
    "LAYOUTS",
    "WRITABLE",
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
