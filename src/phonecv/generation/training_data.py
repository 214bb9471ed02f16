"""What a generator learns from: folders of pictures, one for each class. Imports no torch."""

from __future__ import annotations

from phonecv.data.folders.listing import Listing
from phonecv.generation.config import GenerateConfig
from phonecv.training.checks import data_folder, read_listings
from phonecv.training.dividing import Divided, divide_listing

DATA = "a folder with train/<class>/<picture> and val/<class>/<picture>, or with <class>/<picture>"


def list_data(config: GenerateConfig) -> tuple[Listing, Listing | None]:
    """Both splits, with the same classes, or all pictures and None."""
    return read_listings(config, data_folder(config, DATA))


def read_splits(config: GenerateConfig) -> Divided[Listing]:
    """Both splits, with the same classes."""
    return divide_listing(config, *list_data(config))
