"""Generators ready to run: networks of ours, checkpoints, exported files of any runtime."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from phonecv.errors import UserError
from phonecv.exporting.fields import require
from phonecv.exporting.opening import OpenedFile
from phonecv.generation.autoencoder import Autoencoder, open_autoencoder
from phonecv.generation.create import create_headed
from phonecv.opening import Placed, Runner, own_names
from phonecv.preprocessing import Preprocessing
from phonecv.whole.opening import in_batches

#: How weights make the network of a file.
create = create_headed
#: See `phonecv.opening.OpeningRoom`.
names_in = own_names


class Noisy(NamedTuple):
    """What a generator is given.

    Attributes:
        pictures: or latents, with noise, ``B C S S`` float32.
        timesteps: ``B``, whole numbers, 0 (least noise) to 999.
        classes: ``B``, whole numbers; the number of classes stands for none.
    """

    pictures: Tensor
    timesteps: Tensor
    classes: Tensor


@dataclass(frozen=True, slots=True)
class GenerateRunner(Runner[Noisy, Tensor]):
    """A generator ready to run: noisy pictures or latents -> their noise and its variance, ``B 2C S S`` float32.

    Attributes:
        preprocessing: of the pictures that it makes.
        channels: of what it denoises, C.
        size: its side, S.
        latent: whether that is an autoencoder's latent.
        batch: the only batch size that `run` takes, or None for any.
    """

    task: ClassVar[str] = "generate"

    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    channels: int = 3
    size: int = 32
    latent: bool = False
    batch: int | None = None

    def denoise(self, pictures: Tensor, timesteps: Tensor, classes: Tensor) -> Tensor:
        """See `phonecv.generation.sampling.Denoise`; a fixed batch size is served in parts, the last one filled up."""
        if self.batch is None:
            return self.run(Noisy(pictures, timesteps, classes))
        return in_batches(lambda *given: self.run(Noisy(*given)), self.batch, pictures, timesteps, classes)

    def autoencoder(self, path: Path | str | None) -> Autoencoder | None:
        """The autoencoder of its latents; None where it works on pixels."""
        if not self.latent:
            if path is not None:
                raise UserError(
                    f"{self.description.partition(',')[0]} works on pixels; leave out the autoencoder ({path})"
                )
            return None
        if path is None:
            raise UserError(
                f"{self.description} makes latents ({self.channels} x {self.size} x {self.size}), which an autoencoder"
                " turns into pictures; name it (--autoencoder FOLDER), such as Stable Diffusion's sd-vae-ft-mse"
            )
        opened = open_autoencoder(path, self.device)
        side = self.preprocessing.size
        if (opened.channels, opened.factor * self.size) != (self.channels, side):
            raise UserError(
                f"{path} makes latents of {opened.channels} channels with one for {opened.factor} pixels;"
                f" {self.description} needs {self.channels}, and one for {side // self.size}"
            )
        return opened


def network_runner(placed: Placed, options: None) -> GenerateRunner:
    """See `phonecv.opening.OpeningRoom`."""
    network, place = placed.network, placed.device

    @torch.inference_mode()
    def run(given: Noisy) -> Tensor:
        with placed.computing():
            return network(*(one.to(place) for one in given)).float()

    own = {name: getattr(network, name) for name in ("channels", "size", "latent")}
    return GenerateRunner.of_network(placed, run, **own)


def file_runner(file: OpenedFile, options: None) -> GenerateRunner:
    """See `phonecv.opening.OpeningRoom`."""
    record: dict[str, Any] = dict(file.record)
    require(record, ("inputs", "num_classes", "preprocessing"), file.path, "its inputs cannot be told")
    channels, _, size = record["inputs"][0]["shape"]
    spec = Preprocessing.from_dict(record["preprocessing"])

    def run(given: Noisy) -> Tensor:
        arrays = given.pictures.numpy(), given.timesteps.numpy(), given.classes.numpy()
        kinds = np.float32, np.float32, np.int32
        (found, *_) = file.session(*(array.astype(kind) for array, kind in zip(arrays, kinds, strict=True)))
        return torch.from_numpy(found).float()

    return GenerateRunner.of_file(
        file,
        run,
        record["num_classes"],
        preprocessing=spec,
        channels=channels,
        size=size,
        latent=spec.size != size,
        batch=file.session.batch,
    )
