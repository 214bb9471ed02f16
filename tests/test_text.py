"""Names of other people on our lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from phonecv.cli.output import markdown_table
from phonecv.settings import written
from phonecv.tables import fields, text_table
from phonecv.text import LONGEST_NAME, printable, printable_name, quoted, shortened_path, some_names
from phonecv.whole.predict import PictureClasses

ODD = {
    "half a pair \ud800": "half a pair \\ud800",
    "raw byte \udcff": "raw byte \\xff",
    "two\nlines\r": "two\\x0alines\\x0d",
    "\x1b[31mred": "\\x1b[31mred",
    "evil\u202egnp.exe": "evil\\xe2\\x80\\xaegnp.exe",
    "a\u2028b": "a\\xe2\\x80\\xa8b",
    "café 日本": "café 日本",
}


@pytest.mark.parametrize("name", ODD)
def test_odd_names_stay_on_their_line(name: str) -> None:
    assert printable(name) == printable_name(name) == ODD[name]
    assert quoted(f" {name}") == f"' {ODD[name]}'"
    line = str(PictureClasses(Path("a.jpg"), (name,), (0.5,), (0,)))
    assert line == f"a.jpg: {ODD[name]} 50.0%"
    for text in (text_table(("name",), [(name,)]), markdown_table(("name",), [(name,)]), fields([("name", name)])):
        text.encode()
        assert len(text.splitlines()) <= 3
        assert all(line.isprintable() for line in text.split("\n"))


def test_long_names_are_cut() -> None:
    name = "a" * 5000 + "z"
    shown = printable_name(name)
    assert len(shown) < LONGEST_NAME + 30
    assert shown.startswith("aaa")
    assert shown.endswith("aaz (5001 characters)")
    assert max(map(len, text_table(("name",), [(name,)]).split("\n"))) < 300
    assert len(str(PictureClasses(Path("a.jpg"), (name,) * 5, (0.2,) * 5, tuple(range(5))))) < 700


def test_paths_are_cut_at_the_left() -> None:
    assert shortened_path("weights/mobileone_s0.pth", 40) == "weights/mobileone_s0.pth"
    assert shortened_path("/data/far/away/weights/mobileone_s0.pth", 30) == ".../weights/mobileone_s0.pth"
    assert shortened_path(f"far/{'x' * 50}.pth", 30) == f".../{'x' * 50}.pth"
    assert written(f"{'folder/' * 10}a_long_name_that_is_whole.pth").endswith("/a_long_name_that_is_whole.pth")


def test_some_names() -> None:
    assert some_names(["a", "b"]) == "a, b"
    assert some_names([str(i) for i in range(9)], 2) == "0, 1, ... (9 in all)"
