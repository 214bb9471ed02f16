"""Pictures for run folders: curves, confusion matrices, image grids, bars.

Drawn with matplotlib's object interface on its Agg canvas: no window, no global state, and safe in a
process that draws with pyplot itself.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.ticker import MaxNLocator
from PIL import Image

from phonecv.errors import UserError
from phonecv.files import atomic_path
from phonecv.tables import FIGURES, NETS
from phonecv.text import counted

#: Okabe and Ito's colours, told apart by every kind of colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#5A5A5A")
INK, FAINT = "#222222", "#DDDDDD"
DPI = 120

_LOSS = re.compile(r"(^|[_/.])(loss|ce|kd|kl)($|[_/.])|loss")
_ACCURACY = re.compile(r"top_?[15]\b|top[15]_|accuracy|(^|_)ap(50|75)?$|(^|_)(miou|aacc|macc)$")


# ------------------------------------------------------------------------------------------ curves

#: What people call a part of the loss.
LOSSES = {
    "ce": "labels (cross-entropy)",
    "kd": "teacher",
    "cls": "classes",
    "box": "boxes",
    "mask": "masks",
    "rpn_cls": "proposals, object or not",
    "rpn_box": "proposals, boxes",
    "aux": "auxiliary head",
    "mse": "noise (squared error)",
    "bound": "variance",
}

#: Heading of the list beside a matrix.
_MISTAKES = "Most frequent mistakes (true → predicted)"


@dataclass(frozen=True, slots=True)
class _Curve:
    label: str
    x: list[float]
    y: list[float]


def save_curves(csv_path: Path | str, png_path: Path | str, *, score: str | None = None) -> Path:
    """Draw a run's metrics table: the losses, the score with its best epoch, and the learning rate.

    Columns are taken by their names, whatever the task calls its losses; a row fills only the columns it has
    values for, so rows of training and evaluation may share one table. A column `split` or `phase` makes
    one curve for each of its values. What steps.csv beside the table has of training is taken from there.

    Args:
        csv_path: the table, such as metrics.csv of a run folder.
        png_path: where to draw.
        score: the figure that the run is judged by, such as "top1"; None: all that look like accuracies.
    """
    series = _run_series(Path(csv_path))
    panels = {
        "loss": _losses(series),
        FIGURES.get(score or "", "accuracy, %"): _scores(series, score),
        FIGURES["lr"]: [_Curve("", *series[name]) for name in ("lr", "learning_rate") if name in series],
    }
    drawn = {title: curves for title, curves in panels.items() if curves}
    if not drawn:
        raise UserError(f"{csv_path} holds no loss, accuracy or learning-rate values to draw")
    figure = new_figure(4.6 * len(drawn) + 0.4, 3.6)
    for number, (title, curves) in enumerate(drawn.items(), start=1):
        axes = figure.add_subplot(1, len(drawn), number)
        _draw_curves(axes, title, curves, _x_name(csv_path))
        if title not in ("loss", FIGURES["lr"]):
            _mark_best(axes, curves)
        if title == FIGURES["lr"]:
            axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
    return save(figure, png_path)


def save_compared(tables: Mapping[str, Path], png_path: Path | str, *, score: str) -> Path:
    """Draw several runs over each other: their training losses, and the score of their better network."""
    runs = {name: _run_series(path) for name, path in tables.items()}
    losses = [_Curve(name, *series["loss"]) for name, series in runs.items() if "loss" in series]
    scores = []
    for name, series in runs.items():
        curves = _scores(series, score)
        if curves:
            better = max(curves, key=lambda curve: max(curve.y))
            scores.append(
                _Curve(name + (f", {better.label}" if better.label != NETS["net"] else ""), better.x, better.y)
            )
    figure = new_figure(11.2, 4.2)
    for number, (title, curves) in enumerate((("training loss", losses), (FIGURES.get(score, score), scores)), start=1):
        _draw_curves(figure.add_subplot(1, 2, number), title, curves, "epoch")
    return save(figure, png_path)


def _losses(series: Mapping[str, tuple[list[float], list[float]]]) -> list[_Curve]:
    """The loss of training, its parts where they say more than the whole, and that of validation."""
    curves: list[_Curve] = []
    for name, (x, y) in series.items():
        base, _, split = name.partition(" ")
        net, figure = _whose(base)
        if not _LOSS.search(figure) and figure not in LOSSES:
            continue
        if net is not None:
            label = "validation" + (f", {NETS[net]}" if net == "ema" else "")
        else:
            label = "training" if figure == "loss" else LOSSES.get(figure, figure.replace("_", " "))
        if all(curve.y != y for curve in curves):
            curves.append(_Curve(f"{label} {split}".strip(), x, y))
    return curves


def _scores(series: Mapping[str, tuple[list[float], list[float]]], score: str | None) -> list[_Curve]:
    curves: list[_Curve] = []
    for name, (x, y) in series.items():
        base, _, split = name.partition(" ")
        net, figure = _whose(base)
        if figure != score and (score is not None or not _ACCURACY.search(figure)):
            continue
        label = NETS[net or "net"]
        curves.append(_Curve(label if score else f"{figure} {split}, {label}", x, y))
    return curves


def _whose(column: str) -> tuple[str | None, str]:
    """Which network a column is of, if of one, and the figure."""
    net, found, figure = column.partition("_")
    return (net, figure) if found and net in NETS else (None, column)


def _draw_curves(axes: Axes, title: str, curves: Sequence[_Curve], x_name: str) -> None:
    for index, curve in enumerate(curves):
        marker = "o" if len(curve.x) < 40 else None
        colour = COLOURS[index % len(COLOURS)]
        axes.plot(curve.x, curve.y, color=colour, lw=1.6, marker=marker, ms=3, label=legible(curve.label, 40))
    tidy(axes)
    axes.set_title(title, fontsize=11, loc="left", color=INK)
    axes.set_xlabel(x_name, fontsize=9)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.set_xlim(0, 1.04 * max(max(curve.x) for curve in curves) or 1)
    if len(curves) > 1:
        for text in axes.legend(fontsize=8, frameon=False).get_texts():
            text.set_parse_math(False)
    if "loss" in title:
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))


def _mark_best(axes: Axes, curves: Sequence[_Curve]) -> None:
    """A ring around the highest point, the first of equals, which the title tells."""
    best = max(curves, key=lambda curve: max(curve.y))
    place = best.y.index(max(best.y))
    x, y = best.x[place], best.y[place]
    axes.plot([x], [y], marker="o", ms=9, mfc="none", mec=INK, mew=1.4, ls="none")
    axes.set_title(f"{axes.get_title(loc='left')}: best {y:.2f}, epoch {x:g}", fontsize=11, loc="left", color=INK)


def _run_series(csv_path: Path) -> dict[str, tuple[list[float], list[float]]]:
    """What a run's table has of its epochs; of training what steps.csv beside it has, where that is more."""
    series = {name.removeprefix("train_"): values for name, values in read_series(csv_path).items()}
    steps = csv_path.with_name("steps.csv")
    try:
        finer = read_series(steps) if steps.is_file() and _x_name(steps) == _x_name(csv_path) else {}
    except UserError:  # no step was written yet
        finer = {}
    return series | {name: values for name, values in finer.items() if len(values[0]) > len(series.get(name, ((),))[0])}


