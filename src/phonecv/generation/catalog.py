"""The generators by name and what they cost. Data, not code; imports no torch.

D-EMO is of EMOv2's paper (`phonecv.models.catalog.EMOV2_PAPER`), DiT of Peebles and Xie, Scalable Diffusion Models with
Transformers, ICCV 2023, arXiv 2212.09748.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from phonecv.errors import UserError, did_you_mean

#: Whose blocks: EMOv2's i2RMB, or DiT's attention and MLP on all tokens.
Blocks = Literal["emov2", "dit"]

#: Initial size of the condition: DiT's, a deviation of 0.02 in the table of classes and the layers for the time step;
#: or 1 in the table and Glorot's sizes in the layers, with which short trainings see sooner what is asked for.
ConditionInit = Literal["small", "unit"]


@dataclass(frozen=True, slots=True)
class GeneratorRecord:
    """One generator.

    Attributes:
        name: for `phonecv.create_generator`.
        config: constructor arguments of `phonecv.generation.network.Generator`.
        picture: side of the pictures, pixels.
        parameters: with 1000 classes; the fixed positions are counted, as in the published logs.
        flops: published operations in billions, cut to the digit, or None. Those of EMOv2's blocks hold the products of
            the attention and 5 per normalised value; DiT's hold neither.
        fid: published Frechet distance on ImageNet after 400,000 steps without guidance, or None.
        note: what a person should know.
    """

    name: str
    config: Mapping[str, Any]
    picture: int
    parameters: int
    flops: float | None = None
    fid: float | None = None
    note: str = ""

    @property
    def latent(self) -> bool:
        """Whether it works on an autoencoder's latents, not on pixels."""
        return self.config["size"] != self.picture


def _latent(blocks: Blocks, size: str, parameters: int, flops: float, fid: float) -> GeneratorRecord:
    """A published one: ImageNet at 256 px, in latents 4 x 32 x 32 of Stable Diffusion's autoencoder."""
    width, depth, heads = {"s": (384, 12, 6), "b": (768, 12, 12), "l": (1024, 24, 16), "xl": (1152, 28, 16)}[size]
    config: dict[str, Any] = {"blocks": blocks, "width": width, "depth": depth, "patch": 2, "size": 32, "channels": 4}
    if blocks == "dit":
        config["head_dim"] = width // heads
    name = f"{'d_emov2' if blocks == 'emov2' else 'dit'}_{size}"
    return GeneratorRecord(name, config, 256, parameters, flops, fid)


def _pixels(blocks: Blocks, depth: int, parameters: int) -> GeneratorRecord:
    """A small one for 16 x 16 gray pixels: 4 x 4 tokens, so that EMOv2's close and remote windows of 2 differ."""
    config = {
        "blocks": blocks, "width": 96, "depth": depth, "patch": 4, "size": 16, "channels": 1, "window": 2,
        "head_dim": 32, "condition_init": "unit",
    }  # fmt: skip
    name = "d_emov2_digits" if blocks == "emov2" else "dit_digits"
    return GeneratorRecord(name, config, 16, parameters, note="our own size")


#: Figures of the first four: training logs and table XIV of the paper; of DiT's: the same table.
GENERATORS = {
    record.name: record
    for record in (
        _latent("emov2", "s", 24_596_000, 5.4, 46.3),
        _latent("emov2", "b", 96_082_976, 19.9, 24.8),
        _latent("emov2", "l", 334_831_648, 69.3, 11.2),
        _latent("emov2", "xl", 492_692_000, 101.5, 9.6),
        _pixels("emov2", 5, 811_328),
        _latent("dit", "s", 32_963_360, 5.5, 68.4),
        _latent("dit", "b", 130_512_416, 21.8, 43.5),
        _latent("dit", "l", 458_102_816, 77.5, 23.3),
        _latent("dit", "xl", 675_129_632, 114.5, 19.5),
        _pixels("dit", 4, 824_288),
    )
}


def get_generator(name: str) -> GeneratorRecord:
    """The record of this name.

    Raises:
        UserError: there is none, naming the nearest.
    """
    if name not in GENERATORS:
        raise UserError(f"unknown generator {name!r}{did_you_mean(name, GENERATORS)} (known: {', '.join(GENERATORS)})")
    return GENERATORS[name]


def list_generators() -> list[str]:
    """Names for `phonecv.create_generator`."""
    return list(GENERATORS)
