"""Training a generator: its pictures with noise, its network, its losses and what it draws on the way."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Self, cast

import numpy as np
import torch
from torch import Tensor, nn

from phonecv.create import with_own_weights
from phonecv.data.folders.listing import Listing
from phonecv.data.loading.loader import SampleKey
from phonecv.errors import UserError
from phonecv.files import cache_dir
from phonecv.generation.autoencoder import Autoencoder, open_autoencoder
from phonecv.generation.checks import read_splits
from phonecv.generation.config import GenerateConfig, GeneratorConfig
from phonecv.generation.create import create_generator
from phonecv.generation.diffusion import STEPS, hybrid_loss, noised
from phonecv.generation.generate import made_pictures
from phonecv.generation.kept import KeptPictures
from phonecv.generation.network import Generator
from phonecv.generation.opening import GenerateRunner
from phonecv.generation.pictures import save_grid
from phonecv.generation.verbs import Sampling
from phonecv.training.loaders import SplitData, UnderWay
from phonecv.training.objective import Objective
from phonecv.training.setup import ListedSetup, class_count, with_settings
from phonecv.training.world import World

#: Seed of the noise of validation, and of the pictures drawn: the same in every training.
FIXED = 0
#: Steps of validation are spread evenly, and alike over all classes, by the golden ratio.
GOLDEN = (5**0.5 - 1) / 2
#: The pictures drawn last, in the run folder; those of each evaluation are in the folder of that name.
SAMPLES = "samples.png"


class GenerateSetup(ListedSetup):
    """Of pictures to be made like."""

    audited = "classify"
    config: GenerateConfig
    autoencoder: Autoencoder | None = None

    def network(self) -> Generator:
        """The network with its starting weights, class names and preprocessing."""
        wanted = self.config.model
        count = class_count(self.config, len(self.classes))
        net = create_generator(wanted.name, num_classes=count, **wanted.overrides)
        if wanted.weights is not None:
            net = with_own_weights(net, wanted.weights, form=None, ema=wanted.ema_weights)
        net.class_names = tuple(self.classes) if len(self.classes) == count else None
        net.preprocessing = with_settings(net.preprocessing, self.config, "crop", "interpolation", "bits")
        return net

    def data(self, net: Generator, world: World, workers: int) -> GenerateData:
        """Pictures or latents, with noise."""
        self.autoencoder = self._autoencoder(net, world)
        return GenerateData(self.config, self.train, self.val, net, self.autoencoder, world, workers)

    def objective(self, net: Generator, world: World) -> GenerateObjective:
        """The hybrid loss."""
        return GenerateObjective(self.config.generate, self.autoencoder)

    def _autoencoder(self, net: Generator, world: World) -> Autoencoder | None:
        path = self.config.generate.autoencoder
        if path is None:
            return None
        found = open_autoencoder(path, world.device)
        side = net.preprocessing.size // found.factor
        if (found.channels, side) != (net.channels, net.size):
            raise UserError(
                f"generate.autoencoder={path!r} makes latents of {found.channels} x {side} x {side} of pictures of"
                f" {net.preprocessing.size} px, {net.name} takes {net.channels} x {net.size} x {net.size}"
            )
        return found


def open_setup(config: GenerateConfig) -> GenerateSetup:
    """See `phonecv.training.setup.TrainingRoom`."""
    return GenerateSetup(config, read_splits(config))


@dataclass(slots=True)
class NoisyBatch:
    """Pictures of one step, and what is drawn for them.

    Attributes:
        images: ``B C S S``, clean: pixels in -1..1 or latents.
        noise: as large.
        timesteps: ``B``, int64.
        classes: ``B``, int64; the number of classes where the class is left out.
        indices: ``B``, places in the split.
        errors: one text for each picture, empty where all is well.
    """

    images: Tensor
    noise: Tensor
    timesteps: Tensor
    classes: Tensor
    indices: Tensor
    errors: list[str]

    @property
    def good(self) -> Tensor:
        """``B``, bool: False where the file could not be used."""
        return torch.tensor([not error for error in self.errors])

    def to(self, device: torch.device | str, *, non_blocking: bool = True) -> Self:
        """All but places and errors on `device`."""
        names = [one.name for one in fields(self)][:4]
        return replace(self, **{name: getattr(self, name).to(device, non_blocking=non_blocking) for name in names})


class GenerateData(SplitData):
    """Batches with noise. All that is random about a picture follows from (seed, epoch, picture, repeat).

    So a resumed training draws what an unbroken one would, and several processes draw together what one would.
    """

    def __init__(
        self,
        config: GenerateConfig,
        train: Listing,
        val: Listing,
        net: Generator,
        autoencoder: Autoencoder | None,
        world: World,
        workers: int,
    ) -> None:
        files = [[sample.path for sample in listing.samples] for listing in (train, val)]
        super().__init__(config, world, workers, train=files[0], val=files[1])
        self.wanted, self.classes = config.generate, net.num_classes
        folder = Path(self.wanted.cache) if self.wanted.cache else cache_dir() / "generate"
        self.train_set, self.val_set = (
            KeptPictures(
                listing,
                net.preprocessing,
                autoencoder,
                gray=net.channels == 1,
                flips=listing is train and self.wanted.hflip > 0,
                folder=folder,
            )
            for listing in (train, val)
        )
        self.note = f"what the network sees of the pictures is kept in {folder}"

    def prepare(self, run: UnderWay) -> None:
        """Make what is kept of both splits, where it is not there from before."""
        for split, kept in (("training", self.train_set), ("validation", self.val_set)):
            kept.prepare(run, self.world, f"{split} pictures", self.workers)

    def train_loader(self, epoch: int, start: int) -> Iterator[NoisyBatch]:
        """Batches of an epoch (from 0) for this process, from part number `start` on."""
        return (self._batch(self.train_set, keys, training=True) for keys in self.batches.epoch(epoch, start))

    def eval_loader(self) -> Iterator[NoisyBatch]:
        """This process's share of the validation split; noise and steps are the same in every evaluation."""
        return (self._batch(self.val_set, keys, training=False) for keys in self.val_batches)

    def placed(self, batch: NoisyBatch) -> NoisyBatch:
        """The batch where the network is, in the layout it wants."""
        batch = batch.to(self.world.device)
        if self.channels_last:
            batch.images = batch.images.contiguous(memory_format=torch.channels_last)
        return batch

    def _batch(self, kept: KeptPictures, keys: Sequence[SampleKey], *, training: bool) -> NoisyBatch:
        rows = [self._drawn(kept, key, training=training) for key in keys]
        images, noise, timesteps, classes = zip(*rows, strict=True)
        return NoisyBatch(
            torch.from_numpy(np.stack(images)),
            torch.from_numpy(np.stack(noise)),
            torch.tensor(timesteps),
            torch.tensor(classes),
            torch.tensor([key.index for key in keys]),
            [kept.errors.get(key.index, "") for key in keys],
        )

    def _drawn(self, kept: KeptPictures, key: SampleKey, *, training: bool) -> tuple[np.ndarray, np.ndarray, int, int]:
        seed = (self.config.run.seed, key.epoch, key.index, key.repeat) if training else (FIXED, key.index)
        random = np.random.default_rng(seed)
        # A picture that cannot be read is another one in training; evaluation leaves it out by its error.
        index = kept.readable(key.index) if training else key.index
        label = int(kept.listing.labels[index])
        flip = training and random.random() < self.wanted.hflip
        found = kept[index]
        if found.dtype == np.uint8:
            image = found.astype(np.float32) / 127.5 - 1
            image = image[:, :, ::-1] if flip else image
        else:
            mean, deviation = found[int(flip)].astype(np.float32)
            image = mean + deviation * random.standard_normal(mean.shape, np.float32)
        if not training:
            return image, random.standard_normal(image.shape, np.float32), int(STEPS * (key.index * GOLDEN % 1)), label
        step = int(random.integers(STEPS))
        if random.random() < self.wanted.class_dropout:
            label = self.classes
        return image, random.standard_normal(image.shape, np.float32), step, label


