"""What a generator learns from: folders of pictures, one for each class. Imports no torch."""

from __future__ import annotations

from phonecv.data.folders.listing import Listing, read_split
from phonecv.generation.config import GenerateConfig
from phonecv.training.checks import data_folder, read_listings

DATA = "a folder with train/<class>/<picture> and val/<class>/<picture>"


def read_splits(config: GenerateConfig) -> tuple[Listing, Listing]:
    """Both splits, with the same classes."""
    return read_listings(config, data_folder(config, DATA), read_split)
