"""Short sources that prepare pictures for a model in an app and read its outputs, made from the record of its file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence, Set
from importlib.resources import files
from pathlib import Path
from typing import Any

from phonecv._version import __version__
from phonecv.bundles.contents import Readers
from phonecv.bundles.languages import LANGUAGES, Language, comment
from phonecv.bundles.room import bundling_of
from phonecv.bundles.templating import filled
from phonecv.exporting.fields import FileRecord
from phonecv.files import write_text


def write_readers(records: Sequence[FileRecord], folder: Path) -> tuple[list[Readers], dict[str, str]]:
    """One set of sources for all files that are fed and read alike, in `readers` or in folders there.

    Returns:
        The sets, and for the files (records with "file") that none serves the reason.
    """
    unread = {record["file"]: why for record in records if (why := bundling_of(record).why_no_readers(record))}
    groups: dict[tuple[tuple[str, str], ...], list[FileRecord]] = {}
    for record in records:
        if record["file"] not in unread:
            sources = bundling_of(record).reader_files(record, "")
            groups.setdefault(tuple(sources.items()), []).append(record)
    made = []
    for served in groups.values():
        names = tuple(record["file"] for record in served)
        place = "readers" if len(groups) == 1 else f"readers/{names[0]}"
        for file, source in bundling_of(served[0]).reader_files(served[0], ", ".join(names)).items():
            write_text(folder / place / file, source)
        made.append(Readers(place, names))
    return made, unread


def filled_readers(
    package: str, name: str, values: Mapping[str, Any], conditions: Set[str] = frozenset()
) -> dict[str, str]:
    """File name -> source text, in every language.

    Templates are in the task's folder `package`; `name` is of the file or files, for the comments. Values are texts
    as they are, tuples as lists of 32-bit numbers, functions of the `Language` for what they return, all else as in
    JSON; for conditions see `phonecv.bundles.templating`.
    """
    values = {**values, "NAME": comment(name), "VERSION": __version__}
    return {
        language.file: filled(
            files(package) / "reader_templates" / language.file,
            {key: _in(language, value) for key, value in values.items()},
            conditions,
        )
        for language in LANGUAGES.values()
    }


def app_sources(package: str, conditions: Set[str] = frozenset()) -> dict[str, str]:
    """The sources of apps in the folder `app_templates` of a task's package, see `phonecv.bundles.room`."""
    return {
        template.name: filled(template, {}, conditions)
        for template in (files(package) / "app_templates").iterdir()
        if template.is_file()
    }


def _in(language: Language, value: Any) -> str:
    if callable(value):
        return value(language)
    if isinstance(value, tuple):
        return language.numbers(value)
    return value if isinstance(value, str) else json.dumps(value)
