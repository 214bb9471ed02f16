"""What a person finds who types `phonecv.`: the verbs of the command line, and types of use."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import phonecv
from phonecv.cli.app import VERBS

#: Verb of the command line -> function, where the name is Python's own or a folder's.
OTHERWISE = {
    "eval": "evaluate",
    "models": "list_models",
    "convert-data": "convert_data",
    "push": "push_to_hub",
}

#: What has no verb: parts that a script puts together.
PARTS = {
    "UserError",
    "__version__",
    "accelerate",
    "create_detector",
    "create_generator",
    "create_model",
    "create_segmenter",
    "create_video_classifier",
    "from_pretrained",
    "list_detectors",
    "list_generators",
    "list_segmenters",
    "load_checkpoint",
    "read_checkpoint",
    "save_checkpoint",
}


#: What a script has no use for.
TYPED = {"completion"}


def test_verbs_are_the_same_in_python_and_on_the_command_line() -> None:
    verbs = set(VERBS) - TYPED
    assert sorted({OTHERWISE.get(verb, verb) for verb in verbs} | PARTS) == sorted(phonecv.__all__)
    for verb in verbs:
        assert callable(getattr(phonecv, OTHERWISE.get(verb, verb)))


@pytest.mark.slow
@pytest.mark.parametrize("checker", ["pyright", pytest.param("mypy", marks=pytest.mark.long)])
def test_type_checkers_know_what_comes(checker: str, tmp_path: Path) -> None:
    """`user_script.py` says what each value is, and what has to be an error: ignoring nothing is one."""
    pytest.importorskip(checker)
    options = {
        "pyright": ["--pythonpath", sys.executable],
        "mypy": ["--warn-unused-ignores", "--cache-dir", str(tmp_path)],
    }
    if checker == "pyright" and subprocess.run([sys.executable, "-m", checker, "--version"]).returncode:
        pytest.skip("pyright itself comes from npm, which cannot be reached")
    script = Path(__file__).with_name("user_script.py")
    command = [sys.executable, "-m", checker, *options[checker], str(script)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
