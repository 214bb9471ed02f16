from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from phonecv.data.loading.loader import Batch, ClassificationDataset, make_loader
from phonecv.data.pictures.reading import eval_transform
from phonecv.training.checks import data_folder
from phonecv.training.dividing import Divided
from phonecv.training.loaders import SplitData
from phonecv.training.objective import Objective
from phonecv.training.setup import Setup, quick_findings
from phonecv.training.world import World
from regress.checks import DATA
from regress.config import RegressConfig
from regress.data import Split, read_split
from regress.network import Regressor, create_regressor


class RegressSetup(Setup):
    def __init__(self, config: RegressConfig) -> None:
        self.config = config
        self.root = data_folder(config, DATA)
        self.train, self.val = (read_split(self.root, split) for split in ("train", "val"))
        self.divided: Divided[Any] = Divided(cast(Any, self.train), cast(Any, self.val))

    @property
    def classes(self) -> Sequence[str]:
        return ("number",)

    @property
    def pictures(self) -> Sequence[Path]:
        return self.train.paths

    def findings(self) -> list[str]:
        return quick_findings(self.config, self.root, "regress")

    def network(self) -> Regressor:
        model = self.config.model
        net = create_regressor(str(self.config.regress.head), model.name, **dict(model.overrides))
        net.class_names = ("number",)
        net.preprocessing = replace(net.preprocessing, size=self.config.data.size or net.preprocessing.size)
        return net

    def data(self, net: Regressor, world: World, workers: int) -> RegressData:
        return RegressData(self.config, self.train, self.val, net, world, workers)

    def objective(self, net: Regressor, world: World) -> RegressObjective:
        return RegressObjective(self.train, self.val)


def open_setup(config: RegressConfig) -> RegressSetup:
    return RegressSetup(config)


class RegressData(SplitData):
    def __init__(
        self, config: RegressConfig, train: Split, val: Split, net: Regressor, world: World, workers: int
    ) -> None:
        super().__init__(config, world, workers, train=train.paths, val=val.paths)
        read = eval_transform(net.preprocessing)
        self.train_set = ClassificationDataset(train.listing, read, config.run.seed)
        self.val_set = ClassificationDataset(val.listing, read, substitute=False)

    def loader(self, dataset: ClassificationDataset, batches: Any) -> Iterable[Batch]:
        return cast("Iterable[Batch]", make_loader(dataset, batches, self.workers, pin_memory=self.pinned))


class RegressObjective(Objective):
    """Squared error; the share of the numbers' variance that is explained, in percent."""

    score = "explained"
    loss_names: tuple[str, ...] = ("square",)
    figures: tuple[str, ...] = ("explained",)

    def __init__(self, train: Split, val: Split) -> None:
        self.train, self.val = (torch.tensor(split.numbers) for split in (train, val))

    def losses(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        return {"square": (model(batch.images)[:, 0].float() - self.train[batch.labels]).square().mean()}

    def predict(self, net: nn.Module, batch: Batch) -> Tensor:
        return net(batch.images)[:, 0]

    def meter(self, device: torch.device) -> RegressMeter:
        return RegressMeter(self.val, device)


class RegressMeter:
    def __init__(self, numbers: Tensor, device: torch.device) -> None:
        self.numbers, self.square = numbers, torch.zeros((), device=device)

    def update(self, output: Tensor, batch: Batch) -> None:
        self.square += (output.float() - self.numbers[batch.labels])[batch.good].square().sum()

    def result(self, world: World) -> dict[str, float]:
        mean = float(world.sum(self.square)) / len(self.numbers)
        return {"explained": 100 * (1 - mean / float(self.numbers.var(correction=0)))}
