"""Catalog and recipes as rows, for the terminal and for the tables in docs/."""

from __future__ import annotations

from collections.abc import Sequence

from phonecv.errors import UserError, did_you_mean
from phonecv.models.catalog import MODELS, ModelRecord, get_record, list_models
from phonecv.models.names import published_room
from phonecv.tables import Table, figure
from phonecv.task import TASKS, find_task


def select(pattern: str) -> list[ModelRecord]:
    """The records whose name matches a shell-style pattern; a bare word also matches within names."""
    names = list_models(pattern) or list_models(f"*{pattern}*")
    if not names:
        raise UserError(
            f"no model matches {pattern!r}{did_you_mean(pattern, MODELS)}; `phonecv models` lists all {len(MODELS)}"
        )
    return [get_record(name) for name in names]


def model_rows(records: Sequence[ModelRecord]) -> Table:
    """One row per network; accuracy, licence and source are those of its first weight file, if it has one."""
    rows = []
    for record in records:
        first = record.weights[0] if record.weights else None
        top1 = first.top1 if first else record.top1
        rows.append(
            (
                record.name,
                f"{record.parameters / 1e6:.2f}",
                f"{record.deploy_parameters / 1e6:.2f}",
                f"{record.macs / 1e6:.0f}",
                record.preprocessing.size,
                figure(top1, 1),
                ", ".join(weights.tag for weights in record.weights) or "none published",
                first.licence if first else "",
                first.source if first else record.note,
            )
        )
    header = ("name", "params M", "fused M", "MACs M", "input", "top-1 %", "weights", "licence", "source")
    return header, rows, (1, 2, 3, 4, 5)


def weight_rows(records: Sequence[ModelRecord]) -> Table:
    """One row per public weight file."""
    rows = [
        (
            record.name,
            weights.tag,
            weights.form,
            weights.layout,
            f"{weights.top1:.2f}".rstrip("0").rstrip("."),
            "" if weights.top5 is None else f"{weights.top5:.2f}".rstrip("0").rstrip("."),
            weights.licence,
            weights.source,
        )
        for record in records
        for weights in record.weights
    ]
    return ("name", "weights", "form", "layout", "top-1 %", "top-5 %", "licence", "source"), rows, (4, 5)


def heads_rows(task: str) -> Table:
    """The heads of a task.

    Raises:
        UserError: there is no such task, or it has no heads of its own.
    """
    if not find_task(task).has("published"):
        having = ", ".join(name for name, other in TASKS.items() if other.has("published"))
        raise UserError(f"the networks of {task!r} have no heads of their own to list (choose from: {having})")
    return published_room(task).heads_rows()


def format_rows() -> Table:
    """One row per format that networks are exported to."""
    from phonecv.exporting.formats import EXPORTERS

    rows = [
        (
            name,
            exporter.title,
            ", ".join((exporter.suffix, *exporter.parts)),
            f"phonecv[{exporter.extra}]" if exporter.extra else "phonecv",
            "any" if exporter.dynamic_batch else "fixed",
            "any, if asked" if exporter.dynamic_size else "fixed",
            ", ".join(exporter.precisions),
            exporter.checked_by,
            "; ".join(f"{what}: {why}" for what, why in exporter.refused.items()),
        )
        for name, exporter in EXPORTERS.items()
    ]
    header = ("format", "for", "files", "install", "batch", "height, width", "precisions", "run here by", "not")
    return header, rows, ()


#: Whom a recipe is for, as its head says -> what that means.
RECIPE_GROUPS = {
    "yours": "your own pictures, from a few dozen on",
    "published": "results of papers and repositories, with their data and settings",
    "toys": "sample pictures that `phonecv samples` makes, minutes on a CPU",
}


def recipe_rows() -> Table:
    """One row per shipped recipe: its group, name and task, what it trains, and the score and time it promises."""
    from phonecv.training.recipe import find_recipe, load_config, read_promise, recipe_names

    rows = []
    for name in recipe_names():
        promise = read_promise(find_recipe(name))
        said = promise.fields
        own = (load_config(name).task, promise.title, said.get("score", ""), said.get("time", ""))
        rows.append((said.get("for", "yours"), name, *own))
    rows.sort(key=lambda row: (list(RECIPE_GROUPS).index(row[0]), row[2]))
    return ("for", "recipe", "task", "what", "score", "time"), rows, ()
