"""What a generator learns from, and what can be wrong with its training, said before torch is loaded."""

from __future__ import annotations

from pathlib import Path

from phonecv.data.folders.listing import Listing
from phonecv.errors import UserError
from phonecv.generation.catalog import get_generator
from phonecv.generation.config import GenerateConfig
from phonecv.training.checks import data_folder, read_listings
from phonecv.training.dividing import Divided, divide_listing

DATA = "a folder with train/<class>/<picture> and val/<class>/<picture>, or with <class>/<picture>"


def check_training(config: GenerateConfig, *, keep: bool) -> None:
    """Check that the autoencoder is there, and that the data can be listed; nothing is kept."""
    path, name = config.generate.autoencoder, config.model.name
    if path is None and get_generator(name).latent:
        raise UserError(f"{name} works on latents: set generate.autoencoder to a folder or file of an AutoencoderKL")
    if path is not None and not Path(path).exists():
        raise UserError(f"generate.autoencoder={path!r}: no such folder or file")
    read_listings(config, data_folder(config, DATA))


def read_splits(config: GenerateConfig) -> Divided[Listing]:
    """Both splits, with the same classes."""
    return divide_listing(config, *read_listings(config, data_folder(config, DATA)))