def read_series(csv_path: Path | str) -> dict[str, tuple[list[float], list[float]]]:
    """Every numeric column of a metrics table as (x, y), x being the epoch (or step) of the row."""
    path = Path(csv_path)
    if not path.is_file():
        raise UserError(f"no metrics table at {path}")
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if not rows:
        raise UserError(f"{path} holds no rows yet")
    x_name = _x_name(path)
    kinds = next((name for name in ("split", "phase") if name in rows[0]), None)
    series: dict[str, tuple[list[float], list[float]]] = {}
    for number, row in enumerate(rows):
        x = _number(row.get(x_name))
        for name, text in row.items():
            y = _number(text)
            if name is None or name == x_name or y is None:
                continue
            label = f"{name} ({row[kinds]})" if kinds and row[kinds] else name
            xs, ys = series.setdefault(label, ([], []))
            xs.append(float(number) if x is None else x)
            ys.append(y)
    return series


def _x_name(csv_path: Path | str) -> str:
    with Path(csv_path).open(newline="", encoding="utf-8") as file:
        names = next(csv.reader(file), [])
    return next((name for name in ("epoch", "step", "iteration") if name in names), "row")


def _number(text: object) -> float | None:
    try:
        value = float(str(text))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


# ---------------------------------------------------------------------------------------- confusion


