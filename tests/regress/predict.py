from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phonecv.data.pictures.opening import find_images
from phonecv.files import write_json
from phonecv.predicting import Prediction, pictures_only
from phonecv.verbs import Steps
from regress.opening import RegressRunner
from regress.verbs import PredictOptions

streams, find_samples = pictures_only, find_images


@dataclass(frozen=True, slots=True)
class PictureNumber(Prediction):
    """The number of a picture."""

    number: float = 0.0

    def said(self) -> str:
        return str(self.number)

    def values(self) -> dict[str, Any]:
        return {"number": None if self.error else self.number}


def predictions(
    runner: RegressRunner, paths: Sequence[Path], steps: Steps, options: PredictOptions, out: Path | None
) -> Iterator[list[PictureNumber]]:
    for path, number, error in runner.numbers(paths):
        yield [PictureNumber(path, 0.0 if error else round(number, options.digits), error=error)]


def write_predictions(predictions: Sequence[PictureNumber], out: Path | str) -> Path:
    write_json(Path(out) / "predictions.json", [one.to_dict() for one in predictions])
    return Path(out)
