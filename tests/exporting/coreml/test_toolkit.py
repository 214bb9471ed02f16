"""coremltools is imported without the packages that it would try, and these can be imported afterwards."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from phonecv.exporting.coreml.toolkit import UNUSED, toolkit

#: Tries the same way.
STAND_IN = """
found = []
for name in {names}:
    try:
        __import__(name)
        found.append(name)
    except ImportError:
        pass
"""


def test_the_import_finds_none_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["xgboost", "tensorflow", "decimal"]
    assert names[0] in UNUSED
    assert names[1] in UNUSED
    for name in names[:2]:
        (tmp_path / f"{name}.py").write_text("")
    (tmp_path / "coremltools.py").write_text(STAND_IN.format(names=names))
    monkeypatch.syspath_prepend(tmp_path)
    for name in (*names[:2], "coremltools"):
        monkeypatch.setitem(sys.modules, name, sys)  # undone at the end, whatever comes in between
        monkeypatch.delitem(sys.modules, name)
    assert toolkit().found == ["decimal"]
    assert toolkit() is sys.modules["coremltools"]
    assert not set(names[:2]) & set(sys.modules)
    import xgboost  # type: ignore[import-not-found]

    assert xgboost.__file__ == str(tmp_path / "xgboost.py")
