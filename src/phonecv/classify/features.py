"""A classifier whose backbone is frozen (`model.freeze=all`): its features are computed once, then the head is trained.

Nothing before the head changes, so a picture that passes through the network again gives the same features. Each
training picture is seen in a few views (`data.views`), the first as in validation, the others augmented; every epoch
takes one of them for each picture.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from phonecv.classify.config import ClassifyConfig
from phonecv.data.loading.loader import Batch, ClassificationDataset, SampleKey, eval_indices, make_loader
from phonecv.devices import cpu_batch
from phonecv.models import VisionModel
from phonecv.training.interrupt import Interrupted
from phonecv.training.loaders import SplitData, UnderWay
from phonecv.training.world import World

#: Most memory for kept features, per process.
MOST_BYTES = 4 * 2**30


def kept_views(config: ClassifyConfig, pictures: int, features: int) -> tuple[int, str]:
    """How many views of each training picture are kept, and what a person should know; 0 views: none are."""
    if "all" not in config.model.freeze:
        return 0, ""
    changing = {
        "data.views=0": config.data.views == 0,
        "mixed pictures (loss.mixup, loss.cutmix)": bool(config.loss.mixup or config.loss.cutmix),
        "a curriculum": len(config.stages()) > 1,
        "a teacher": config.distill.teacher is not None,
    }
    why = [name for name, there in changing.items() if there]
    fits = MOST_BYTES // (4 * pictures * features)
    if not why and not fits:
        why = [f"features of {4 * pictures * features / 2**30:.0f} GiB"]
    if why:
        return 0, f"the backbone is frozen, but its features are not kept: {', '.join(why)}"
    views = min(config.data.views, fits)
    fewer = (
        f" ({config.data.views} would not fit into {MOST_BYTES / 2**30:.0f} GiB)" if views < config.data.views else ""
    )
    return views, f"the backbone is frozen: features of {views} views of each training picture are kept{fewer}"


@dataclass(slots=True)
class Kept:
    """Features of a split, computed by this process or by all of them.

    Attributes:
        features: views, pictures, features.
        labels: views, pictures, and classes where pictures have several labels; where a file cannot be read another
            picture stands in.
        errors: by picture, empty where all is well; only for this process's own.
    """

    features: Tensor
    labels: Tensor
    errors: dict[int, str]


class Pictures(NamedTuple):
    """What features are computed from: training pictures as in validation, the same augmented, validation pictures."""

    plain: ClassificationDataset
    augmented: ClassificationDataset
    val: ClassificationDataset


class PictureData(SplitData):
    """Loaders of classified pictures."""

    def loader(self, dataset: ClassificationDataset, batches: Any) -> Iterable[Any]:
        """A loader of pictures with a class each."""
        return make_loader(dataset, batches, self.workers, pin_memory=self.pinned, channels_last=self.channels_last)


class FeatureData(PictureData):
    """Loaders of kept features, some views of each training picture: batches whose `images` are ``B width``.

    Args:
        net: gives the features.
        width: of them.
        views: of each training picture.
    """

    def __init__(
        self,
        config: ClassifyConfig,
        world: World,
        workers: int,
        pictures: Pictures,
        net: nn.Module,
        *,
        width: int,
        views: int,
        rates: np.ndarray | None,
    ) -> None:
        train, val = (_files(dataset) for dataset in (pictures.plain, pictures.val))
        super().__init__(config, world, workers, train=train, val=val, rates=rates)
        self.pictures, self.net, self.width, self.views = pictures, net, width, views
        self.kept: dict[str, Kept] = {}

    def prepare(self, run: UnderWay) -> None:
        """Compute the features of both splits; several processes share the training split.

        Raises:
            Interrupted: somebody asked to stop.
        """
        world, pictures = self.world, self.pictures
        own = list(eval_indices(self.train_size, world.rank, world.size))
        parts = [
            self._through(run, pictures.augmented if view else pictures.plain, own, view, "train")
            for view in range(self.views)
        ]
        features = torch.stack([world.sum(part.features) for part in parts])
        self.kept["train"] = Kept(features, torch.stack([world.sum(part.labels) for part in parts]), {})
        own = list(eval_indices(self.val_size, world.rank, world.size))
        self.kept["val"] = self._through(run, pictures.val, own, 0, "val")

    def train_loader(self, epoch: int, start: int) -> Iterable[Batch]:
        """Batches of an epoch (from 0) for this process, from part number `start` on."""
        kept = self.kept["train"]
        for keys in self.batches.epoch(epoch, start):
            indices = torch.tensor([key.index for key in keys])
            views = torch.tensor([self._view(key) for key in keys])
            images, labels = kept.features[views, indices], kept.labels[views, indices]
            yield Batch(images, labels, indices, [""] * len(keys))

    def eval_loader(self) -> Iterable[Batch]:
        """This process's share of the validation split."""
        kept = self.kept["val"]
        for keys in self.val_batches:
            indices = torch.tensor([key.index for key in keys])
            errors = [kept.errors.get(key.index, "") for key in keys]
            yield Batch(kept.features[indices], kept.labels[indices], indices, errors)

    def _view(self, key: SampleKey) -> int:
        """The view of a picture in an epoch: any of them, each equally often in the long run."""
        words = np.random.SeedSequence((self.config.run.seed, key.epoch, key.index, key.repeat)).generate_state(1)
        return int(words[0]) % self.views

    @torch.no_grad()
    def _through(
        self, run: UnderWay, dataset: ClassificationDataset, indices: Sequence[int], view: int, split: str
    ) -> Kept:
        """Features of these pictures, in the places they have in the split; zeros elsewhere."""
        size, count = self.config.data.eval_batch_size, len(dataset)
        sets = dataset.listing.sets
        features = torch.zeros(count, self.width)
        labels = torch.zeros(count if sets is None else sets.shape, dtype=torch.int64)
        errors: dict[int, str] = {}
        keys = [SampleKey(index, epoch=view) for index in indices]
        batches = [keys[start : start + size] for start in range(0, len(keys), size)]
        loader = self.loader(dataset, batches)
        self.net.eval()
        title = "features of validation" if split == "val" else f"features, view {view + 1} of {self.views}"
        show = run.log.bar_for(title, len(batches))
        for done, batch in enumerate(loader, start=1):
            if run.interrupts.requested and self.world.size == 1:  # several processes finish it together
                raise Interrupted
            self.note_errors(batch, run.at.bad, split)
            errors |= {int(index): error for index, error in zip(batch.indices, batch.errors, strict=True) if error}
            found = [self._features(part) for part in self._parts(self.placed(batch).images)]
            features[batch.indices], labels[batch.indices] = torch.cat(found).float().cpu(), batch.labels
            show(done)
        return Kept(features, labels, errors)

    def _parts(self, images: Tensor) -> Sequence[Tensor]:
        return images.split(cpu_batch(*images.shape[-2:])) if images.device.type == "cpu" else (images,)

    def _features(self, images: Tensor) -> Tensor:
        assert isinstance(self.net, VisionModel)
        return self.net.forward_head(self.net.forward_features(images), pre_logits=True)


def _files(dataset: ClassificationDataset) -> list[Path]:
    return [sample.path for sample in dataset.listing.samples]
