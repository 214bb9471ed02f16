"""What `bench` found: rows for the screen, and a table, all figures and a picture for the run folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from phonecv.benchmarking.machine import Peaks
from phonecv.benchmarking.plan import Skipped
from phonecv.files import write_json, write_text
from phonecv.tables import csv_text, text_table

#: Said wherever an int8 figure of a network that we quantized stands.
INT8_NOTE = "int8 is for speed only: its accuracy was not checked"

#: Shares of the peak above this are none.
_BEYOND = 1.25


@dataclass(frozen=True, slots=True)
class Row:
    """One candidate at one batch size and number of threads.

    Attributes:
        network: what was timed.
        form: "deploy" or "training"; what else a foreign network or file is.
        runtime: what ran it.
        precision: of its arithmetic.
        layout: of the input, "nchw" or "nhwc".
        device: "cpu" or "cuda".
        height: of the input.
        width: of the input.
        batch: pictures at once.
        threads: of the CPU.
        rounds: how many were timed.
        median_ms: milliseconds for the batch.
        p10_ms: one round in ten was faster.
        p90_ms: one round in ten was slower.
        images_per_second: at the median.
        ratio: times as fast as the baseline, median of the rounds' ratios.
        ratio_low: one round in ten had a lower ratio.
        ratio_high: one round in ten had a higher ratio.
        memory_mb: peak memory, 1e6 bytes; on a CPU by how much it raised a process that had the runtime loaded, on a
            GPU PyTorch's peak allocation. None if it was not measured.
        gflops: 1e9 operations per second that the network needs, a multiply-add counted as two.
        share_of_peak: `gflops` as a share of what a large matrix product of this precision reached; None where that is
            not known, see `share_of_peak`.
        difference: from PyTorch's float32 outputs, largest absolute one divided by max(1, largest output).
        label: "network/runtime/precision".
        times_ms: of all rounds.
    """

    network: str
    form: str
    runtime: str
    precision: str
    layout: str
    device: str
    height: int
    width: int
    batch: int
    threads: int
    rounds: int
    median_ms: float
    p10_ms: float
    p90_ms: float
    images_per_second: float
    ratio: float
    ratio_low: float
    ratio_high: float
    memory_mb: float | None
    gflops: float | None
    share_of_peak: float | None
    difference: float
    label: str
    times_ms: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class BenchResult:
    """Everything one run of `bench` found.

    Attributes:
        rows: the figures.
        skipped: what could not be timed, and why.
        baseline: label of the candidate that ratios refer to.
        peaks: what the machine reached, for each number of threads.
        warnings: what may have disturbed the run.
        notes: what was done to the networks before.
        machine: see `describe_machine`.
        date: of the run.
        seconds: it took.
    """

    rows: tuple[Row, ...]
    skipped: tuple[Skipped, ...]
    baseline: str
    peaks: tuple[Peaks, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    machine: dict[str, Any]
    date: str
    seconds: float

    def __str__(self) -> str:
        tables = [table(rows) for rows in self.groups().values()]
        parts = [f"{text_table(header, lines, right=right)}\n\n" for header, lines, right in tables]
        meant = f"ratio: times as fast as {self.baseline}; of peak: share of a large matrix product of that precision"
        return "".join(parts) + "\n".join([meant, *self.remarks()])

    def groups(self) -> dict[tuple[int, int], list[Row]]:
        """Rows that compare with each other, by (batch, threads)."""
        found: dict[tuple[int, int], list[Row]] = {}
        for row in self.rows:
            found.setdefault((row.batch, row.threads), []).append(row)
        return dict(sorted(found.items()))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    def save(self, out: Path | str) -> None:
        """Write bench.csv, bench.json and bench.png into a folder."""
        folder = Path(out)
        write_json(folder / "bench.json", self.to_dict())
        write_text(folder / "bench.csv", self.csv())
        self.draw(folder / "bench.png")

    def csv(self) -> str:
        """The rows as a table."""
        names = [field.name for field in fields(Row) if field.name != "times_ms"]
        return csv_text(names, ([getattr(row, name) for name in names] for row in self.rows))

    def draw(self, path: Path) -> None:
        """Milliseconds per picture, one panel for each batch size and number of threads."""
        from phonecv.plots import Interval, save_intervals

        panels = {}
        for (batch, threads), rows in self.groups().items():
            title = f"batch {batch}" + (f", {threads} thread{'s' * (threads > 1)}" if rows[0].device == "cpu" else "")
            panels[title] = [
                Interval(
                    name=_picture_name(row),
                    middle=row.median_ms / batch,
                    low=row.p10_ms / batch,
                    high=row.p90_ms / batch,
                    note=f"{row.ratio:.2f}x",
                    group=row.network,
                )
                for row in rows
            ]
        save_intervals(
            panels, path, unit="ms per picture (bar: median, line: p10 to p90)", title=f"ratios to {self.baseline}"
        )

    def _without_peak(self) -> list[str]:
        """Why rows have no share of a peak, though peaks were measured."""
        if not self.peaks:
            return []
        counted = [row for row in self.rows if row.gflops is not None and row.share_of_peak is None]
        known = {name for peak in self.peaks for name in peak.gflops}
        unknown = sorted({row.precision for row in counted if row.precision not in known})
        beyond = sorted({row.precision for row in counted if row.precision in known})
        found = []
        if unknown:
            found.append(f"no share of peak for {' and '.join(unknown)}: no instructions for it are known here")
        if beyond:
            found.append(f"no share of peak for some rows in {' and '.join(beyond)}: they exceed the product measured")
        return found

    def remarks(self) -> list[str]:
        """What a reader of the table must know."""
        found = [f"warning: {text}" for text in self.warnings] + list(self.notes)
        if any(row.form == "training" for row in self.rows):
            found.append("rows of training form are not what a phone runs; the deploy form is the default")
        if any(row.precision == "int8" for row in self.rows):
            found.append(INT8_NOTE)
        for peak in self.peaks:
            where = peak.device if not peak.threads else f"{peak.threads} thread{'s' * (peak.threads > 1)}"
            products = ", ".join(f"{name} {value:.0f}" for name, value in peak.gflops.items())
            found.append(f"peak with {where}: {products} GFLOP/s, copy {peak.copy_gbs:.0f} GB/s")
        found += self._without_peak()
        reasons: dict[str, list[str]] = {}
        for item in self.skipped:
            reasons.setdefault(item.reason, []).append(item.what)
        found += [f"not run: {_listed(what)} ({reason})" for reason, what in reasons.items()]
        return found


def share_of_peak(gflops: float | None, peak: float | None) -> float | None:
    """What a network reached of the peak; None where either is not known, or where the peak is none.

    Another runtime may be better at small products than PyTorch is at a large one, and some convolutions need fewer
    operations than are counted; far beyond that, the product has not shown what the machine can do.
    """
    if gflops is None or not peak or gflops > _BEYOND * peak:
        return None
    return gflops / peak


def _share(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.0%}" if value >= 0.005 else "<1%"


def table(rows: Sequence[Row]) -> tuple[Sequence[str], list[tuple[Any, ...]], Sequence[int]]:
    """Header, rows and figure columns for the screen."""
    header = (
        "batch", "threads", "network", "form", "runtime", "precision", "layout", "ms", "p10", "p90", "images/s",
        "ratio", "MB", "of peak", "difference",
    )  # fmt: skip
    lines = [
        (
            row.batch, row.threads if row.device == "cpu" else "", row.network, row.form, row.runtime, row.precision,
            row.layout, _figure(row.median_ms), _figure(row.p10_ms), _figure(row.p90_ms),
            f"{row.images_per_second:.0f}", f"{row.ratio:.2f}",
            "" if row.memory_mb is None else f"{row.memory_mb:.0f}",
            _share(row.share_of_peak),
            f"{row.difference:.0e}",
        )
        for row in rows
    ]  # fmt: skip
    return header, lines, (0, 1, *range(7, 15))


def _figure(milliseconds: float) -> str:
    return f"{milliseconds:.3f}" if milliseconds < 10 else f"{milliseconds:.1f}"


def _picture_name(row: Row) -> str:
    form = " (training form)" if row.form == "training" else ""
    return f"{row.network}{form} {row.runtime} {row.precision}"


def _listed(what: Sequence[str]) -> str:
    """Labels as ``network/runtime/precision``; the network is left out when it is the same for all."""
    names = {label.partition("/")[0] for label in what}
    return ", ".join(what if len(names) > 1 else (label.partition("/")[2] for label in what))
