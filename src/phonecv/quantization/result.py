"""What came of quantizing a network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from phonecv.quantization.scoring import Measure, Score
from phonecv.quantization.sensitivity import LayerNoise
from phonecv.tables import figure, text_table

#: Layers that are shown.
_WORST = 8


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of one method in one format.

    Attributes:
        format: of the file.
        method: its name.
        remedies: that were applied.
        settings: that the toolkit got.
        score: on the pictures to choose by; None if the toolkit failed.
        bytes: of the file.
        seconds: preparing, writing and running.
        error: why the toolkit failed, else empty.
        fine_tuning: steps, and the loss before and after; empty where nothing was trained.
    """

    format: str
    method: str
    remedies: tuple[str, ...]
    settings: Mapping[str, Any]
    score: Score | None
    bytes: int
    seconds: float
    error: str = ""
    fine_tuning: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        found = None if self.score is None else self.score.to_dict()
        values: dict[str, Any] = {"remedies": list(self.remedies), "settings": dict(self.settings), "score": found}
        if self.fine_tuning:
            values["fine_tuning"] = dict(self.fine_tuning)
        return {**{key: getattr(self, key) for key in ("format", "method", "bytes", "error")}, **values,
                "seconds": round(self.seconds, 1)}  # fmt: skip


@dataclass(frozen=True, slots=True)
class FormatResult:
    """What came of one format.

    Attributes:
        format: its name.
        path: the file; None where no method met the budget.
        trials: all methods that were tried, in order.
        chosen: the trial that met the budget, or the best one where none did; None where every one failed.
        final: the file's score on the pictures of the last word; None without such pictures or without a file.
    """

    format: str
    path: Path | None
    trials: tuple[Trial, ...]
    chosen: Trial | None
    final: Score | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "format": self.format,
            "path": None if self.path is None else str(self.path),
            "chosen": None if self.chosen is None else self.chosen.to_dict(),
            "final": None if self.final is None else self.final.to_dict(),
            "trials": [trial.to_dict() for trial in self.trials],
        }


@dataclass(frozen=True, slots=True)
class QuantizeResult:
    """What came of quantizing a network.

    Attributes:
        model: its name.
        precision: of the files.
        max_drop: the budget.
        measure: what it is a number of.
        parameters_bytes: of the network in float32.
        calibration: the pictures that ranges were found on.
        choosing: the pictures that methods were chosen by.
        final: the pictures of the last word, or an empty string.
        layers: noise by layer; empty where no activations are quantized.
        formats: by name.
        notes: what a person should know.
    """

    model: str
    precision: str
    max_drop: float
    measure: Measure
    parameters_bytes: int
    calibration: str
    choosing: str
    final: str
    layers: tuple[LayerNoise, ...]
    formats: dict[str, FormatResult]
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"note: {note}" for note in self.notes]
        if self.layers:
            worst = sorted(self.layers, key=lambda noise: noise.own if noise.alone is None else noise.alone)[:_WORST]
            rows = [
                (
                    noise.name,
                    noise.kind,
                    noise.parameters,
                    *(figure(one, 1) for one in (noise.own, noise.total, noise.alone)),
                )
                for noise in worst
            ]
            lines += [
                "",
                "signal-to-noise in dB of the layers that cost most, before remedies: own output, behind all the",
                "others, and the network's output when only this layer is rounded",
                text_table(("layer", "kind", "values", "own", "behind", "alone"), rows, right=(2, 3, 4, 5)),
            ]
        lines.append("")
        for found in self.formats.values():
            lines += self._told(found)
        return "\n".join(lines)

    def _told(self, found: FormatResult) -> list[str]:
        chosen = found.chosen
        if chosen is None:
            return [f"{found.format}: no file. Every method failed; the last one: {found.trials[-1].error}"]
        if found.path is not None:
            smaller = self.parameters_bytes / chosen.bytes
            size = f"{chosen.bytes / 1e6:.2f} MB, {smaller:.1f} times smaller than the float32 weights"
            last = [] if found.final is None else [f"  last word, {self.final}: {found.final}"]
            method = f"  method: {chosen.method}; to choose by, {self.choosing}: {chosen.score}"
            return [f"wrote {found.path} ({size})", method, *last]
        trained = any(trial.fine_tuning for trial in found.trials)
        more = "more --fine-tune-steps" if trained else "quantization-aware fine-tuning (without --no-fine-tune)"
        return [
            f"{found.format}: no file. At most {self.max_drop:g} {self.measure.name} are allowed; the best was "
            f"{chosen.method!r}: {chosen.score}",
            "  what can help: pictures closer to the app's (--data), a larger --max-drop,",
            f"  --precision int8-weights{f', or {more}' if self.precision == 'int8' else ''}",
        ]

    @property
    def missed(self) -> list[FormatResult]:
        """Formats for which no method met the budget."""
        return [found for found in self.formats.values() if found.path is None]

    @property
    def files(self) -> dict[str, Path]:
        """What was written, by format."""
        return {name: found.path for name, found in self.formats.items() if found.path is not None}

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        plain = ("model", "precision", "max_drop", "parameters_bytes", "calibration", "choosing", "final")
        return {
            **{name: getattr(self, name) for name in plain},
            "measure": self.measure.name,
            "labelled": self.measure.labelled,
            "notes": list(self.notes),
            "layers": [noise.to_dict() for noise in self.layers],
            "formats": {name: found.to_dict() for name, found in self.formats.items()},
        }
