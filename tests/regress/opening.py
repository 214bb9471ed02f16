from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from phonecv.data.pictures.opening import open_image
from phonecv.data.pictures.reading import eval_transform
from phonecv.errors import UserError
from phonecv.exporting.fields import FileRecord
from phonecv.exporting.opening import OpenedFile
from phonecv.opening import Placed, Runner, open_runner
from phonecv.preprocessing import Preprocessing
from regress.network import create_regressor

#: How weights make the network of a file.
create = create_regressor


@dataclass(frozen=True, slots=True)
class RegressRunner(Runner[Tensor, Tensor]):
    """A regressor ready to run: ``B 3 H W`` -> ``B 1``."""

    task: ClassVar[str] = "regress"

    def numbers(self, paths: Sequence[Path]) -> Iterator[tuple[Path, float, str]]:
        """Path, number and error of each picture."""
        assert isinstance(self.preprocessing, Preprocessing)
        read = eval_transform(self.preprocessing)
        for path in paths:
            try:
                image = read(open_image(path))
            except UserError as error:
                yield path, float("nan"), str(error)
                continue
            yield path, float(self.run(image[None])[0, 0]), ""


def open_regressor(model: Any) -> RegressRunner:
    return open_runner(model, "regress")


def network_runner(placed: Placed, options: None) -> RegressRunner:
    @torch.inference_mode()
    def run(images: Tensor) -> Tensor:
        return placed.network(images.to(placed.device)).float().cpu()

    network = placed.network
    return RegressRunner(
        placed.description, run, ("number",), False, placed.device, network.preprocessing, placed.details
    )


def file_runner(file: OpenedFile, options: None) -> RegressRunner:
    spec = Preprocessing.from_dict(file.record["preprocessing"])
    return RegressRunner(
        file.description,
        lambda images: file.outputs(images, spec)[0],
        ("number",),
        False,
        preprocessing=spec,
        details=file.details,
    )


def names_in(record: FileRecord) -> None:
    return None
