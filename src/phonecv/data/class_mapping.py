"""Names of classes, and whose class 7 is whose: matching a folder's classes to a model's outputs."""

from __future__ import annotations

import importlib.util
import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from phonecv.data.folders.class_names import name_key, natural_key
from phonecv.errors import UserError
from phonecv.text import first_names, printable_name, some_names

#: How many classes ImageNet-1k has; a model with as many and no names of its own is taken for one of it.
IMAGENET_CLASSES = 1000

_NUMBER = re.compile(r"[0-9]{1,9}")


@cache
def imagenet_ids() -> tuple[str, ...]:
    """WordNet ids of ImageNet-1k in class order, such as "n01440764"."""
    return tuple(wnid for wnid, _ in _imagenet())


@cache
def imagenet_names() -> tuple[str, ...]:
    """First English name of each ImageNet-1k class; the few that repeat carry their WordNet id."""
    first = [(wnid, text.split(",")[0].strip()) for wnid, text in _imagenet()]
    times = Counter(name for _, name in first)
    return tuple(name if times[name] == 1 else f"{name} ({wnid})" for wnid, name in first)


@cache
def _imagenet() -> tuple[tuple[str, str], ...]:
    """WordNet id and English names of each class.

    They are in two text files of timm. Importing timm for them would take longer than evaluating a thousand pictures.
    """
    spec = importlib.util.find_spec("timm")
    for place in (spec.submodule_search_locations or ()) if spec is not None else ():
        folder = Path(place) / "data" / "_info"
        try:
            ids = (folder / "imagenet_synsets.txt").read_text(encoding="utf-8").splitlines()
            lines = (folder / "imagenet_synset_to_lemma.txt").read_text(encoding="utf-8").splitlines()
            names = dict(line.split("\t", 1) for line in lines)
            return tuple((wnid, names[wnid]) for wnid in ids)
        except (OSError, KeyError, ValueError):  # a timm that keeps them elsewhere
            continue
    from timm.data import ImageNetInfo

    info = ImageNetInfo("imagenet-1k")
    return tuple(zip(info.label_names(), info.label_descriptions(), strict=True))


def display_names(class_names: Sequence[str] | None, num_classes: int) -> tuple[str, ...]:
    """A name for every output: the model's own, else ImageNet's for 1000 classes, else the index."""
    if class_names is not None:
        return tuple(class_names)
    if num_classes == IMAGENET_CLASSES:
        return imagenet_names()
    return tuple(str(index) for index in range(num_classes))


class OutputMap(dict[int, int]):
    """Label of the data -> output of the model; `note` says what decided where no names did."""

    note: str = ""


def map_classes(
    labels: Sequence[int],
    ids: Sequence[str],
    names: Sequence[str],
    model: Sequence[str] | None,
    num_classes: int,
    *,
    hint: str = "",
) -> OutputMap:
    """For every label of a data folder the model output that means it.

    Names decide wherever both sides have them: equal names (letter case and "_" for blanks apart), WordNet ids
    and English names for ImageNet's 1000 classes. For a model that knows no names, or ImageNet's, class folders
    that are all called by a number are the outputs of these numbers. Only a model that knows no names and has as
    many classes as the data is matched by order. Nothing is guessed beyond that.

    Args:
        labels: those that occur.
        ids: what the class folders are called, in label order.
        names: the classes' names in label order; often the same.
        model: the model's class names in output order, or None.
        num_classes: outputs of the model.
        hint: what the person can do, appended to the error.

    Raises:
        UserError: some labels have no output, or two share one.
    """
    known = _aliases(model, num_classes)
    found = OutputMap()
    for label in labels:
        index = known.get(name_key(ids[label]), known.get(name_key(names[label])))
        if index is not None:
            found[label] = index
    missing = [ids[label] for label in labels if label not in found]
    if not found and missing and (model is None or _is_imagenet(model)):
        found = _by_number(labels, ids, num_classes)
    if found and (not missing or found.note):
        output, times = Counter(found.values()).most_common(1)[0]
        if times > 1:
            twins = [ids[label] for label, index in found.items() if index == output]
            raise UserError(
                f"{times} classes of the data ({some_names(twins)}) are one class of the model, number {output}{hint}"
            )
        return found
    if model is None and len(ids) == num_classes and not found:
        found = OutputMap({label: label for label in labels})
        found.note = _order_note(ids)
        return found
    raise UserError(
        f"the data has {len(ids)} classes and the model {num_classes}, and {len(missing)} of the data's "
        f"({some_names(missing, 3)}) are not among the model's ({some_names(display_names(model, num_classes), 3)})"
        f"{_counted_from_one(ids, num_classes)}{hint}"
    )


def _by_number(labels: Sequence[int], ids: Sequence[str], num_classes: int) -> OutputMap:
    """Classes that are all called by the number of an output; empty if one is not."""
    found = OutputMap()
    # All of them, those without pictures as well: with "1" to "1000" on a network of 1000, "7" is not output 7.
    if all(_NUMBER.fullmatch(name) and int(name) < num_classes for name in ids):
        found |= {label: int(ids[label]) for label in labels}
        found.note = "the class folders are called by numbers, which are taken for the network's outputs (from 0)"
    return found


def _order_note(ids: Sequence[str]) -> str:
    """Says that order decided, and where that is likely to mislead."""
    shown = first_names([f"{printable_name(name)} = {output}" for output, name in enumerate(ids)], 3)
    text = f"the network knows no class names, so the order of the data's decides which output is which: {shown}"
    as_text = sorted(ids)
    if list(ids) == sorted(ids, key=natural_key) != as_text:
        text += (
            f"; a network from a program that sorts folders as text ({some_names(as_text, 3)}) has another order,"
            " which a classes.txt can give"
        )
    return text


def _counted_from_one(ids: Sequence[str], num_classes: int) -> str:
    numbers = [int(name) for name in ids if _NUMBER.fullmatch(name)]
    if len(numbers) == len(ids) and max(numbers, default=0) == num_classes and 0 not in numbers:
        return "; they may be counted from 1, and outputs are counted from 0"
    return ""


def _aliases(model: Sequence[str] | None, num_classes: int) -> dict[str, int]:
    tables = [model] if model is not None else []
    if num_classes == IMAGENET_CLASSES and (model is None or _is_imagenet(model)):
        tables += [imagenet_ids(), imagenet_names()]
    known: dict[str, int] = {}
    for table in tables:
        for index, name in enumerate(table):
            known.setdefault(name_key(name), index)
    return known


def _is_imagenet(model: Sequence[str]) -> bool:
    """Whether names are ImageNet's in ImageNet's order (either kind, or "id, name" lists): most must agree."""
    if len(model) != IMAGENET_CLASSES:
        return False
    tables = zip(imagenet_ids(), imagenet_names(), model, strict=True)
    agree = sum(name.startswith(wnid) or name.split(",")[0].strip() == english for wnid, english, name in tables)
    return agree > 0.9 * len(model)