def save_confusion(
    matrix: np.ndarray,
    classes: Sequence[str],
    png_path: Path | str,
    *,
    title: str = "Confusion matrix",
    keep: Sequence[int] = (),
    percent: bool = False,
) -> Path:
    """Draw counts, true classes in rows and predicted ones in columns.

    Rows without images and columns without predictions are left out, so that ten classes judged by a
    thousand-class model stay readable: predictions outside the rows' classes share the column "other".
    Up to 30 classes show names and numbers, up to 80 names, more only indices and the most frequent mistakes.
    Rows in `keep` are shown also without counts, such as a detector's background; `percent` writes the share of each
    row instead of counts, and mistakes as shares of all (for pixels).
    """
    matrix = np.asarray(matrix)
    rows = np.flatnonzero(matrix.sum(1))
    if len(rows):
        rows = np.union1d(rows, np.asarray(keep, dtype=rows.dtype))
    if len(rows) == 0:
        raise UserError("no images were counted, so there is no confusion matrix to draw")
    inside = matrix[np.ix_(rows, rows)]
    outside = matrix[rows].sum(1) - inside.sum(1)
    names = [legible(classes[int(row)], 22) for row in rows]
    shown = np.hstack([inside, outside[:, None]]) if outside.any() else inside
    columns = [*names, "other"] if outside.any() else names
    if percent:
        shown = np.rint(100 * shown / np.maximum(shown.sum(1, keepdims=True), 1)).astype(int)
    draw = _confusion_cells if len(rows) <= 80 else _confusion_map
    return save(draw(shown, names, columns, _mistakes(matrix, classes, percent), title), png_path)


