"""`bench --variants`: one table of a network in every format and precision, what each costs and what it loses."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from phonecv.benchmarking.candidates import Candidate, Job
from phonecv.benchmarking.machine import describe_machine, disturbances, native
from phonecv.benchmarking.run import start_worker
from phonecv.benchmarking.runtimes import RUNTIMES, Runtime
from phonecv.benchmarking.timing import Timing
from phonecv.create import load_network
from phonecv.data.splitting.lists import own_lists
from phonecv.errors import UserError
from phonecv.exporting.formats import EXPORTERS, PRECISIONS, Exporter, get_exporter
from phonecv.exporting.inputs import inputs_in, picture_input
from phonecv.exporting.pictures import probe_rows
from phonecv.exporting.record import read_record
from phonecv.exporting.run import in_form
from phonecv.exporting.targets import stem_of
from phonecv.files import write_json, write_text
from phonecv.options import Checked, Count, by_keywords
from phonecv.quantization.methods import PLAIN, Method, methods_for
from phonecv.quantization.options import QuantizeOptions
from phonecv.quantization.result import Trial
from phonecv.quantization.room import quantizing_of
from phonecv.quantization.workshop import Workshop
from phonecv.report import page, table, text, tiles
from phonecv.tables import csv_text, text_table
from phonecv.task import done_by

log = logging.getLogger("phonecv.benchmarking")

#: Of the methods that make int8 files so many are tried; `phonecv quantize` tries all.
METHODS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantsOptions(Checked):
    """Which files are made, and on which pictures they are judged.

    Attributes:
        data: Pictures to find ranges on and to judge by, with class folders or labels where there are some.
        formats: Of the formats that are installed; by default all.
        precisions: Of float32, fp16, int8 and int8-weights.
        calibrate: Pictures to find ranges on, at most.
        choose: Pictures to judge by, at most.
        threads: CPU threads.
        rounds: at most so many rounds.
        seconds: about so many seconds of rounds.
        out: Folder for the files, variants.csv, variants.json and report.html.
    """

    data: Path | str
    formats: Sequence[str] | None = None
    precisions: Sequence[str] = ("float32", "fp16", "int8")
    calibrate: Count = 64
    choose: Count = 100
    threads: int = 1
    rounds: int = 30
    seconds: float = 15.0
    out: Path | str = "runs/variants"


@dataclass(frozen=True, slots=True)
class Variant:
    """One file.

    Attributes:
        format: a key of `EXPORTERS`.
        precision: of the file.
        file: its name.
        bytes: of all that an app needs.
        lost: on the pictures to judge by, in units of the result's measure.
        score: the same in words.
        method: how it came to 8 bits; "plain" for others.
        load_ms: opening it, the runtime being there; None where nothing here times the format.
        memory_mb: by how much it raises the peak memory of a process that has the runtime.
        first_ms: the first picture.
        median_ms: a picture in the middle round.
        p90_ms: one round in ten was slower.
        best: columns in which no other file within the budget is better; "overall" for the fastest of these.
    """

    format: str
    precision: str
    file: str
    bytes: int
    lost: float
    score: str
    method: str = "plain"
    load_ms: float | None = None
    memory_mb: float | None = None
    first_ms: float | None = None
    median_ms: float | None = None
    p90_ms: float | None = None
    best: tuple[str, ...] = ()


#: Columns in which less is better.
COLUMNS = ("bytes", "load_ms", "memory_mb", "first_ms", "median_ms", "p90_ms", "lost")


@dataclass(frozen=True, slots=True)
class VariantsResult:
    """The files of a network, and what each costs.

    Attributes:
        model: its name.
        measure: what `lost` is a number of.
        budget: how much of it files may lose to be called best.
        judged: the pictures to judge by.
        rows: the files.
        skipped: format and precision -> why there is none.
        threads: of the timing.
        warnings: what may have disturbed it.
        machine: see `phonecv.benchmarking.machine.describe_machine`.
        date: of the run.
        seconds: it took.
    """

    model: str
    measure: str
    budget: float
    judged: str
    rows: tuple[Variant, ...]
    skipped: dict[str, str]
    threads: int
    warnings: tuple[str, ...] = ()
    machine: dict[str, Any] = field(default_factory=dict)
    date: str = ""
    seconds: float = 0.0

    def __str__(self) -> str:
        header, lines, right = self.table()
        return "\n".join([text_table(header, lines, right=right), "", *self.remarks()])

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    def save(self, folder: Path) -> None:
        """Write variants.csv, variants.json and report.html."""
        names = [one.name for one in fields(Variant)]
        lines = ([" ".join(row.best) if name == "best" else getattr(row, name) for name in names] for row in self.rows)
        write_text(folder / "variants.csv", csv_text(names, lines))
        write_json(folder / "variants.json", self.to_dict())
        write_text(folder / "report.html", self.page())

    def table(self) -> tuple[tuple[str, ...], list[Sequence[str]], tuple[int, ...]]:
        """Header, rows and figure columns for people; * marks the best file in a column."""
        header = (
            "", "format", "precision", "MB", "load ms", "memory MB", "first ms", "ms", "p90", f"lost: {self.measure}",
        )  # fmt: skip
        rows: list[Sequence[str]] = []
        for row in sorted(self.rows, key=lambda row: (row.median_ms is None, row.median_ms or 0.0)):
            values = {"bytes": row.bytes / 1e6, **{name: getattr(row, name) for name in COLUMNS[1:]}}
            cells = [
                "" if value is None else _figure(value, signed=name == "lost") + "*" * (name in row.best)
                for name, value in values.items()
            ]
            rows.append(("best" if "overall" in row.best else "", row.format, row.precision, *cells))
        return header, rows, tuple(range(3, len(header)))

    def remarks(self) -> list[str]:
        """What a reader of the table must know."""
        found = [f"warning: {one}" for one in self.warnings]
        found.append(
            f"lost: {self.measure}, on {self.judged}; best: the fastest that loses at most {self.budget:g}; *: the best"
            " of these in its column"
        )
        found.append(
            f"times of {self.threads} thread{'s' * (self.threads > 1)} on this machine, in turns; a phone has its own"
            " order (`phonecv bench --serve`)"
        )
        if any(row.median_ms is None for row in self.rows):
            found.append("no times where nothing here runs the format as phones do")
        reasons: dict[str, list[str]] = {}
        for what, why in self.skipped.items():
            reasons.setdefault(why, []).append(what)
        return found + [f"not made: {', '.join(what)} ({why})" for why, what in reasons.items()]

    def page(self) -> str:
        """The table as a page."""
        header, rows, right = self.table()
        best = next((row for row in self.rows if "overall" in row.best), None)
        shown = [("none", f"loses at most {self.budget:g}")]
        if best is not None:
            shown = [
                (f"{best.format}, {best.precision}", "best"),
                (f"{best.bytes / 1e6:.2f} MB", "size"),
                (f"{_figure(best.median_ms or 0.0)} ms", "a picture"),
                (_figure(best.lost, signed=True), self.measure),
            ]
        remarks = "".join(f"<li>{text(line)}</li>" for line in self.remarks())
        files = [(row.file, row.method, row.score) for row in self.rows]
        return page(
            f"Variants of {self.model}",
            [
                f"<h1>Variants of {text(self.model)}</h1>",
                tiles(shown),
                table(header, rows, right=right),
                f"<ul>{remarks}</ul>",
                "<h2>Files</h2>" + table(("file", "how", "on the pictures"), files),
                f'<p class="soft">{text(self.date)}, {self.seconds:.0f} s</p>',
            ],
        )


def _figure(value: float, *, signed: bool = False) -> str:
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"


def variants_with(model: Any, options: VariantsOptions) -> VariantsResult:
    """Write a network in every format and precision, judge every file on pictures, and time them in turns.

    Args:
        model: a network, the path of a checkpoint, or a catalog name; it is fused first.
        options: which, on which pictures, and where to.

    Raises:
        UserError: an unknown format or precision, no pictures, or nothing could be made.
    """
    start = time.perf_counter()
    usual = [name for name, one in EXPORTERS.items() if not one.repeats]
    exporters = [get_exporter(name) for name in dict.fromkeys(options.formats or usual)]
    unknown = [name for name in options.precisions if name not in PRECISIONS]
    if unknown:
        raise UserError(f"precision {unknown[0]!r} is not one of {', '.join(PRECISIONS)}")
    network = in_form(load_network(model, task=None), "deploy")
    quantizing = QuantizeOptions(
        formats=[one.format for one in exporters],
        data=options.data,
        calibrate=options.calibrate,
        choose=options.choose,
        lists=own_lists(model, options.data),
    )
    workshop = quantizing_of(done_by(network)).open_workshop(network, quantizing)
    _ = workshop.reference  # pictures that cannot be read are told now
    folder = Path(options.out)
    folder.mkdir(parents=True, exist_ok=True)
    stem = stem_of(model)
    made, skipped = [], {}
    for exporter, precision in _asked(exporters, options.precisions, skipped):
        log.info("making %s in %s", exporter.title, precision)
        path = folder / f"{stem}-{precision}{exporter.suffix}"
        trial = _made(workshop, exporter, precision, path)
        if trial.score is None:
            skipped[f"{exporter.format} {precision}"] = trial.error
            continue
        made.append(Variant(exporter.format, precision, path.name, trial.bytes, trial.score.drop, str(trial.score),
                            trial.method))  # fmt: skip
    if not made:
        raise UserError(f"nothing could be made: {'; '.join(dict.fromkeys(skipped.values()))}")
    warnings = disturbances()
    rows = timed(made, folder, threads=options.threads, rounds=options.rounds, seconds=options.seconds)
    result = VariantsResult(
        model=network.name,
        measure=workshop.measure.name,
        budget=workshop.measure.budget,
        judged=workshop.choosing.source,
        rows=marked(rows, workshop.measure.budget),
        skipped=skipped,
        threads=options.threads,
        warnings=tuple(warnings),
        machine=describe_machine(),
        date=time.strftime("%Y-%m-%d"),
        seconds=time.perf_counter() - start,
    )
    result.save(folder)
    return result


variants = by_keywords(variants_with, VariantsOptions)


def _asked(
    exporters: Sequence[Exporter], precisions: Sequence[str], skipped: dict[str, str]
) -> Iterator[tuple[Exporter, str]]:
    """What can be made; why not of the rest goes into `skipped`."""
    for exporter in exporters:
        missing = exporter.missing()
        for precision in precisions:
            what = f"{exporter.format} {precision}"
            if missing:
                skipped[what] = f'{", ".join(missing)} is not installed: pip install "phonecv[{exporter.extra}]"'
            elif precision not in exporter.precisions:
                skipped[what] = "the format is not written so"
            else:
                yield exporter, precision


def _made(workshop: Workshop[Any], exporter: Exporter, precision: str, path: Path) -> Trial:
    """The file of the first method within the budget, or of the last one that was tried."""
    workshop.precision = precision
    methods: list[Method] = [PLAIN]
    if precision == "int8":
        try:
            quantizing_of(done_by(workshop.network)).check_int8(workshop.network, [exporter.format])
        except UserError as error:
            return Trial(exporter.format, "", (), {}, None, 0, 0.0, str(error))
        methods = methods_for(exporter.format, precision, workshop.network, fine_tune=False)[:METHODS]
    trial = workshop.attempt(methods[0], exporter.format, path)
    for method in methods[1:]:
        if trial.score is not None and trial.score.drop <= workshop.measure.budget:
            break
        trial = workshop.attempt(method, exporter.format, path)
    return trial


def runtime_of(format: str) -> Runtime | None:
    """What times files of a format: the runtime whose own format it is."""
    return next((one for one in RUNTIMES.values() if format in one.formats and one.formats[-1] == format), None)


def timed(rows: Sequence[Variant], folder: Path, *, threads: int, rounds: int, seconds: float) -> list[Variant]:
    """The rows with load time, memory and first picture, each in a process of its own, and latency, all in turns."""
    with tempfile.TemporaryDirectory(prefix="phonecv-variants-") as place:
        candidates = {}
        for number, row in enumerate(rows):
            runtime = runtime_of(row.format)
            if runtime is not None:
                candidates[row.file] = _candidate(row, folder / row.file, runtime, Path(place) / f"{number}.npz")
        job = Job(
            tuple(candidates.values()), (1,), threads, "cpu", rounds=rounds, seconds=seconds, warmup=20, peaks=False
        )
        found = {}
        for file, candidate in candidates.items():
            alone = start_worker(replace(job, candidates=(candidate,), memory=True), Path(place))
            found[file] = {name: alone[name] for name in ("load_ms", "first_ms", "memory_mb")}
        if candidates:
            (group,) = start_worker(job, Path(place))["groups"]
            for file, candidate in candidates.items():
                timing = Timing(tuple(group["times"][candidate.label]))
                found[file] |= {"median_ms": timing.median * 1e3, "p90_ms": timing.p90 * 1e3}
    return [replace(row, **found.get(row.file, {})) for row in rows]


def _candidate(row: Variant, path: Path, runtime: Runtime, probe: Path) -> Candidate:
    """A file for the timing process; how far it is from PyTorch was judged on pictures."""
    record = read_record(path)
    inputs = inputs_in(record) or (picture_input(*record["input_size"]),)
    given = probe_rows(inputs)
    np.savez(probe, *given)
    computed = row.precision if row.precision == "fp16" and native("fp16", "cpu") else "float32"
    precision = "int8" if row.precision == "int8" else computed
    return Candidate(row.file, runtime.name, precision, "auto", str(probe), str(path), None, len(given))


def marked(rows: Sequence[Variant], budget: float) -> tuple[Variant, ...]:
    """The rows with what each is best in, of those that lose no more than the budget."""
    good = [row for row in rows if row.lost <= budget]
    best: dict[str, list[str]] = {row.file: [] for row in rows}
    for name in COLUMNS:
        known = [(value, row.file) for row in good if (value := getattr(row, name)) is not None]
        least = min((value for value, _ in known), default=None)
        for value, file in known:
            if value == least:
                best[file].append(name)
    for row in good:
        if "median_ms" in best[row.file]:
            best[row.file].append("overall")
    return tuple(replace(row, best=tuple(best[row.file])) for row in rows)
