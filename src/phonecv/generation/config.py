"""What a training of a generator sets, and how pictures are sampled. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from phonecv.errors import UserError
from phonecv.generation.catalog import get_generator
from phonecv.settings import Range
from phonecv.training.config import TrainConfig
from phonecv.training.groups import BelowOne, Natural, NotNegative, Share


@dataclass(frozen=True, slots=True)
class GeneratorConfig:
    """What a generator learns from, and what it shows on the way.

    Attributes:
        loss: "hybrid", squared error of the noise and the variational bound of its variance, as DiT; null: no generator
            is trained.
        class_dropout: share of the pictures that are learned without their class, which guidance needs.
        hflip: probability of a horizontal flip; 0 where left and right differ, as in digits.
        autoencoder: for generators on latents: a person's own AutoencoderKL, a folder or a file. Every picture passes
            through it once, and what comes out is kept.
        cache: folder for what is kept of the pictures, pixels or latents; null: the package's cache folder.
        samples: pictures that the averaged network draws at every evaluation (`samples.png` in the run folder), of all
            classes in turn; 0 for none.
        sample_steps: of DDIM for those.
        guidance: of those.
    """

    loss: Literal["hybrid"] | None = None
    class_dropout: BelowOne = 0.1
    hflip: Share = 0.5
    autoencoder: str | None = None
    cache: str | None = None
    samples: Natural = 40
    sample_steps: Annotated[int, Range(1, 1000)] = 50
    guidance: NotNegative = 1.5


@dataclass(frozen=True, slots=True)
class GenerateConfig(TrainConfig):
    """The training of a generator."""

    generate: GeneratorConfig = field(default_factory=GeneratorConfig)

    task: ClassVar[str] = "generate"
    chosen_by: ClassVar[str] = "generate.loss"
    unread: ClassVar[tuple[str, ...]] = (
        "data.balance", "data.size", "data.longest", "data.mean", "data.std", "data.views", "data.labels",
        "model.drop_path", "model.in_chans", "model.freeze", "model.mode",
    )  # fmt: skip

    def check_together(self) -> None:
        """Refuse networks that are no generators, and an autoencoder where there is nothing for it to do."""
        given = self.generate.autoencoder
        if given is not None and not get_generator(self.model.name).latent:
            raise UserError(f"{self.model.name} works on pixels and needs no generate.autoencoder={given!r}")

    def in_catalog(self, name: str) -> bool:
        """No: generators have a table of their own."""
        return False


Config = GenerateConfig
