"""One page that tells what a run folder holds: opens by itself, offline, in any browser, light or dark.

The page is made from the files of the folder alone, whoever wrote them; what is not there is left out.
Pictures are inside the page, texts are escaped, there is no script and no reference to anything else.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from phonecv._version import __version__
from phonecv.data.json_file import read_json_file
from phonecv.errors import UserError
from phonecv.files import write_text
from phonecv.rules import (
    COUNT,
    FLAG,
    NUMBER,
    TEXT,
    Rule,
    brief,
    check_table,
    list_of,
    number,
    optional,
    table_of,
    whole,
)
from phonecv.tables import FIGURES, NETS, read_csv
from phonecv.task import DEFAULT_TASK, TASKS
from phonecv.text import counted, lasting, printable

#: A picture of a training: file, heading, explanation.
CURVES = (
    "curves.png",
    "Training",
    "The ring is the best epoch. Averaged weights are the moving average of the trained ones (ema).",
)

#: What has to stand in the files that figures are taken from.
_FORM = {"parameters": COUNT, "bytes": COUNT, "macs": COUNT, "layers": COUNT}
_EVALUATION = {"model": TEXT, "data": TEXT, "count": COUNT}
_TRAINING = {
    "task": TEXT, "finished": FLAG, "epoch": COUNT, "score": TEXT, "images": COUNT, "seconds": NUMBER,
    "last_scores": (table_of(number()), "a table of numbers"),
    "best_score": NUMBER, "best_epoch": COUNT, "best_net": TEXT, "stopped_early": FLAG,
}  # fmt: skip
_FORMS = {"size": COUNT, "difference": NUMBER, "forms": {"training": _FORM, "deploy": _FORM}}
_EXPORTED = {
    "path": TEXT,
    "form": TEXT,
    "format": TEXT,
    "size": (list_of(whole(), 2, 2), "height and width"),
    "operators": COUNT,
    "bytes": COUNT,
    "difference": (optional(number()), "a number"),
    "agreement": {"runtime": TEXT, "same": COUNT, "count": COUNT, "top1": COUNT, "reference_top1": COUNT},
}

#: Files that make a folder worth a report.
_SIGNS = ("config.yaml", "metrics.csv", "summary.json", "evaluation/summary.json", "forms.json", "export.json")

#: Classes and unreadable pictures that the page lists.
_CLASSES, _BAD = 50, 100

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2530; --soft: #5b6675; --line: #d9dee5; --card: #f4f6f9; --page: #fff;
  --good: #00734f; --bad: #b3400a; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6eaf0; --soft: #9aa6b5; --line: #38414d; --card: #1d242d; --page: #12171d; --good: #4ecf9f;
    --bad: #ff9a5c; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 70rem; padding: 2rem 1.25rem 4rem; color: var(--ink); background: var(--page);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.6rem; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.5rem 0 .5rem; }
p, li { max-width: 48rem; overflow-wrap: anywhere; } .soft { color: var(--soft); margin: .25rem 0 .75rem; }
.good { color: var(--good); } .bad { color: var(--bad); }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); gap: .75rem; margin: 1.5rem 0; }
.tile { background: var(--card); border-radius: .5rem; padding: .8rem 1rem; }
.tile b { display: block; font-size: 1.35rem; font-variant-numeric: tabular-nums; }
.tile span { color: var(--soft); font-size: .85rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .35rem 1.25rem .35rem 0; border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 600; } td.number, th.number { text-align: right; }
figure { margin: 0; } img { max-width: 100%; height: auto; background: #fff; border: 1px solid var(--line);
  border-radius: .5rem; }
@media (max-width: 32rem) {
  body { padding: 1.25rem 1rem 3rem; } .tiles { grid-template-columns: 1fr 1fr; }
  table { font-size: .82rem; } th, td { padding-right: .7rem; } }
details { margin: .75rem 0; } summary { cursor: pointer; color: var(--soft); }
pre { background: var(--card); padding: 1rem; border-radius: .5rem; overflow-x: auto; font-size: .85rem; }
"""


