"""The categories of a COCO file, also where they are written as names alone."""

from __future__ import annotations

from collections import Counter
from typing import Any

from phonecv.data.coco.tables import CocoProblem, CocoTables
from phonecv.data.json_file import no_id, shown, whole
from phonecv.data.pictures.opening import printable


def numbered(categories: Any, annotations: list[Any]) -> tuple[Any, str]:
    """Categories as a list of records, and how they were written, "" where as COCO writes them.

    Names alone get the ids that the annotations use; what can't be numbered stays as it is.
    """
    if isinstance(categories, dict) and categories:
        if all(isinstance(name, str) and whole(key) is not None for key, name in categories.items()):
            return [{"id": whole(key), "name": name} for key, name in categories.items()], "names by id"
        if all(whole(key) is not None for key in categories.values()):
            return [{"id": whole(key), "name": name} for name, key in categories.items()], "ids by name"
    names = categories if isinstance(categories, list) else []
    if names and all(isinstance(one, dict) and set(one) == {"name"} for one in names):
        names = [one["name"] for one in names]
    if names and all(isinstance(name, str) for name in names):
        given = [record.get("category_id") for record in annotations if isinstance(record, dict)]
        ids = {whole(value) for value in given if isinstance(value, int | float | str)} - {None}
        # Only the one number that the first or the last class has in one of the two ways tells which it is.
        starts = [start for start in (0, 1) if ids and ids <= set(range(start, start + len(names)))]
        if given and all(isinstance(value, str) and value in names for value in given):
            starts = [1]  # any will do
        if len(starts) == 1:
            records = [{"id": number, "name": name} for number, name in enumerate(names, starts[0])]
            return records, f"names alone; they are counted from {starts[0]}, as the annotations do"
    return categories, ""


def why_not_numbered(categories: list[Any]) -> str:
    """What to say of a list of names that `numbered` left alone; "" for anything else."""
    if not categories or not all(isinstance(name, str) for name in categories):
        return ""
    return (
        f"is a list of {len(categories)} names, and the annotations do not tell whether their ids count from 0 or from"
        f' 1; write {{"id": 1, "name": {shown(categories[0])}}} and so on'
    )


def read_categories(tables: CocoTables, records: list[Any]) -> tuple[dict[int, int], dict[int, str]]:
    """Fill in the categories; returns their place and their group (supercategory; "" if they have no name), by id."""
    found: dict[int, str] = {}
    groups: dict[int, str] = {}
    for number, record in enumerate(records):
        place = f"categories[{number}]"
        if record is None or record == {}:
            tables.problems.append(CocoProblem("placeholder", place, f"is {shown(record)}; it is no class"))
            continue
        key = whole(record.get("id")) if isinstance(record, dict) else None
        if key is None:
            tables.problems.append(CocoProblem("record", place, no_id(record)))
            continue
        if key in found:
            first = printable(found[key])
            tables.problems.append(CocoProblem("record", place, f"id {key} is given twice, first to {first!r}"))
            continue
        name, group = record.get("name"), record.get("supercategory")
        groups[key] = group if isinstance(group, str) and group.strip() else "none"
        if not isinstance(name, str) or not name.strip():
            tables.problems.append(CocoProblem("category-name", place, f"has no name; it is called {str(key)!r} here"))
            name, groups[key] = str(key), ""
        found[key] = name
    tables.categories = sorted(found.items())
    for name, count in Counter(found.values()).items():
        if count > 1:
            tables.problems.append(
                CocoProblem("category-name", "categories", f"{count} of them are called {printable(name)!r}")
            )
    return {key: place for place, (key, _) in enumerate(tables.categories)}, groups
