"""The generators in a table, with their published figures."""

from __future__ import annotations

from phonecv.generation.catalog import GENERATORS, get_generator
from phonecv.tables import Table, figure

#: Where the figures stand, those of DiT too: ImageNet at 256 px, 400,000 steps, no guidance, 50,000 samples.
TABLE = "arXiv 2412.06674, table XIV"


def heads_rows() -> Table:
    """One row per generator."""
    rows = [
        (
            record.name,
            f"{record.parameters / 1e6:.2f}",
            figure(record.flops, 1),
            f"{record.config['channels']} x {record.config['size']} x {record.config['size']}",
            "latents" if record.latent else "pixels",
            figure(record.fid, 1),
            record.note or TABLE,
        )
        for record in GENERATORS.values()
    ]
    return ("generator", "params M", "GFLOPs", "input", "of", "FID", "source"), rows, (1, 2, 5)


def recipe_for(name: str) -> str:
    """See `phonecv.models.names.PublishedRoom`."""
    recipe = "d_emov2_latent" if get_generator(name).latent else "generate_digits"
    return f"{recipe} model.name={name}"
