"""One trial: a method applied, a file written in its format, and the file judged on pictures."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from phonecv.errors import UserError
from phonecv.exporting import export
from phonecv.exporting.ranges import Int8Settings
from phonecv.exporting.run import ExportResult
from phonecv.models.headed import HeadedModel, RawOutputs
from phonecv.models.quantized import state_of
from phonecv.quantization.data import PictureSet
from phonecv.quantization.methods import Method
from phonecv.quantization.qat import FineTuning
from phonecv.quantization.remedies import apply
from phonecv.quantization.result import Trial
from phonecv.quantization.scoring import Measure, Score
from phonecv.quantization.sensitivity import LayerNoise, layer_noise, most_sensitive

#: Pictures on which layers are told apart, at most.
_FEW = 16

#: Of the log of a toolkit that failed.
_LOG_LINES = 3

P = TypeVar("P", bound=PictureSet)


@dataclass
class Workshop(ABC, Generic[P]):
    """A network with its pictures, and what was made of it so far: methods share what they have in common.

    Attributes:
        network: fused, on the CPU, in evaluation mode.
        calibration: pictures to find ranges on.
        choosing: pictures to choose by.
        precision: of the files.
        tuning: how methods that train do it.
        say: called with what they have to say meanwhile.
    """

    network: Any
    calibration: P
    choosing: P
    precision: str = "int8"
    tuning: FineTuning = field(default_factory=FineTuning)
    say: Callable[[str], None] | None = None
    _made: dict[Any, Any] = field(default_factory=dict)
    _noise: dict[tuple[str, ...], list[LayerNoise]] = field(default_factory=dict)

    @property
    @abstractmethod
    def measure(self) -> Measure:
        """What a budget counts."""

    @abstractmethod
    def input_of(self, pictures: P) -> Tensor:
        """Pictures as a file gets them, ``N 3 H W``."""

    @abstractmethod
    def float_outputs(self, pictures: P) -> Any:
        """What the floating-point network says of pictures, for `judge`."""

    @abstractmethod
    def judge(self, path: Path, pictures: P, reference: Any) -> Score:
        """A file's score on pictures, with the `reference` from `float_outputs`."""

    @abstractmethod
    def last_pictures(self, source: Path | str) -> P:
        """The pictures of the last word."""

    @abstractmethod
    def notes(self, last: P | None) -> tuple[str, ...]:
        """What a person should know, of the pictures above all."""

    def final(self, path: Path, pictures: P) -> Score:
        """A chosen file's score on the pictures of the last word."""
        return self.judge(path, pictures, self.float_outputs(pictures))

    @property
    def file_size(self) -> tuple[int, int] | None:
        """Height and width of a file's input; None: those of the network's preprocessing."""
        return None

    @property
    def few(self) -> int:
        """Pictures on which layers are told apart."""
        return _FEW

    @cached_property
    def body(self) -> nn.Module:
        """What remedies are applied to: a module that takes a batch of pictures and gives tensors."""
        return RawOutputs(self.network).eval() if isinstance(self.network, HeadedModel) else self.network

    @cached_property
    def images(self) -> Tensor:
        """The calibration pictures as input."""
        return self.input_of(self.calibration)

    @cached_property
    def reference(self) -> Any:
        """What the floating-point network says of the pictures to choose by."""
        return self.float_outputs(self.choosing)

    def noise(self, remedies: Sequence[str] = ()) -> list[LayerNoise]:
        """The noise of every layer, measured once for the network with these remedies; biases play no part in it."""
        key = tuple(name for name in remedies if name not in ("bias", "qat"))
        if key not in self._noise:
            few = self.images[torch.arange(self.few) * len(self.images) // self.few]
            self._noise[key] = layer_noise(apply(self.body, key, self.images), few, alone=True)
        return self._noise[key]

    def layers(self) -> list[LayerNoise]:
        """The noise of every layer before any remedy, under its name in the network."""
        return [replace(noise, name=_outside(noise.name)) for noise in self.noise()]

    def prepared(self, method: Method) -> tuple[Any, dict[str, Any]]:
        """The network after a method's remedies, and the settings for the toolkit."""
        settings = dict(method.settings)
        left_out: list[str] = []
        if method.float_layers:
            left_out = most_sensitive(self.noise(method.remedies), method.float_layers)
            settings["float_layers"] = [_outside(name) for name in left_out]
        ranges = settings.get("range", "percentile")
        spans = Int8Settings(range="percentile" if ranges == "own" else ranges)
        key = (method.remedies, spans, tuple(left_out))
        if key not in self._made:
            body = apply(
                self.body, method.remedies, self.images, settings=spans, left_out=left_out, precision=self.precision,
                tuning=self.tuning, say=self.say,
            )  # fmt: skip
            self._made[key] = _within(body)
        network = self._made[key]
        figures = state_of(network).get("qat", {})
        if figures and not figures["kept"]:
            raise UserError(
                f"fine-tuning gained nothing in {figures['steps']} steps (loss {figures['loss_before']:.4f} before,"
                f" {figures['loss_after']:.4f} after), so no file was tried"
            )
        return network, settings

    def write(self, method: Method, format: str, path: Path) -> ExportResult:
        """The file of a method."""
        network, settings = self.prepared(method)
        full = self.precision == "int8"
        return export(
            network,
            path,
            format=format,
            precision=self.precision,
            size=self.file_size,
            images=self.choosing.paths[:4],
            calibration=self.images.numpy() if full else None,
            settings=settings if full else {},
        )

    def attempt(self, method: Method, format: str, path: Path) -> Trial:
        """Write the file and judge it on the pictures to choose by; a toolkit's failure is a result, too."""
        start = time.perf_counter()
        settings: dict[str, Any] = dict(method.settings)
        result, found, error = None, None, ""
        tuned: Mapping[str, Any] = {}
        try:
            network, settings = self.prepared(method)
            tuned = state_of(network).get("qat", {})
            result = self.write(method, format, path)
            found = self.judge(path, self.choosing, self.reference)
        except UserError as failure:
            error = _with_log(str(failure), path)
        return Trial(
            format=format,
            method=method.name,
            remedies=method.remedies,
            settings=settings,
            score=found,
            bytes=result.bytes if result is not None and found is not None else 0,
            seconds=time.perf_counter() - start,
            error=error,
            fine_tuning=tuned,
        )


def _within(body: Any) -> Any:
    """The network to export, of a body that remedies have changed; it carries what was done to it."""
    if not isinstance(body, RawOutputs):
        return body
    network: Any = body.model
    network.quantization = state_of(body)
    return network


def _outside(layer: str) -> str:
    """A layer's name in the network, of its name in the body."""
    return layer.removeprefix("model.")


def _with_log(message: str, path: Path) -> str:
    """A failure's message with the last words of the toolkit's log, which goes away with the trial's folder."""
    log = path.with_name(path.name + ".log")
    if not log.is_file():
        return message
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return f"{message.partition('; whole log:')[0]}; its log ends: {' | '.join(lines[-_LOG_LINES:])}"