def _confusion_cells(
    shown: np.ndarray, names: list[str], columns: list[str], mistakes: list[str], title: str
) -> Figure:
    count = len(names)
    font = 8.5 if count <= 30 else 6
    margin = 0.085 * font / 8.5 * max(len(name) for name in columns) + 0.5
    # Numbers beyond 30 classes, and which class is "other", stand in a list beside the matrix.
    beside = [_MISTAKES, *mistakes] if mistakes and (columns[-1] == "other" or count > 12) else []
    listed = 0.3 + 0.068 * max(map(len, beside)) if beside else 0.25
    # Few cells are as large as the title is long.
    wide = max(0.088 * len(title) - margin - listed, 2.4)
    cell = min(2.2, max(0.42 if count <= 30 else 0.2, wide / len(columns)))
    turn = 0 if max(len(name) for name in columns) * 0.075 < cell else 90
    head, foot = 0.5, margin if turn else 0.55
    width, height = margin + cell * len(columns) + listed, head + cell * count + foot
    width, height = max(width, 0.088 * len(title) + 0.3), max(height, head + 0.2 + 0.18 * min(len(beside), 14))
    figure = new_figure(width, height, tight=False)
    side = cell * count / height
    axes = figure.add_axes((margin / width, 1 - head / height - side, cell * len(columns) / width, side))
    share = shown / np.maximum(shown.sum(1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    axes.set_xticks(range(len(columns)), columns, rotation=turn, fontsize=font, parse_math=False)
    axes.set_yticks(range(count), names, fontsize=font, parse_math=False)
    axes.set_xlabel("predicted", fontsize=font + 1)
    axes.set_ylabel("true", fontsize=font + 1)
    _grid_lines(axes, shown.shape)
    if count <= 30:
        for (row, column), number in np.ndenumerate(shown):
            if number:
                ink = "white" if share[row, column] > 0.55 else INK
                size = min(13.0, font * cell / 0.42) - (2 if number >= 1000 and cell < 0.6 else 0)
                axes.text(column, row, f"{number}", ha="center", va="center", fontsize=size, color=ink)
    figure.text(0.1 / width, 1 - 0.15 / height, title, fontsize=11, color=INK, va="top", parse_math=False)
    if beside:
        left, lines = (
            (margin + cell * len(columns) + 0.2) / width,
            "\n".join(beside[: max(14, int(count * cell / 0.18))]),
        )
        figure.text(left, 1 - head / height, lines, fontsize=8, color=INK, va="top", linespacing=1.5, parse_math=False)
    return figure


def _confusion_map(shown: np.ndarray, names: list[str], columns: list[str], mistakes: list[str], title: str) -> Figure:
    figure = new_figure(11.5, 7.2, tight=False)
    axes = figure.add_axes((0.06, 0.08, 0.56, 0.84))
    share = shown / np.maximum(shown.sum(1, keepdims=True), 1)
    # A pixel for each class hides single mistakes on screen: larger blocks and a square root show them.
    axes.imshow(np.sqrt(_spread(share, 300)), cmap="Blues", vmin=0, vmax=1, aspect="auto", interpolation="nearest",
                extent=(0, shown.shape[1], shown.shape[0], 0))  # fmt: skip
    tidy(axes, grid=False)
    axes.set_xlabel("predicted class" + (", last column: other classes" if columns[-1] == "other" else ""), fontsize=9)
    axes.set_ylabel(f"true class ({len(names)} with images)", fontsize=9)
    axes.set_title(title, fontsize=11, loc="left", color=INK, parse_math=False)
    figure.text(0.65, 0.92, _MISTAKES, fontsize=10, color=INK, va="top")
    lines = "\n".join(mistakes[:26]) or "none"
    figure.text(0.65, 0.88, lines, fontsize=8, color=INK, va="top", linespacing=1.65, parse_math=False)
    return figure


def _spread(share: np.ndarray, pixels: int) -> np.ndarray:
    """Shrink to at most `pixels` a side keeping the largest value of each block, so no mistake vanishes."""
    for axis in (0, 1):
        size = share.shape[axis]
        if size > pixels:
            starts = np.linspace(0, size, pixels, endpoint=False).astype(int)
            share = np.maximum.reduceat(share, starts, axis=axis)
    return share


def _mistakes(matrix: np.ndarray, classes: Sequence[str], percent: bool) -> list[str]:
    wrong = np.array(matrix)
    np.fill_diagonal(wrong, 0)
    order = np.argsort(wrong, axis=None, kind="stable")[::-1][:26]
    pairs = [tuple(map(int, np.unravel_index(flat, wrong.shape))) for flat in order]
    total = max(1, matrix.sum())
    return [
        (f"{count / total:.1%}: " if percent else f"{count} × ")
        + f"{legible(classes[true], 24)} → {legible(classes[guess], 24)}"
        for true, guess in pairs
        if (count := wrong[true, guess])
    ]


# --------------------------------------------------------------------------------------- image grid


def save_image_grid(
    images: Sequence[Image.Image | None],
    captions: Sequence[str],
    png_path: Path | str,
    *,
    title: str = "",
    colours: Sequence[str] | None = None,
    columns: int | None = None,
    cell: tuple[float, float] = (1.65, 1.65),
) -> Path:
    """Pictures in rows with a caption of one to three lines under each; None leaves a grey field.

    `colours` gives each caption's colour, so that right and wrong answers differ at a glance; `cell` is the room for a
    picture, width and height in inches.
    """
    if not images:
        raise UserError("no images to draw")
    columns = columns or min(len(images), max(3, math.ceil(math.sqrt(len(images) * 1.4))))
    rows = math.ceil(len(images) / columns)
    lines = max(caption.count("\n") + 1 for caption in captions)
    (side, tall), gap, text, head = cell, 0.12, 0.155 * lines + 0.08, 0.45 if title else 0.1
    width, height = columns * (side + gap) + gap, rows * (tall + text + gap) + head + gap
    figure = new_figure(width, height, tight=False)
    for index, (image, caption) in enumerate(zip(images, captions, strict=True)):
        row, column = divmod(index, columns)
        left = gap + column * (side + gap)
        top = height - head - row * (tall + text + gap)
        axes = figure.add_axes((left / width, (top - tall) / height, side / width, tall / height))
        axes.set_axis_off()
        if image is None:
            axes.set_xlim(0, 1)
            axes.set_ylim(0, 1)
            axes.fill([0, 1, 1, 0], [0, 0, 1, 1], color=FAINT)
            axes.text(0.5, 0.5, "not readable", ha="center", va="center", fontsize=8, color=INK)
        else:
            # Small pictures are shown with their pixels; large ones are shrunk once, well.
            shown = image.convert("RGB")
            shown.thumbnail((round(218 * side), round(218 * tall)), Image.Resampling.LANCZOS)
            smooth = "nearest" if max(shown.size) < 100 else "antialiased"
            axes.imshow(np.asarray(shown), interpolation=smooth)
        colour = colours[index] if colours else INK
        lines_of_caption = "\n".join(legible(line, round(16.4 * side)) for line in caption.split("\n"))
        figure.text(left / width, (top - tall - 0.045) / height, lines_of_caption, va="top", fontsize=7.5,
                    color=colour, linespacing=1.3, parse_math=False)  # fmt: skip
    if title:
        figure.text(gap / width, 1 - 0.12 / height, legible(title, 100), va="top", fontsize=11, color=INK,
                    parse_math=False)  # fmt: skip
    return save(figure, png_path)


# ------------------------------------------------------------------------------ precision and recall


def save_precision_recall(
    rows: Mapping[str, np.ndarray],
    ious: Sequence[float],
    classes: Sequence[str],
    png_path: Path | str,
    *,
    title: str = "",
) -> Path:
    """Precision over recall: on the left the mean of the classes at some IoU, on the right each class at the first.

    Up to six classes have names and colours; more are thin lines behind their mean. Rows are what is evaluated, such
    as "boxes" -> precision ``T R K`` at every IoU (rising), at recalls from 0 to 1, of every class; NaN for a class
    without objects.
    """
    defined = {name: ~np.isnan(values).any((0, 1)) for name, values in rows.items()}
    drawn = [name for name in rows if defined[name].any()]
    if not drawn:
        raise UserError("there is no true object, so there is no precision to draw")
    figure = new_figure(9.6, 3.9 * len(drawn) + 0.3)
    for number, name in enumerate(drawn):
        names = [legible(classes[label], 24) for label in np.flatnonzero(defined[name]).tolist()]
        values = rows[name][:, :, defined[name]]
        left, right = (figure.add_subplot(len(drawn), 2, 2 * number + side) for side in (1, 2))
        _precision_at_ious(left, values, ious)
        heading = name if len(names) == 1 else f"{name}, mean of {counted(len(names), 'classes')}"
        left.set_title(heading, fontsize=10, loc="left", color=INK)
        _precision_of_classes(right, values[0], names)
        right.set_title(f"{name}, each class at IoU {ious[0]:.2f}", fontsize=10, loc="left", color=INK)
        for axes in (left, right):
            tidy(axes)
            axes.set_xlim(0, 1)
            axes.set_ylim(0, 1.02)
            axes.set_xlabel("recall", fontsize=9)
            axes.set_ylabel("precision", fontsize=9)
            for text in axes.legend(fontsize=8, frameon=False).get_texts():
                text.set_parse_math(False)
    if title:
        figure.suptitle(legible(title, 110), fontsize=10, x=0.01, ha="left", color=INK, parse_math=False)
    return save(figure, png_path)


def _precision_at_ious(axes: Axes, values: np.ndarray, ious: Sequence[float]) -> None:
    recall, last = np.linspace(0, 1, values.shape[1]), len(ious) - 1
    for place in sorted({0, last // 2 + 1, last - 1, last} if last > 2 else range(last + 1)):
        label = f"IoU {ious[place]:.2f}: AP {100 * values[place].mean():.1f}"
        alpha = 1 - 0.75 * place / max(1, last)
        axes.plot(recall, values[place].mean(1), color=COLOURS[0], alpha=alpha, lw=1.8, label=label)


def _precision_of_classes(axes: Axes, values: np.ndarray, names: Sequence[str]) -> None:
    recall = np.linspace(0, 1, len(values))
    if len(names) > 6:
        axes.plot(recall, values, color="#9A9A9A", lw=0.6)
        axes.plot(recall, values.mean(1), color=COLOURS[0], lw=2.2, label=f"mean: AP {100 * values.mean():.1f}")
        return
    for column, name, colour in zip(values.T, names, COLOURS, strict=False):
        axes.plot(recall, column, color=colour, lw=1.6, label=f"{name}: AP {100 * column.mean():.1f}")


# --------------------------------------------------------------------------------------------- bars


def save_bars(
    values: Mapping[str, float],
    png_path: Path | str,
    *,
    title: str = "",
    unit: str = "",
    form: Callable[[float], str] = "{:.3g}".format,
) -> Path:
    """Horizontal bars with the number at each end, in the order given."""
    if not values:
        raise UserError("no values to draw")
    names = [legible(name, 40) for name in values]
    figure = new_figure(7.2, 0.32 * len(names) + 0.9)
    axes = figure.add_subplot()
    numbers = list(values.values())
    axes.barh(range(len(names)), numbers, color=COLOURS[0], height=0.66)
    for place, number in enumerate(numbers):
        axes.annotate(form(number), (number, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=9, parse_math=False)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    tidy(axes, grid=False)
    axes.set_xlabel(unit, fontsize=9)
    axes.set_title(title, fontsize=11, loc="left", color=INK, parse_math=False)
    return save(figure, png_path)


# ---------------------------------------------------------------------------------------- intervals


@dataclass(frozen=True, slots=True)
class Interval:
    """A bar with the range around its end, and what is written beside it; bars of one group share a colour."""

    name: str
    middle: float
    low: float
    high: float
    note: str = ""
    group: str = ""


def save_intervals(
    panels: Mapping[str, Sequence[Interval]], png_path: Path | str, *, unit: str, title: str = ""
) -> Path:
    """Horizontal bars with their ranges, one panel under the other."""
    if not any(panels.values()):
        raise UserError("no values to draw")
    heights = [0.27 * len(bars) + 0.75 for bars in panels.values()]
    figure = new_figure(8.4, sum(heights) + 0.5)
    grid = figure.add_gridspec(len(panels), 1, height_ratios=heights)
    groups = list(dict.fromkeys(bar.group for bars in panels.values() for bar in bars))
    for number, (name, bars) in enumerate(panels.items()):
        axes = figure.add_subplot(grid[number])
        places = range(len(bars))
        colours = [COLOURS[groups.index(bar.group) % len(COLOURS)] for bar in bars]
        axes.barh(places, [bar.middle for bar in bars], color=colours, height=0.62)
        axes.hlines(places, [bar.low for bar in bars], [bar.high for bar in bars], color=INK, lw=1.2)
        for place, bar in zip(places, bars, strict=True):
            text = f"{bar.middle:.3g}" + (f"   {bar.note}" if bar.note else "")
            axes.annotate(text, (max(bar.middle, bar.high), place), xytext=(5, 0), textcoords="offset points",
                          va="center", fontsize=8, color=INK, parse_math=False)  # fmt: skip
        axes.set_yticks(places, [legible(bar.name, 48) for bar in bars], fontsize=8, parse_math=False)
        axes.invert_yaxis()
        axes.margins(x=0.2)
        axes.set_xlim(left=0)
        tidy(axes, grid=False)
        axes.set_title(name, fontsize=10, loc="left", color=INK, parse_math=False)
    axes.set_xlabel(unit, fontsize=9)
    figure.suptitle(legible(title, 100), fontsize=10, x=0.01, ha="left", color=INK)
    return save(figure, png_path)


# ------------------------------------------------------------------------------------------ helpers


def legible(text: str, limit: int | None = None) -> str:
    """`text` with what the font cannot draw (and line breaks) replaced by "?", cut in the middle to `limit`.

    Class and file names are other people's: a missing glyph must not cost the picture or warn.
    """
    glyphs = _glyphs()
    text = "".join(sign if ord(sign) in glyphs else "?" for sign in text.replace("\t", " "))
    if limit is not None and len(text) > limit:
        keep = limit - 1
        text = f"{text[: keep - keep // 3]}…{text[-(keep // 3) :]}"
    return text


@cache
def font_file() -> str:
    """The file of the font that pictures are labelled in, whose letters `legible` knows."""
    found: Any = findfont(FontProperties())
    return str(found)


@cache
def _glyphs() -> frozenset[int]:
    return frozenset(get_font(findfont(FontProperties())).get_charmap())


def new_figure(width: float, height: float, *, tight: bool = True) -> Figure:
    """An empty figure of so many inches; `tight` lets matplotlib place what is in it."""
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white", layout="constrained" if tight else None)
    FigureCanvasAgg(figure)
    return figure


def tidy(axes: Axes, *, grid: bool = True) -> None:
    """Quiet axes: two sides, small numbers, a faint grid."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#888888")
    axes.tick_params(labelsize=8, colors=INK)
    if grid:
        axes.grid(True, color=FAINT, lw=0.6)
        axes.set_axisbelow(True)


def _grid_lines(axes: Axes, shape: tuple[int, ...]) -> None:
    axes.set_xticks(np.arange(shape[1] + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(shape[0] + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="#E6E6E6", lw=0.6)
    axes.tick_params(which="both", length=0)


def save(figure: Figure, png_path: Path | str, source: str = "") -> Path:
    """Write a figure; `source` is kept in the file as "Source", so that a picture tells what it was drawn from."""
    path = Path(png_path)
    told = {"Source": source} if source else {}
    options: dict[str, Any] = {"metadata": {"Software": None, **told}}  # same picture, same bytes
    with atomic_path(path) as temporary:
        figure.savefig(temporary, **options)
    return path