@dataclass(frozen=True, slots=True)
class ClassTable:
    """How the page shows the table of classes.

    Attributes:
        columns: of per_class.csv, and their heads; those that the file lacks are left out.
        by: columns of which the first that the file has is what the hardest class has the least of, in numbers.
    """

    columns: Mapping[str, str]
    by: tuple[str, ...]

    def order(self, header: Sequence[str]) -> str:
        """The column that classes are sorted by; empty if the file has none such."""
        return next((name for name in self.by if name in header), "")


class ReportRoom(Protocol):
    """The room "report" of a task: the folder of an evaluation, and how the page shows it.

    Attributes:
        FIGURES: what summary.json has to hold for the task's `tiles`, as rules of `phonecv.rules.check_table`; a figure
            that is not defined is null or missing.
        CLASSES: the table of classes; None where there are none.
        PICTURES: files of an evaluation in the order of the page, with heading and explanation.
    """

    FIGURES: Mapping[str, Rule]
    CLASSES: ClassTable | None
    PICTURES: Sequence[tuple[str, str, str]]

    def tiles(self, summary: Mapping[str, Any]) -> list[tuple[str, str]]:
        """The most important figures, each with what it is."""

    def write_files(self, result: Any, out: Path) -> None:
        """Write the task's tables and pictures of a result; `PICTURES` of an earlier one are gone already."""


def report_room(task: str) -> ReportRoom:
    """What a task brings to reports."""
    return cast(ReportRoom, TASKS[task].room("report"))


def write_report(run_dir: Path | str, *, title: str | None = None, destination: Path | str | None = None) -> Path:
    """Write ``report.html`` from the files of a run folder, of a training, an evaluation, or both.

    It holds any of config.yaml, metrics.csv, curves.png, summary.json, evaluation/, predictions/, forms.json,
    export.json, bad_images.csv. Without a title its name is the heading.
    """
    run = Path(run_dir)
    if not any((run / name).is_file() for name in _SIGNS):
        raise UserError(f"{run} holds no run to report on (none of {', '.join(_SIGNS)})")
    title = title or printable(run.resolve().name)
    damaged: list[str] = []
    trained = (run / "metrics.csv").is_file()
    training = (
        _checked_values(
            run,
            "summary.json",
            _TRAINING,
            damaged,
            ("task", "best_score", "best_epoch", "best_net", "stopped_early"),
        )
        if trained
        else {}
    )
    place = "evaluation/" if trained or not (run / "summary.json").is_file() else ""
    evaluation, task = _evaluation(run, f"{place}summary.json", damaged)
    if not evaluation and training.get("task") in TASKS:
        task = training["task"]
    room = report_room(task)
    forms = _checked_values(run, "forms.json", _FORMS, damaged)
    exported = _checked_values(run, "export.json", _EXPORTED, damaged, ("difference", "agreement"))
    parts = [f"<h1>{text(title)}</h1>"]
    if evaluation:
        parts.append(f'<p class="soft">{text(evaluation["model"])}, evaluated on {text(evaluation["data"])}</p>')
    shown = room.tiles(evaluation) if evaluation else _scores(training)
    parts.append(tiles([*shown, *_tiles(forms, exported)]))
    parts += [_forms(forms), _export(exported), picture(run / CURVES[0], *CURVES[1:])]
    places = dict.fromkeys(("", place))  # some tasks draw while they train
    parts += [picture(run / f"{where}{name}", *words) for name, *words in room.PICTURES for where in places]
    parts.append(picture(run / "predictions/predictions.png", "Predictions", "What the model says about each picture."))
    if room.CLASSES is not None:
        parts.append(_per_class(_rows(run, f"{place}per_class.csv", damaged, room.CLASSES), room.CLASSES))
    skipped = [_rows(run, name, damaged)[1:] for name in (f"{place}skipped.csv", "bad_images.csv")]
    parts.append(_skipped([row for rows in skipped for row in rows]))
    parts.append(_configuration(run / "config.yaml"))
    parts += [f'<p class="bad">left out because it is damaged: {text(line)}</p>' for line in damaged]
    parts.append(f'<p class="soft">phonecv {text(__version__)}</p>')
    path = Path(destination) if destination is not None else run / "report.html"
    write_text(path, page(title, parts))
    return path


