from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from phonecv.data.pictures.opening import find_images, open_image
from phonecv.data.pictures.reading import eval_transform
from phonecv.preprocessing import Preprocessing
from phonecv.quantization.options import QuantizeOptions
from phonecv.quantization.scoring import Measure, Score
from phonecv.quantization.workshop import Workshop
from regress.network import Regressor
from regress.opening import RegressRunner, open_regressor


@dataclass(frozen=True, slots=True)
class Pictures:
    paths: tuple[Path, ...]
    preprocessing: Preprocessing
    source: str
    note: str = ""

    def __len__(self) -> int:
        return len(self.paths)

    def tensor(self) -> Tensor:
        read = eval_transform(self.preprocessing)
        return torch.stack([read(open_image(path)) for path in self.paths])


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberScore(Score):
    """How far a file's numbers are off, in percent of their spread."""

    def __str__(self) -> str:
        return f"off by {self.drop:.1f} % of the numbers' spread"


@dataclass
class RegressWorkshop(Workshop[Pictures]):
    @property
    def measure(self) -> Measure:
        return Measure("% of the numbers' spread", 20.0)

    def input_of(self, pictures: Pictures) -> Tensor:
        return pictures.tensor()

    def float_outputs(self, pictures: Pictures) -> Tensor:
        return self._numbers(open_regressor(self.network), pictures)

    def judge(self, path: Path, pictures: Pictures, reference: Tensor) -> Score:
        off = (self._numbers(open_regressor(path), pictures) - reference).abs().mean()
        return NumberScore(
            count=len(pictures), drop=float(100 * off / reference.std()), standard_error=0.0, decibels=0.0
        )

    def _numbers(self, runner: RegressRunner, pictures: Pictures) -> Tensor:
        return torch.tensor([number for _, number, _ in runner.numbers(pictures.paths)])

    def last_pictures(self, source: Path | str) -> Pictures:
        return Pictures(tuple(find_images(source)), self.network.preprocessing, str(source))

    def notes(self, last: Pictures | None) -> tuple[str, ...]:
        return ()


def check_int8(network: Regressor, formats: Sequence[str]) -> None:
    pass


def open_workshop(network: Regressor, options: QuantizeOptions) -> RegressWorkshop:
    paths = find_images(options.data)
    one, other = (Pictures(tuple(paths[start::2]), network.preprocessing, str(options.data)) for start in (0, 1))
    return RegressWorkshop(network, one, other)
