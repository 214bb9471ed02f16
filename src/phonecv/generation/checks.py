"""What can be wrong with the training of a generator, said before torch is loaded."""

from __future__ import annotations

from pathlib import Path

from phonecv.errors import UserError
from phonecv.generation.catalog import get_generator
from phonecv.generation.config import GenerateConfig
from phonecv.generation.training_data import list_data


def check_training(config: GenerateConfig, *, keep: bool) -> None:
    """Check that the autoencoder is there, and that the data can be listed; nothing is kept."""
    path, name = config.generate.autoencoder, config.model.name
    if path is None and get_generator(name).latent:
        raise UserError(f"{name} works on latents: set generate.autoencoder to a folder or file of an AutoencoderKL")
    if path is not None and not Path(path).exists():
        raise UserError(f"generate.autoencoder={path!r}: no such folder or file")
    list_data(config)
