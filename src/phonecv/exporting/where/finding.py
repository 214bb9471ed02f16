"""What the rules find in a file, as JSON values for its record and as a table for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from phonecv.exporting.formats import exporter_for
from phonecv.exporting.where.graph import Operator
from phonecv.exporting.where.rules import ACCELERATORS, Accelerator, Rule
from phonecv.text import counted

#: Kinds of operators in a line of the table.
_KINDS = 4


def places(format: str, operators: Sequence[Operator]) -> list[dict[str, Any]]:
    """For each accelerator that runs a format, what it leaves to the processor, rule by rule; JSON values."""
    return [_place(accelerator, operators) for accelerator in ACCELERATORS if accelerator.format == format]


def found_in(format: str, operators: Sequence[Operator]) -> dict[str, Any]:
    """What the report of a written file says of its operators: how many of each kind, and where they run."""
    kinds = Counter(item.kind for item in operators)
    return {"operators": dict(kinds.most_common()), "where": places(format, operators)}


def places_of(path: Path, record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The same for a file: what was found when it was written, with its layers, or else what stands in it alone.

    Raises:
        UserError: it is damaged, or what reads its format is not installed.
    """
    known = record.get("report", {}).get("where")
    if known is not None:
        return known
    exporter = exporter_for(path)
    if exporter is None or not exporter.graph:
        return []
    return places(exporter.format, resolve_name(exporter.graph)(path))


def _place(accelerator: Accelerator, operators: Sequence[Operator]) -> dict[str, Any]:
    found: dict[str, tuple[Rule, list[Operator]]] = {}
    for item in operators:
        rule = next((rule for rule in accelerator.rules if rule.holds(item)), None)
        if rule is not None:
            found.setdefault(rule.name, (rule, []))[1].append(item)
    return {
        "accelerator": accelerator.name,
        "title": accelerator.title,
        "operators": len(operators),
        "left": sum(len(items) for _, items in found.values()),
        "outside": [
            {
                "rule": rule.name,
                "why": rule.why,
                "source": rule.source,
                **({"remedy": rule.remedy} if rule.remedy else {}),
                "operators": dict(Counter(item.kind for item in items).most_common()),
                "layers": sorted({item.layer for item in items} - {""}),
            }
            for rule, items in found.values()
        ],
        **({"note": accelerator.note} if accelerator.note else {}),
    }


HEADER = ("accelerator", "takes", "leaves to the processor", "why", "by", "layers")


def sources(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Who says what the rows say; the column "by" counts them from 1."""
    return list(dict.fromkeys(one["source"] for place in found for one in place["outside"]))


def rows(found: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Lines of the table `HEADER`, grouped by accelerator."""
    lines, known = [], sources(found)
    for place in found:
        share = f"{place['operators'] - place['left']} of {place['operators']}"
        first = (place["title"], share)
        if not place["outside"]:
            lines.append((*first, "nothing by the known rules", "", "", ""))
        for one in place["outside"]:
            why = one["why"] + (f": {one['remedy']}" if "remedy" in one else "")
            whole = sum(one["operators"].values()) == place["operators"]
            layers = "all" if whole else layers_text(one["layers"])
            lines.append((*first, _kinds(one["operators"]), why, str(known.index(one["source"]) + 1), layers))
            first = ("", "")
    return lines


def summary(found: Sequence[Mapping[str, Any]]) -> str:
    """One line: how much each accelerator leaves to the processor."""
    return "; ".join(
        f"{place['title']}: {place['left']} of {place['operators']} operators left out"
        if place["left"]
        else f"{place['title']}: all {place['operators']} operators"
        for place in found
    )


def _kinds(counts: Mapping[str, int]) -> str:
    listed = [f"{count} {kind}" for kind, count in counts.items()]
    more = f", and {len(listed) - _KINDS} more kinds" if len(listed) > _KINDS else ""
    return ", ".join(listed[:_KINDS]) + more


def layers_text(layers: Sequence[str]) -> str:
    """Names of layers, shortly: of many the first and the last, or what they have in common."""
    if len(layers) <= 2:
        return ", ".join(layers)
    parts = zip(*(layer.split(".") for layer in layers), strict=False)
    common = [names[0] for names in takewhile(lambda names: len(set(names)) == 1, parts)]
    within = f"{'.'.join(common)}: " if common else ""
    ends = [".".join(layer.split(".")[len(common) :]) or "itself" for layer in (layers[0], layers[-1])]
    return f"{within}{ends[0]} to {ends[1]} ({counted(len(layers), 'layers')})"
