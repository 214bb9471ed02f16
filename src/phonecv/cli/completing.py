"""What the shell offers for the word under the cursor: recipes, settings, networks, formats; without torch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from phonecv.models.catalog import MODELS

if TYPE_CHECKING:
    from cyclopts.completion import CompletionContext

#: What the shell is offered: a value, and what it is.
Offers = Iterable[tuple[str, str]]


def recipes_like(context: CompletionContext) -> Offers:
    """Names of the shipped recipes, each with its first line."""
    from phonecv.training.recipe import find_recipe, read_promise, recipe_names

    return [(name, read_promise(find_recipe(name)).title) for name in recipe_names()]


def overrides_like(context: CompletionContext) -> Offers:
    """Settings as ``group.name=``; behind the sign their values, where those are few.

    Bash takes ``model.name=emo`` for three words, other shells for one.
    """
    typed = [token.value for token in context.argument.tokens]
    if len(typed) > 1 and typed[-1] == "=":
        return [(value, "") for value in _values(typed[-2])]
    name, found, _ = context.incomplete.partition("=")
    if found:
        return [(f"{name}={value}", "") for value in _values(name)]
    from phonecv.training.config import setting_texts

    return [(f"{setting}=", text) for setting, text in setting_texts().items()]


def models_like(context: CompletionContext) -> Offers:
    """Names of the catalog, with what is published of them."""
    return [
        (name, f"{record.parameters / 1e6:.1f} M parameters" + (f", top-1 {record.top1:.1f} %" if record.top1 else ""))
        for name, record in MODELS.items()
    ]


def weights_like(context: CompletionContext) -> Offers:
    """Tags of the catalog's weights, and the words for the first ones and none."""
    tags = dict.fromkeys(weights.tag for record in MODELS.values() for weights in record.weights)
    return [("official", "public weights of the network"), ("none", "fresh values"), *((tag, "") for tag in tags)]


def teachers_like(context: CompletionContext) -> Offers:
    """What can teach, beside a file."""
    return [("timm:", "any network of timm"), *models_like(context)]


def formats_like(context: CompletionContext) -> Offers:
    """Formats of files, several with commas between them."""
    from phonecv.exporting.formats import EXPORTERS

    before, comma, _ = context.incomplete.rpartition(",")
    return [
        (f"{before}{comma}{name}", exporter.title)
        for name, exporter in EXPORTERS.items()
        if name not in before.split(",")
    ]


def _values(setting: str) -> list[str]:
    """The values that a setting may have, where they are few."""
    from phonecv.training.config import setting_hint

    if setting == "model.name":
        return list(MODELS)
    if setting == "model.weights":
        return [name for name, _ in weights_like(None)]  # type: ignore[arg-type]
    return [_written(value) for value in _choices(setting_hint(setting))]


def _choices(hint: Any) -> list[Any]:
    if hint is bool:
        return [True, False]
    if get_origin(hint) is Literal:
        return list(get_args(hint))
    return [value for part in get_args(hint) if part is not hint for value in _choices(part)] if hint else []


def _written(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
