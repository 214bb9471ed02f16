"""The guides: tables up to date, commands that parse, snippets that run, links that lead somewhere."""

from __future__ import annotations

import importlib.util
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pytest

from phonecv.cli.app import VERBS, app

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = [DOCS.parent / "README.md", *sorted(DOCS.glob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def commands(pages: Sequence[Path] = PAGES) -> list[list[str]]:
    """The words of every `phonecv` command in the shell blocks of the pages, without "phonecv"."""
    found = []
    for page in pages:
        for line in "".join(blocks(page, "sh")).replace("\\\n", "").splitlines():
            words = shlex.split(line, comments=True)
            if "phonecv" in words:
                found.append(words[words.index("phonecv") + 1 :])
    return found


@pytest.fixture(scope="module")
def update() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_update", DOCS / "update.py")
    assert spec is not None and spec.loader is not None  # noqa: PT018
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_tables_are_up_to_date(page: Path, update: ModuleType) -> None:
    text = page.read_text(encoding="utf-8")
    assert update.filled(text) == text, "run: python docs/update.py"


def test_an_old_table_is_noticed(update: ModuleType) -> None:
    old = "before\n<!-- phonecv models emo_1m --markdown -->\nold\n<!-- end -->\nafter\n"
    new = update.filled(old)
    assert "emo_1m" in new
    assert "old" not in new
    assert new.startswith("before\n") and new.endswith("<!-- end -->\nafter\n")  # noqa: PT018
    assert update.filled(new) == new


def test_the_pages_show_commands_of_every_verb_but_three() -> None:
    # The README starts the demo by its set-up script, and two need no example.
    assert {tokens[0] for tokens in commands()} == set(VERBS) - {"doctor", "demo", "completion"}


@pytest.mark.parametrize("tokens", commands(), ids=" ".join)
def test_every_command_parses(tokens: list[str]) -> None:
    app.parse_args(tokens, print_error=False, exit_on_error=False)


def test_the_python_snippets_without_data_run_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    ran = [block for block in blocks(DOCS / "python-api.md", "python") if "photos" not in block]
    for block in ran:
        exec(compile(block, "python-api.md", "exec"), names)
    assert len(ran) == 4
    assert (tmp_path / "model.safetensors").is_file()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target
