"""Which way imports run, and that only a task's own folder names it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

import phonecv
from phonecv.task import TASKS

SOURCE = Path(phonecv.__path__[0])


@cache
def imports() -> grimp.ImportGraph:
    """Every import of the package, late ones and those for types included."""
    return grimp.build_graph("phonecv", exclude_type_checking_imports=False)


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = imports()
    try:
        TopologicalSorter(
            {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
        ).prepare()
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


def test_no_import_is_hidden_in_a_text() -> None:
    """Paths in tables are for rows that others add; a module that is named on the spot is imported as such."""
    hidden = re.compile(r"""(?:import_module|resolve_name|__import__)\(\s*f?["']phonecv""")
    found = [str(path.relative_to(SOURCE)) for path in SOURCE.rglob("*.py") if hidden.search(path.read_text())]
    assert not found
    assert hidden.search('import_module("phonecv.models.kernels.trials")')


def words_of(text: str) -> list[str]:
    """Its words in lower case, also those of names_like_this and NamesLikeThis."""
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", text)]


def texts_in(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and text of all names and strings of a module, those of imports included; documentation is left out."""
    documentation = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant):
            if isinstance(node.value, str) and id(node) not in documentation:
                yield node.lineno, node.value
            continue
        for field in ("id", "attr", "arg", "name", "module", "asname"):
            value = getattr(node, field, None)
            if isinstance(value, str):
                yield node.lineno if hasattr(node, "lineno") else 0, value


#: A network's last layer, a file, what draws random numbers and a verb are called so as well: these words name a task
#: only with its article.
OTHERWISE = {"classifier", "classifiers", "generate", "generator", "generators", "video"}


def lines_naming_a_task(path: Path) -> dict[int, str]:
    """The lines of a module that name a task, by its name or by what a model of it is called, with the text."""
    names = {word for task in TASKS.values() for word in (task.name, task.title, f"{task.title}s")} - OTHERWISE
    nouns = {task.noun for task in TASKS.values()}
    return {
        line: text
        for line, text in texts_in(ast.parse(path.read_text()))
        if names & set(words_of(text)) or any(noun in text for noun in nouns)
    }


#: Modules outside the tasks' folders that name one, and why.
REASONS = {
    "exporting/coreml/preview.py": "a kind of preview in Xcode",
    "exporting/coreml/program.py": "an operator of Core ML",
    "exporting/litert/graph.py": "SEGMENT_SUM is an operator of LiteRT",
    "exporting/litert/metadata.py": "a name in MediaPipe's metadata",
    "__init__.py": "the public face has the tasks' own functions, too",
    "api.py": "type checkers learn what each kind of model gives",
    "cli/completion.py": "`cyclopts.completion.detect`",
    "data/coco/conventions.py": "a setting's name, in a message",
    "data/coco/audit.py": "what findings in boxes mean to who learns from them",
    "data/coco/paths.py": "`json.detect_encoding`",
    "data/json_file.py": "`json.detect_encoding`",
    "data/labelmaps/audit.py": "a setting's name, in a message",
    "data/labelmaps/reading.py": "a setting's name, in a message",
    "data/pictures/opening.py": "who reads the videos that are no pictures",
    "demonstration.py": "it goes the way of a classifier",
    "migration.py": "what functions are called elsewhere",
    "task.py": "the table",
}


def outside() -> Iterator[tuple[str, Path]]:
    """Every module of the package that is in no task's folder and in none that two of them share."""
    rooms = {task.package.rpartition(".")[2] for task in TASKS.values()} | {"dense", "whole"}
    for path in sorted(SOURCE.rglob("*.py")):
        name = path.relative_to(SOURCE)
        if name.parts[0] not in rooms:
            yield name.as_posix(), path


def test_only_a_tasks_own_folder_names_it() -> None:
    found = {name: lines for name, path in outside() if (lines := lines_naming_a_task(path))}
    naming = {name: lines for name, lines in found.items() if name not in REASONS}
    assert not naming, "\n".join(
        f"{name}:{line}: {text}" for name, lines in naming.items() for line, text in lines.items()
    )
    assert set(REASONS) <= set(found), "no reason is needed any more"
