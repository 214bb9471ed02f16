"""A backbone learns from pictures without labels: the features that a teacher has of them.

The classifier's place is taken by a projection to the teacher's features. It is linear, so the average of what it makes
of each place of the map is what it makes of the averaged map: one projection serves for both. Checkpoints hold the
backbone alone.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phonecv.classify.config import ClassifyConfig
from phonecv.classify.features import MOST_BYTES, FeatureData
from phonecv.data.loading.loader import Batch, ClassificationDataset, SampleKey
from phonecv.errors import UserError
from phonecv.models import VisionModel
from phonecv.training.groups import DistillConfig
from phonecv.training.loaders import UnderWay
from phonecv.training.objective import Objective
from phonecv.training.teacher import Teacher
from phonecv.training.world import World

#: Weights of the two distances, those of AM-RADIO (Ranzinger et al., CVPR 2024, arXiv 2312.06709); features are
#: standardised as in Theia (Shang et al., CoRL 2024, arXiv 2407.20179).
COSINE, SMOOTH_L1 = 0.9, 0.1
#: Coarsest stride of our backbones: the map of a picture is so many times smaller.
STRIDE = 32
#: Training pictures by which features are standardised where none are kept.
SAMPLE = 512


class FeatureTeacher(nn.Module):
    """What a teacher sees in the student's batch: rows of its pooled features, and where asked its last map.

    Attributes:
        pooled: width of the pooled features.
        channels: of the map; 0 for none.
        outputs: of the student's projection.

    Raises:
        UserError: a network that does not tell its features, or has no map.
    """

    centre: Tensor
    spread: Tensor

    def __init__(self, teacher: Teacher, *, maps: bool) -> None:
        super().__init__()
        self.teacher, self.maps = teacher, maps
        if not (hasattr(teacher.net, "forward_features") and hasattr(teacher.net, "forward_head")):
            raise UserError(f"{teacher.name} does not tell its features; most networks of timm and all of ours do")
        side = teacher.size
        with torch.no_grad():
            pooled, map_ = self._both(torch.zeros(1, len(teacher.own_mean.flatten()), side, side))
        self.pooled, self.channels = pooled.shape[1], map_.shape[1] if maps else 0
        self.outputs = self.pooled + self.channels
        self.register_buffer("centre", torch.zeros(self.outputs), persistent=False)
        self.register_buffer("spread", torch.ones(self.outputs), persistent=False)

    def width(self, side: int) -> int:
        """Numbers in a row, for pictures of this side."""
        return self.pooled + self.channels * math.ceil(side / STRIDE) ** 2

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Rows ``B width`` for the student's batch: pooled features, then the map as large as the student's."""
        pooled, map_ = self._both(self.teacher.adapt(images))
        if not self.maps:
            return pooled
        height, width = (math.ceil(side / STRIDE) for side in images.shape[-2:])
        if min(map_.shape[-2] / height, map_.shape[-1] / width) >= 1:
            map_ = F.adaptive_avg_pool2d(map_, (height, width))
        else:
            map_ = F.interpolate(map_, (height, width), mode="bilinear", align_corners=False)
        return torch.cat([pooled, map_.flatten(1)], 1)

    def _both(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Pooled features ``B D`` and the map ``B C h w`` that they come from."""
        net: Any = self.teacher.net
        features = net.forward_features(images)
        pooled = net.forward_head(features, pre_logits=True).flatten(1)
        return pooled, self._map(features) if self.maps else features

    def _map(self, features: Tensor) -> Tensor:
        net: Any = self.teacher.net
        if features.ndim == 4:  # some keep the channels last
            last = features.shape[-1] == net.num_features != features.shape[1]
            return features.permute(0, 3, 1, 2) if last else features
        tokens = features[:, getattr(net, "num_prefix_tokens", 0) :]
        side = math.isqrt(tokens.shape[1])
        if side * side != tokens.shape[1]:
            raise UserError(f"the features of {self.teacher.name} are no square map; set distill.maps=0")
        return tokens.transpose(1, 2).unflatten(2, (side, side))

    def settle(self, rows: Tensor) -> None:
        """Standardise by these rows of training pictures: each channel gets mean 0 and variance 1."""
        pooled, maps = self.split(rows)
        parts = [pooled] if maps is None else [pooled, maps.flatten(0, 1)]
        spread = torch.cat([part.std(0) for part in parts])
        self.centre.copy_(torch.cat([part.mean(0) for part in parts]))
        # A channel that is always the same says nothing, whatever its last digits do.
        self.spread.copy_(spread.clamp(min=max(1e-6, 1e-3 * float(spread.mean()))))

    def split(self, rows: Tensor) -> tuple[Tensor, Tensor | None]:
        """Rows -> pooled features ``B D``, and where there are maps ``B h*w C``."""
        maps = rows[:, self.pooled :].unflatten(1, (self.channels, -1)).transpose(1, 2) if self.maps else None
        return rows[:, : self.pooled], maps

    def standardised(self, rows: Tensor) -> tuple[Tensor, Tensor | None]:
        """As `split`, each channel standardised."""
        pooled, maps = self.split(rows)
        own = slice(None, self.pooled), slice(self.pooled, None)
        pooled = (pooled - self.centre[own[0]]) / self.spread[own[0]]
        return pooled, None if maps is None else (maps - self.centre[own[1]]) / self.spread[own[1]]


class Projected(nn.Module):
    """The student in training: pictures -> features projected to the teacher's, at each place of the last map."""

    def __init__(self, net: VisionModel) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        """``B 3 H W`` -> ``B h*w outputs``."""
        return project(self.net, images)


def project(net: VisionModel, images: Tensor) -> Tensor:
    """See `Projected`."""
    return net.get_classifier()(net.forward_features(images).flatten(2).transpose(1, 2)).float()


def distance(given: Tensor, wanted: Tensor) -> Tensor:
    """How far features are from the teacher's, over the last axis: cosine and smooth L1, averaged over all others."""
    cosine = F.cosine_similarity(given, wanted, dim=-1).mean()
    return COSINE * (1 - cosine) + SMOOTH_L1 * F.smooth_l1_loss(given, wanted)


class FeatureObjective(Objective):
    """The distance of projected features from the teacher's; judged by the cosine between them."""

    score = "similarity"
    figures: tuple[str, ...] = ("similarity", "error", "images")

    def __init__(self, config: DistillConfig, teacher: FeatureTeacher) -> None:
        self.config, self.teacher = config, teacher
        self.loss_names: tuple[str, ...] = ("features", "maps") if teacher.maps else ("features",)

    def losses(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """{"features": ..., "maps": ...}, weights included."""
        given = project(model, batch.images) if isinstance(model, VisionModel) else model(batch.images)
        pooled, maps = self._wanted(batch)
        width, config = self.teacher.pooled, self.config
        named = {"features": config.weight * distance(given[..., :width].mean(1), pooled)}
        if maps is not None:
            named["maps"] = config.weight * config.maps * distance(given[..., width:], maps)
        return named

    def _wanted(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        kept = batch.labels.is_floating_point()
        return self.teacher.standardised(batch.labels if kept else self.teacher(batch.images).float())

    def predict(self, net: nn.Module, batch: Batch) -> Tensor:
        """The cosine of each picture's pooled features and the teacher's, ``B``."""
        assert isinstance(net, VisionModel)
        given = project(net, batch.images)[..., : self.teacher.pooled].mean(1)
        return F.cosine_similarity(given, self._wanted(batch)[0], dim=-1)

    def meter(self, device: torch.device) -> SimilarityMeter:
        """Averages cosines."""
        return SimilarityMeter(device)

    def error(self, figures: Mapping[str, float]) -> float | None:
        """The standard error of the mean."""
        return figures.get("error")

    def kept(self, net: nn.Module) -> VisionModel:
        """The backbone alone."""
        backbone = copy.deepcopy(net)
        assert isinstance(backbone, VisionModel)
        backbone.reset_classifier(0)
        return backbone


class SimilarityMeter:
    """Mean cosine over the pictures that could be read, and its standard error, in percent."""

    def __init__(self, device: torch.device) -> None:
        self.sums = torch.zeros(3, dtype=torch.float64, device=device if device.type != "mps" else "cpu")

    def update(self, output: Tensor, batch: Batch) -> None:
        """Take in the cosines of a batch."""
        good = output[batch.good.to(output.device)].to(self.sums)
        self.sums += torch.stack([good.sum(), good.square().sum(), torch.full_like(good.sum(), len(good))])

    def result(self, world: World) -> dict[str, float]:
        """similarity and error, percent; images."""
        total, squares, count = world.sum(self.sums).tolist()
        mean, many = total / max(1, count), max(2, count)
        variance = max(0.0, squares / many - mean**2) * many / (many - 1)
        return {"similarity": 100 * mean, "error": 100 * math.sqrt(variance / many), "images": count}


def taught_views(config: ClassifyConfig, train: int, val: int, width: int) -> tuple[int, str]:
    """Of how many views of each picture the teacher's features are kept, and what to know of it; 0: of none."""
    why = ""
    views = min(config.data.views, max(0, MOST_BYTES // (4 * width) - val) // train)
    if config.data.views == 0:
        why = "data.views=0"
    elif len(config.stages()) > 1:
        why = "a curriculum"
    elif views == 0:
        why = f"features of {4 * (train + val) * width / 2**30:.0f} GiB"
    if why:
        return 0, f"the teacher runs at every step ({why})"
    fewer = f" ({config.data.views} would not fit into {MOST_BYTES / 2**30:.0f} GiB)" * (views < config.data.views)
    return views, f"the teacher's features of {views} views of each training picture are kept{fewer}"


class TaughtData(FeatureData):
    """Pictures, with the teacher's features of them in the place of labels where these are kept."""

    def prepare(self, run: UnderWay) -> None:
        """Compute the features that are kept, or those of some pictures to standardise by.

        Raises:
            Interrupted: somebody asked to stop.
        """
        teacher = self.net
        assert isinstance(teacher, FeatureTeacher)
        if self.views:
            FeatureData.prepare(self, run)
            teacher.settle(self.kept["train"].features.flatten(0, 1).to(self.world.device))
        else:
            size, every = self.config.data.eval_batch_size, max(1, self.train_size // SAMPLE)
            keys = [SampleKey(place) for place in range(0, self.train_size, every)]
            batches = [keys[start : start + size] for start in range(0, len(keys), size)]
            loader = self.loader(self.pictures.augmented, batches)
            teacher.settle(torch.cat([teacher(self.placed(batch).images) for batch in loader]))

    def train_loader(self, epoch: int, start: int) -> Iterable[Batch]:
        """Batches of an epoch (from 0) for this process, from part number `start` on."""
        batches: Any = self.batches.epoch(epoch, start, self.config.stage(epoch))
        if not self.kept:
            return self.loader(self.pictures.augmented, batches)
        views = [[key._replace(epoch=self._view(key), repeat=0) for key in keys] for keys in batches]
        return self._taught(self.pictures.augmented, views, "train")

    def eval_loader(self) -> Iterable[Batch]:
        """This process's share of the pictures held out."""
        if not self.kept:
            return self.loader(self.pictures.val, self.val_batches)
        return self._taught(self.pictures.val, self.val_batches, "val")

    def _taught(self, dataset: ClassificationDataset, batches: list[list[SampleKey]], split: str) -> Iterator[Batch]:
        rows = self.kept[split].features
        for keys, batch in zip(batches, self.loader(dataset, batches), strict=True):
            views, places = (torch.tensor([getattr(key, name) for key in keys]) for name in ("epoch", "index"))
            batch.labels = rows[views, places] if split == "train" else rows[places]
            yield batch

    def _features(self, images: Tensor) -> Tensor:
        return self.net(images)
