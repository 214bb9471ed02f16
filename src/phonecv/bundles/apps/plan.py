"""What an app is made of, and its names, checked."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phonecv.errors import UserError
from phonecv.exporting.fields import FileRecord
from phonecv.text import printable_name

#: Most letters of an app's name; phones show about twelve below its icon.
LONGEST = 50

#: Words that Java or Kotlin keeps for itself: no part of a package may be called so.
_RESERVED = (
    "abstract as assert boolean break byte case catch char class const continue default do double else enum extends"
    " false final finally float for fun goto if implements import in instanceof int interface is long native new null"
    " object package private protected public return short static strictfp super switch synchronized this throw"
    " throws transient true try typealias typeof val var void volatile when while"
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What an app is made of.

    Attributes:
        name: as people read it.
        id: of the package, such as "com.example.photos".
        about: the network in a sentence.
        record: of the file that it runs.
        model: that file, in the bundle.
        picture: to test the app with.
        expected: what the file gives for it, as in expected.json.
        names: of the classes.
        readers: sources that feed and read the file, by name.
        answers: sources that show what was found, by name.
    """

    name: str
    id: str
    about: str
    record: FileRecord
    model: Path
    picture: Path
    expected: Mapping[str, Any]
    names: Sequence[str]
    readers: dict[str, str]
    answers: dict[str, str]


def app_name(given: str | None, stem: str) -> str:
    """An app's name: as given, or that of the model files.

    Raises:
        UserError: it is empty, too long, or holds what no project file can.
    """
    name = " ".join((stem if given is None else given).split())
    if given is None:
        name = name[:LONGEST]
    elif not 1 <= len(name) <= LONGEST:
        raise UserError(f"the app's name {printable_name(given)!r} has to have 1 to {LONGEST} letters")
    if not name.isprintable() or "$(" in name or "${" in name:
        raise UserError(f"the app's name {printable_name(name)!r} holds letters that cannot be shown, or $( or ${{")
    return name


def app_id(given: str | None, stem: str) -> str:
    """The id of an app's package, as given, or below com.example, which stores refuse.

    Raises:
        UserError: Android or iOS would refuse it.
    """
    if given is None:
        plain = unicodedata.normalize("NFKD", stem.casefold()).encode("ascii", "ignore").decode()
        word = re.sub("[^a-z0-9]", "", plain)
        return "com.example." + (word if word[:1].isalpha() and word not in _RESERVED.split() else f"app{word}")
    parts = given.split(".")
    if len(parts) < 2 or not all(re.fullmatch("[A-Za-z][A-Za-z0-9]*", part) for part in parts) or len(given) > 150:
        raise UserError(
            f"the app's id {printable_name(given)!r} is not two or more words of letters and digits with points"
            " between them, such as org.example.photos"
        )
    for part in parts:
        if part in _RESERVED.split():
            raise UserError(f"the app's id {given!r}: {part!r} is a word of Java or Kotlin; choose another")
    return given