class GenerateObjective(Objective):
    """Squared error of the noise and the bound of its variance; validation by the same, in decibels below the noise.

    Args:
        config: what is drawn on the way.
        autoencoder: turns latents into pictures; None for pixels.
    """

    score = "db"
    loss_names: tuple[str, ...] = ("mse", "bound")
    figures: tuple[str, ...] = ("db", "mse", "bound")

    def __init__(self, config: GeneratorConfig, autoencoder: Autoencoder | None) -> None:
        self.config, self.autoencoder = config, autoencoder

    def losses(self, model: nn.Module, batch: NoisyBatch) -> dict[str, Tensor]:
        """{"mse": ..., "bound": ...}, means over the batch."""
        return {name: each.mean() for name, each in self.predict(model, batch).items()}

    def predict(self, net: nn.Module, batch: NoisyBatch) -> dict[str, Tensor]:
        """The same for each picture."""
        noisy = noised(batch.images, batch.noise, batch.timesteps)
        prediction = net(noisy, batch.timesteps, batch.classes)
        return hybrid_loss(prediction, batch.images, noisy, batch.noise, batch.timesteps)

    def meter(self, device: torch.device) -> GenerateMeter:
        """Sums."""
        return GenerateMeter(device)

    def illustrate(self, nets: Mapping[str, nn.Module], folder: Path, epoch: int) -> None:
        """Pictures of all classes in turn by the averaged network, from the same noise every time."""
        if not self.config.samples:
            return
        net = cast(Generator, nets.get("ema") or nets["net"])
        classes = [place % net.num_classes for place in range(self.config.samples)]
        sampling = Sampling("ddim", self.config.sample_steps, self.config.guidance)
        own = {name: getattr(net, name) for name in ("channels", "size", "latent")}
        names, device = tuple(map(str, range(net.num_classes))), net.last.weight.device
        runner = GenerateRunner(net.name, lambda given: net(*given).float(), names, device=device, **own)
        pictures = torch.cat(list(made_pictures(runner, self.autoencoder, classes, sampling, FIXED)))
        columns = min(net.num_classes, 10)
        save_grid(pictures, folder / "samples" / f"epoch-{epoch:04d}.png", columns=columns)
        save_grid(pictures, folder / SAMPLES, columns=columns)


class GenerateMeter:
    """Means over the pictures that could be read."""

    def __init__(self, device: torch.device) -> None:
        kept = device if device.type != "mps" else "cpu"  # which has no float64
        self.sums = torch.zeros(3, dtype=torch.float64, device=kept)  # mse, bound, pictures

    def update(self, output: Mapping[str, Tensor], batch: NoisyBatch) -> None:
        """Take in one batch."""
        good = batch.good.to(self.sums.device)
        rows = (
            torch.stack([output["mse"], output["bound"], torch.ones_like(output["mse"])]).to(self.sums.device).double()
        )
        self.sums += rows[:, good].sum(1)

    def result(self, world: World) -> dict[str, float]:
        """db: how far the error is below the noise, 10 log10(1 / mse); the two losses."""
        mse, bound, count = world.sum(self.sums).tolist()
        mse, bound = mse / max(1, count), bound / max(1, count)
        return {"db": -10 * math.log10(max(mse, 1e-12)), "mse": mse, "bound": bound}
