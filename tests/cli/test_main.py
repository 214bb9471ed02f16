"""What the program does around its verbs: errors, interrupts, pipes, odd names, the environment."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cli.conftest import Run
from phonecv.cli import app as program
from phonecv.cli import main
from phonecv.cli.output import markdown_table, printable, text_table
from phonecv.errors import UserError


def raising(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Make every verb raise `error`."""

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(program, "app", fail)


def test_user_errors_are_one_line_and_status_2(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    raising(monkeypatch, UserError("no such thing"))
    done = run("models")
    assert (done.status, done.out, done.err) == (2, "", "phonecv: error: no such thing\n")


@pytest.mark.parametrize("how", ["option", "variable"])
def test_debug_shows_the_traceback(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    raising(monkeypatch, UserError("no such thing"))
    if how == "variable":
        monkeypatch.setenv("PHONECV_DEBUG", "1")
    with pytest.raises(UserError, match="no such thing"):
        main(["models", "--debug"] if how == "option" else ["models"])


def test_debug_after_two_dashes_is_an_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(program, "app", lambda tokens, **_: seen.append(tokens))
    main(["predict", "--debug", "x", "--", "--debug"])
    assert seen == [["predict", "x", "--", "--debug"]]


def test_our_own_bugs_keep_their_traceback(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    raising(monkeypatch, ValueError("a bug"))
    with pytest.raises(ValueError, match="a bug"):
        run("models")


def test_ctrl_c_is_status_130(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    raising(monkeypatch, KeyboardInterrupt())
    done = run("models")
    assert (done.status, done.err) == (130, "phonecv: stopped\n")


@pytest.mark.parametrize(("rank", "waits"), [("0", []), ("1", [program.PATIENCE])])
def test_under_torchrun_the_first_process_speaks_at_once(
    rank: str, waits: list[float], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(program.time, "sleep", slept.append)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", rank)
    raising(monkeypatch, UserError("no such thing"))
    done = run("models")
    assert (done.status, done.err) == (2, "phonecv: error: no such thing\n")
    assert slept == waits
    raising(monkeypatch, KeyboardInterrupt())
    assert bool(run("models").err) == (rank == "0")


@pytest.mark.slow
def test_torchrun_without_its_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)  # without it, torchrun has a word of its own to say
    words = ["-m", "phonecv.torchrun", "--nproc-per-node=2", "-m", "phonecv", "train", "finetune"]
    done = subprocess.run(
        [sys.executable, *words, "--data", str(tmp_path / "none"), "--out", str(tmp_path / "run")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"phonecv: error: data.path='{tmp_path / 'none'}': no such folder; ")


#: Writes half a file, gets a signal, and says whether the next one would end it at once again.
SIGNALLED = """
import os, signal, sys
from pathlib import Path
from phonecv.cli import app, main
from phonecv.files import scratch_folder

def work(tokens, **_):
    with scratch_folder(Path(sys.argv[2])) as folder:
        (folder / "half").write_text("x")
        os.kill(os.getpid(), int(sys.argv[1]))
        raise AssertionError("not reached")

app.app = work
status = main(["export"])
print(signal.getsignal(int(sys.argv[1])) is signal.SIG_DFL)
sys.exit(status)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_takes_away_what_was_being_written(number: int, tmp_path: Path) -> None:
    # In a process of its own: tests that ran here before may have left handlers of the toolkits' libraries.
    words = [sys.executable, "-c", SIGNALLED, str(int(number)), str(tmp_path / "net.onnx")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (128 + number, "True\n")
    assert done.stderr == f"phonecv: stopped by {signal.Signals(number).name}\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied", "/root/x"), OSError(28, "No space left")])
def test_the_file_systems_refusals_are_one_line(error: OSError, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    raising(monkeypatch, error)
    done = run("models")
    assert done.status == 2
    assert done.err.count("\n") == 1
    assert done.err.startswith("phonecv: error: ")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["trian"], ["unknown verb 'trian'", "did you mean 'train'", "models"]),
        (["xyzzy"], ["unknown verb 'xyzzy'", "eval"]),
        (["--verbos"], ["unknown option '--verbos'"]),
        (["models", "--jsn"], ["--jsn", "--json", "phonecv models --help"]),
    ],
)
def test_unknown_words_name_the_nearest(argv: list[str], words: list[str], run: Run) -> None:
    done = run(*argv)
    assert done.status == 2
    assert done.err.startswith("phonecv: error: ")
    assert done.err.count("\n") == 1
    for word in words:
        assert word in done.err


def test_a_closed_pipe_is_quiet() -> None:
    command = f"{sys.executable} -m phonecv models --json | head -c 10"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True)
    assert done.stderr == ""
    assert len(done.stdout) == 10


def test_names_that_are_not_text_print_safely(tmp_path: Path) -> None:
    """Bytes that are no UTF-8, an escape sequence and a line break, in a locale that knows only ASCII."""
    name = os.fsencode(tmp_path) + b"/odd\xff\x1b[31m\nname.pth"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable.encode(), b"-m", b"phonecv", b"info", name], capture_output=True, env=environment
    )
    assert done.returncode == 2
    assert done.stderr.startswith(b"phonecv: error: there is no file")
    assert done.stderr.count(b"\n") == 1
    assert b"\x1b" not in done.stderr
    assert b"Traceback" not in done.stderr


def test_printable_and_tables() -> None:
    assert printable("plain") == "plain"
    assert printable("two\nlines") == "two\nlines"
    assert "\x1b" not in printable("a\x1b[0m")
    printable(os.fsdecode(b"\xff")).encode("utf-8")
    table = text_table(("name", "n"), [("a\nb", 1), ("c", 22)], right=(1,))
    assert table.split("\n") == ["name   n", "----  --", "a b    1", "c     22"]
    assert markdown_table(("x",), [("a|b",), (None,)]).split("\n") == ["| x |", "| --- |", "| a\\|b |", "|  |"]


def test_threads_wait_quietly_before_torch_is_loaded() -> None:
    code = "import os, sys; from phonecv.cli import main; main(['models', 'emo_1m']);"
    code += "assert 'torch' not in sys.modules; print(os.environ.get('GOMP_SPINCOUNT'), file=sys.stderr)"
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "GOMP_"))}
    # What the person has set stays, also the policy that would go against it.
    for chosen, expected in (({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "None")):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=environment | chosen, check=True
        )
        assert done.stderr.strip() == expected


def test_the_log_goes_to_stderr_and_the_handler_away(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    log = logging.getLogger("phonecv")
    before = list(log.handlers)
    monkeypatch.setattr(program, "app", lambda tokens, **_: log.info("downloading"))
    done = run("models")
    assert (done.out, done.err) == ("", "phonecv: downloading\n")
    assert log.handlers == before
