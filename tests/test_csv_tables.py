"""CSV: names from anywhere are no formulas in a spreadsheet, and come back as they were."""

from __future__ import annotations

from pathlib import Path

import pytest

from phonecv.errors import UserError
from phonecv.tables import csv_text, inert, original, read_csv, write_csv


@pytest.mark.parametrize(
    "name",
    [
        "=cmd|' /C calc'!A0", "+1", "-1+cmd", "@SUM(A1)", "=1+1", " =1", "'=1", "''=1", "-", "--", "＝1", "＠SUM", "+a",
        '=HYPERLINK("http://x","y")', "-2+3", "=", "@",
    ],
)  # fmt: skip
def test_formulas_become_texts_and_come_back(name: str, tmp_path: Path) -> None:
    assert inert(name) == "'" + name
    write_csv(tmp_path / "a.csv", ("name", "count"), [(name, 3)])
    assert read_csv(tmp_path / "a.csv") == [["name", "count"], [name, "3"]]


@pytest.mark.parametrize("name", ["cat", "'s-Gravenhage", "a=b", "-0.53", "-1", "1e-05", "-1.5e-07", "", "日本", "'"])
def test_other_texts_and_numbers_stay(name: str) -> None:
    assert inert(name) == original(name) == name


def test_tabs_and_line_breaks_are_shown() -> None:
    assert csv_text(("name",), [["\t=1"], ["\r=1"], ["a\nb"], ["\u202ex"], [Path("=x.png")], [-1.5]]) == (
        "name\n\\x09=1\n\\x0d=1\na\\x0ab\n\\xe2\\x80\\xaex\n'=x.png\n-1.5\n"
    )


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b'a,"' + b"x" * 200_000])
def test_what_is_no_table_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.csv is no table"):
        read_csv(tmp_path / "a.csv")
