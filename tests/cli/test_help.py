"""Help is there at once, for every verb, with an example that really parses."""

from __future__ import annotations

import json
import os
import re
import resource
import shlex
import subprocess
import sys
from pkgutil import resolve_name

import pytest

from cli.conftest import Run
from phonecv.cli.app import VERBS, app

HELP_SECONDS = 1.0


def examples(text: str) -> list[list[str]]:
    """The arguments of every ``phonecv ...`` in backticks."""
    return [shlex.split(found)[1:] for found in re.findall(r"^\s*- `(phonecv [^`]+)`", text, re.MULTILINE)]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself_with_an_example(verb: str, run: Run) -> None:
    shown = run(verb, "--help")
    assert shown.status == 0
    assert shown.err == ""
    assert "For example" in shown.out
    assert f"phonecv {verb}" in shown.out
    found = examples(resolve_name(VERBS[verb]).__doc__ or "")
    assert found, "no example in the docstring"
    for tokens in found:
        assert tokens[0] == verb
        app.parse_args(tokens, print_error=False, exit_on_error=False)


@pytest.mark.parametrize("verb", VERBS)
def test_the_markup_eats_nothing(verb: str, run: Run) -> None:
    """Outside of backticks <class> would be a tag of HTML, and vanish."""
    shown = "".join(re.sub("[│╭╮╰╯─]", " ", run(verb, "--help").out).split())
    for placeholder in re.findall(r"[\w/]*<[^<>\n]+>[\w/<>.]*", resolve_name(VERBS[verb]).__doc__ or ""):
        assert placeholder in shown


def test_the_help_of_audit_names_the_places_of_pictures(run: Run) -> None:
    assert "train/<class>/<picture>" in "".join(re.sub("[│ ]", "", run("audit", "--help").out).split())


def test_the_first_page_names_every_verb(run: Run) -> None:
    shown = run("--help")
    assert shown.status == 0
    assert all(re.search(rf"\b{verb}\b", shown.out) for verb in VERBS)
    assert run().out == shown.out


def test_version(run: Run) -> None:
    from phonecv import __version__

    assert run("--version").out.strip() == f"phonecv {__version__}"


def test_help_loads_nothing_heavy() -> None:
    """One fresh interpreter prints every help page; torch and the like must not come in."""
    program = """
import json, sys
from phonecv.cli import main
from phonecv.cli.app import VERBS
for verb in ["", *VERBS]:
    assert main([*verb.split(), "--help"]) == 0
main(["models"])
heavy = ["torch", "torchvision", "timm", "numpy", "PIL", "matplotlib", "onnx", "yaml"]
print(json.dumps([name for name in heavy if name in sys.modules]), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert json.loads(done.stderr) == []


@pytest.mark.parametrize("argv", [["--help"], ["train", "--help"]])
def test_help_takes_less_than_a_second(argv: list[str]) -> None:
    """Counted as processor time, so that a busy machine does not fail it."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "phonecv", *argv], capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < HELP_SECONDS


def test_the_installed_program_is_the_module(tmp_path: object) -> None:
    program = os.path.join(os.path.dirname(sys.executable), "phonecv")  # noqa: PTH118, PTH120
    if not os.path.exists(program):  # noqa: PTH110
        pytest.skip("the package is not installed with its program")
    one = subprocess.run([program, "--help"], capture_output=True, text=True, check=True)
    other = subprocess.run([sys.executable, "-m", "phonecv", "--help"], capture_output=True, text=True, check=True)
    assert one.stdout == other.stdout