def page(title: str, parts: Iterable[str]) -> str:
    """A whole page from pieces of HTML; empty ones are left out."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(part for part in parts if part)
        + "\n</body>\n</html>\n"
    )


def _evaluation(run: Path, name: str, damaged: list[str]) -> tuple[dict[str, Any], str]:
    """The summary of an evaluation, and its task."""
    summary = _checked_values(run, name, _EVALUATION, damaged)
    task = summary.get("task", DEFAULT_TASK)
    if not (isinstance(task, str) and task in TASKS):
        damaged.append(f"{name}: task {brief(task)} is not one of {', '.join(TASKS)}")
        return {}, DEFAULT_TASK
    if not summary:
        return {}, task
    figures = report_room(task).FIGURES
    return _checked_values(run, name, _EVALUATION | dict(figures), damaged, tuple(figures)), task


def _scores(training: dict[str, Any]) -> list[tuple[str, str]]:
    """What a training reached on the pictures it was measured on."""
    if not training:
        return []
    name, on = FIGURES.get(training["score"], training["score"]), counted(training["images"], "pictures")
    shown = [
        (f"{value:.2f}", f"{name}, last epoch, {NETS.get(net, net)}; {on}")
        for net, value in training["last_scores"].items()
    ]
    if training.get("best_score") is not None:
        net, epoch = training.get("best_net", "net"), training.get("best_epoch", "?")
        shown.append((f"{training['best_score']:.2f}", f"{name}, best epoch ({epoch}), {NETS.get(net, net)}"))
    early = ", stopped early" * training.get("stopped_early", False)
    return [*shown, (lasting(training["seconds"]), f"training, {counted(training['epoch'], 'epochs')}{early}")]


def _tiles(forms: dict[str, Any], exported: dict[str, Any]) -> list[tuple[str, str]]:
    shown: list[tuple[str, str]] = []
    if forms:
        deploy = forms["forms"]["deploy"]
        shown.append((f"{deploy['parameters'] / 1e6:.2f} M", "parameters, deploy form"))
        shown.append((f"{deploy['macs'] / 1e6:.1f} M", f"multiply-adds at {forms['size']} px"))
    if exported:
        shown.append((f"{exported['bytes'] / 1e6:.2f} MB", f"{exported['format'].upper()} file"))
        if exported.get("agreement"):
            same, count = exported["agreement"]["same"], exported["agreement"]["count"]
            shown.append((f"{100 * same / max(count, 1):.2f} %", f"same top-1 as PyTorch, {same} of {count}"))
    return shown


def tiles(shown: Sequence[tuple[str, str]]) -> str:
    """Figures in large letters, each with what it is; nothing for none."""
    if not shown:
        return ""
    return '<div class="tiles">' + "".join(
        f'<div class="tile"><b>{text(value)}</b><span>{text(label)}</span></div>' for value, label in shown
    ) + "</div>"  # fmt: skip


def _forms(forms: dict[str, Any]) -> str:
    if not forms:
        return ""
    rows = [
        (form, f"{row['parameters']:,}", f"{row['bytes'] / 1e6:.2f}", f"{row['macs'] / 1e6:.1f}", f"{row['layers']:,}")
        for form in ("training", "deploy")
        for row in [forms["forms"][form]]
    ]
    header = ("form", "parameters", "file, MB", "million multiply-adds", "layers")
    return (
        "<h2>Both forms of the network</h2>"
        '<p class="soft">The training form is what learns; the deploy form computes the same with fewer layers. '
        f"Largest relative difference of their outputs: {forms['difference']:.1e}.</p>"
        + table(header, rows, right=(1, 2, 3, 4))
    )


def _export(exported: dict[str, Any]) -> str:
    if not exported:
        return ""
    rows = [
        ("file", exported["path"]),
        ("form", exported["form"]),
        ("input", " x ".join(str(side) for side in exported["size"])),
        ("operators", exported["operators"]),
    ]
    if exported.get("difference") is not None:
        rows.append(("largest difference from PyTorch, of the largest output", f"{exported['difference']:.1e}"))
    agreement = exported.get("agreement")
    verdict = ""
    if agreement:
        same, count = agreement["same"], agreement["count"]
        mood = "good" if same == count else "bad"
        verdict = (
            f'<p class="{mood}">{text(agreement["runtime"])} and PyTorch choose the same class for {same} of {count} '
            f"pictures; right answers: {agreement['top1']} against {agreement['reference_top1']}.</p>"
        )
    return f"<h2>Exported file</h2>{verdict}{table(('', ''), rows)}"


def picture(path: Path, heading: str, explanation: str, *, level: int = 2) -> str:
    """A PNG inside the page, below a heading of this level; nothing if there is no such file."""
    if not path.is_file():
        return ""
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return (
        f'<h{level}>{text(heading)}</h{level}><p class="soft">{text(explanation)}</p>'
        f'<figure><img alt="{text(heading)}" src="data:image/png;base64,{data}"></figure>'
    )


def _per_class(rows: Sequence[Sequence[str]], shown: ClassTable) -> str:
    if len(rows) < 2 or not shown.order(rows[0]):
        return ""
    header = list(rows[0])
    places = [header.index(name) for name in shown.columns if name in header]
    by = header.index(shown.order(header))
    lowest = sorted(rows[1:], key=lambda row: float(row[by] or "inf"))
    more = f" (the {_CLASSES} lowest of {len(lowest)})" if len(lowest) > _CLASSES else ""
    cells = [[row[place] for place in places] for row in lowest[:_CLASSES]]
    heads = [shown.columns[header[place]] for place in places]
    return f"<h2>Classes, the hardest first{more}</h2>" + table(heads, cells, right=range(1, len(heads)))


def _skipped(rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    more = f" ({_BAD} of {len(rows)})" if len(rows) > _BAD else ""
    return f'<h2 class="bad">Unreadable pictures{more}</h2>' + table((), rows[:_BAD])


def _configuration(path: Path) -> str:
    if not path.is_file():
        return ""
    content = path.read_text(encoding="utf-8", errors="replace")
    return f"<h2>Configuration</h2><details><summary>{text(path.name)}</summary><pre>{text(content)}</pre></details>"


def table(header: Sequence[str], rows: Sequence[Sequence[object]], right: Sequence[int] = ()) -> str:
    """Rows of texts; the columns in `right` are numbers."""

    def line(cells: Sequence[object], tag: str) -> str:
        kinds = [' class="number"' if place in right else "" for place in range(len(cells))]
        return "<tr>" + "".join(f"<{tag}{k}>{text(c)}</{tag}>" for k, c in zip(kinds, cells, strict=True)) + "</tr>"

    head = f"<thead>{line(header, 'th')}</thead>" if any(header) else ""
    body = "".join(line(row, "td") for row in rows)
    return f'<div class="wide"><table>{head}<tbody>{body}</tbody></table></div>'


def text(value: object) -> str:
    """Escaped for HTML; characters that would not be seen, or that turn the text around, are shown as numbers."""
    return html.escape("\n".join(map(printable, str(value).split("\n"))))


def _checked_values(
    run: Path, name: str, rules: Mapping[str, Any], damaged: list[str], free: Sequence[str] = ()
) -> dict[str, Any]:
    """What a file of the folder says, held to its rules; nothing if it is not there or damaged, which is noted."""
    if not (run / name).is_file():
        return {}
    try:
        values = read_json_file(run / name)
        if isinstance(values, dict):
            values = {key: value for key, value in values.items() if value is not None or key not in free}
        check_table(values, rules, name, required=set(rules) - set(free), whole=True)
    except UserError as error:
        damaged.append(str(error))
        return {}
    return values


def _rows(run: Path, name: str, damaged: list[str], classes: ClassTable | None = None) -> list[list[str]]:
    """The rows of a table of the folder, all as long as its header; those of the classes end in numbers."""
    if not (run / name).is_file():
        return []
    try:
        rows = read_csv(run / name)
    except UserError as error:
        damaged.append(str(error))
        return []
    good = [
        row
        for row in rows
        if len(row) == len(rows[0]) and (row == rows[0] or not (classes and classes.order(rows[0])) or _counted(row))
    ]
    if len(good) < len(rows):
        damaged.append(f"{name}: {len(rows) - len(good)} of its {len(rows)} rows")
    return good


def _counted(row: Sequence[str]) -> bool:
    """Whether all cells but the first are numbers, or empty."""
    return all(re.fullmatch(r"(\d{1,18}(\.\d{1,18})?)?", cell) for cell in row[1:])
