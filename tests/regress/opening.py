from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from phonecv.create import load_network
from phonecv.data.pictures.opening import open_image
from phonecv.data.pictures.reading import eval_transform
from phonecv.errors import UserError
from phonecv.exporting import exporter_for
from phonecv.exporting.opening import open_session
from phonecv.preprocessing import Preprocessing
from phonecv.verbs import Opening
from regress.network import Regressor, create_regressor

#: How weights make the network of a file.
create = create_regressor


@dataclass(frozen=True, slots=True)
class RegressRunner:
    """A regressor ready to run.

    Attributes:
        description: for people.
        run: ``B 3 H W`` -> ``B 1``.
        preprocessing: of a picture.
        details: for reports.
    """

    task: ClassVar[str] = "regress"

    description: str
    run: Callable[[Tensor], Tensor]
    preprocessing: Preprocessing
    details: dict[str, Any] = field(default_factory=dict)

    def numbers(self, paths: Sequence[Path]) -> Iterator[tuple[Path, float, str]]:
        """Path, number and error of each picture."""
        read = eval_transform(self.preprocessing)
        for path in paths:
            try:
                image = read(open_image(path))
            except UserError as error:
                yield path, float("nan"), str(error)
                continue
            yield path, float(self.run(image[None])[0, 0]), ""


def open_regressor(model: Any, opening: Opening = Opening()) -> RegressRunner:  # noqa: B008
    if isinstance(model, RegressRunner):
        return model
    if isinstance(model, Path | str) and exporter_for(model) is not None:
        session = open_session(model)
        spec = Preprocessing.from_dict(session.record["preprocessing"])
        return RegressRunner(
            str(model), lambda x: torch.from_numpy(session(x.numpy())[0]), spec, {"runtime": session.runtime}
        )
    network: Regressor = load_network(model, task="regress", **opening.loading).eval()

    @torch.inference_mode()
    def run(images: Tensor) -> Tensor:
        return network(images)

    return RegressRunner(network.name, run, network.preprocessing, {"form": network.form, "runtime": "pytorch"})
