"""The Tab key: bash is asked, as it asks the program."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import mostly_long
from phonecv.cli.app import VERBS, main
from phonecv.cli.completing import recipes_like
from phonecv.models.catalog import MODELS

#: Of processor time, for what the program is asked.
SECONDS = 0.6

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not there")


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `phonecv completion bash` prints."""
    path = tmp_path_factory.mktemp("completion") / "phonecv.bash"
    done = subprocess.run([sys.executable, "-m", "phonecv", "completion", "bash"], capture_output=True, check=True)
    path.write_bytes(done.stdout)
    program = path.with_name("phonecv")  # whatever is installed, this one is asked
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m phonecv "$@"\n')
    program.chmod(0o755)
    return path


def offered(script: Path, *words: str) -> list[str]:
    """What bash offers for the last of these words, split as bash splits them."""
    quoted = " ".join(f"'{word}'" for word in ("phonecv", *words))
    words_of = f"COMP_WORDS=({quoted}); COMP_CWORD={len(words)}"
    asked = f"source {script}; {words_of}; _phonecv_words; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    environment = os.environ | {"PATH": f"{script.parent}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=True, env=environment)
    return done.stdout.split()


def asked(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    """What the program answers, to whom bash passes such words as they are; of it what starts like the last."""
    assert main(["__complete", *words]) == 0
    told = [line.partition("\t")[0] for line in capsys.readouterr().out.splitlines()]
    return [value for value in told if value.startswith(words[-1])]


def test_verbs_and_options_are_offered(script: Path) -> None:
    assert sorted(offered(script, "")) == sorted(VERBS)
    assert offered(script, "tr") == ["train"]
    assert offered(script, "train", "finetune", "--ep") == ["--epochs"]


def test_names_are_offered(script: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert asked(capsys, "train", "detect_") == ["detect_scratch", "detect_small"]
    assert set(asked(capsys, "train", "finetune", "--model", "emo_")) == {n for n in MODELS if n.startswith("emo_")}
    assert "schedule.epochs=" in asked(capsys, "train", "finetune", "schedule.ep")
    assert offered(script, "train", "finetune", "optimizer.name", "=", "ad") == ["adamw"]
    assert offered(script, "export", "a.safetensors", "out", "--to", "onnx,lit") == [
        "onnx\\,litert"
    ]  # as readline wants it


def test_the_program_answers_quickly_and_without_torch() -> None:
    code = (
        "import sys; from phonecv.cli import main\n"
        "main(['__complete', 'train', 'finetune', 'schedule.ep'])\n"
        "print('#', *sorted({'torch', 'timm', 'numpy'} & set(sys.modules)))\n"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.stdout.splitlines()[-1] == "#"
    assert "schedule.epochs=\t" in done.stdout
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < SECONDS


@pytest.mark.parametrize("shell", mostly_long(["bash", "zsh", "fish"], "bash"))
def test_it_is_written_where_the_shell_looks(
    shell: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("ZSH_CUSTOM", raising=False)
    monkeypatch.delenv("ZSH", raising=False)
    assert main(["completion", shell, "--install"]) == 0
    (path,) = [path for path in tmp_path.rglob("*phonecv*") if path.is_file()]
    assert str(path) in capsys.readouterr().out
    assert "quantize" in path.read_text(encoding="utf-8")


def test_tables_are_asked() -> None:
    assert dict(recipes_like(None))["finetune"].startswith("Any network")  # type: ignore[arg-type]
