"""The application that holds the verbs, and what happens to errors on the way out."""

from __future__ import annotations

import errno
import logging
import os
import re
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from cyclopts import App, Group, Parameter
from cyclopts.exceptions import (
    CycloptsError,
    MissingArgumentError,
    UnknownCommandError,
    UnknownOptionError,
    UnusedCliTokensError,
)

from phonecv._version import __version__
from phonecv.cli.output import printable
from phonecv.cli.stop import Stopped, stoppable
from phonecv.errors import UserError, did_you_mean, nearest
from phonecv.migration import replacement
from phonecv.training.threads import wait_quietly

#: What people do -> the verbs for it, in the order of the help page.
GROUPS = {
    "First steps": ("demo", "models", "info", "doctor"),
    "Data": ("samples", "audit", "convert-data"),
    "Train": ("train", "distill", "compare"),
    "Try and measure": ("eval", "predict", "generate", "bench"),
    "Ship": ("fuse", "quantize", "export", "bundle", "verify", "convert", "push"),
    "Terminal": ("completion",),
}

#: Verb -> its function, imported when it is used.
VERBS = {
    verb: "phonecv.cli.{0}:{0}".format("evaluate" if verb == "eval" else verb.replace("-", "_"))
    for verbs in GROUPS.values()
    for verb in verbs
}

app = App(
    name="phonecv",
    help=(
        "Lightweight vision backbones (EMO, EMOv2, MobileOne) from training to the phone.\n\n"
        "Start with `phonecv demo`, or `phonecv models` to see what there is."
    ),
    help_epilogue=(
        "`phonecv VERB --help` explains a verb with examples. "
        "`--debug` (or PHONECV_DEBUG=1) shows the traceback of an error."
    ),
    version=f"phonecv {__version__}",
    group_commands=Group("Options", sort_key=len(GROUPS)),
    help_format="markdown",
    # A switch is off unless given: its default says nothing.
    default_parameter=Parameter(negative=(), show_default=lambda value: None if value is False else value),
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)
for _place, (_title, _verbs) in enumerate(GROUPS.items()):
    _group = Group(_title, sort_key=_place)
    for _order, _name in enumerate(_verbs):
        app.command(VERBS[_name], name=_name, sort_key=_order, group=_group)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line.

    Args:
        argv: the arguments after the program's name; None takes them from the process.

    Returns:
        The exit status: 0 fine, 1 the verb's own "no" (such as audit findings), 2 a mistake to mend, 130 stopped
        by Ctrl-C, 143 by SIGTERM, 141 when the reader of a pipe went away.
    """
    _before_torch()
    tokens, debug = _take_debug(list(sys.argv[1:] if argv is None else argv))
    handler = _log_to_stderr()
    try:
        for verb in VERBS if not tokens or tokens[0] in ("--help", "-h") else ():
            app[verb]  # imports it: the page of all verbs says what each does
        if (recipe := _recipe_to_explain(tokens)) is not None:
            from phonecv.cli.recipe_help import explain_recipe

            explain_recipe(tokens[0], recipe)
            return 0
        with stoppable():
            status = app(tokens, print_error=False, exit_on_error=False, verbose=False)
        sys.stdout.flush()
    except KeyboardInterrupt as stop:
        if debug:
            raise
        if _first_of_machine():
            _complain(f"stopped by {stop}" if isinstance(stop, Stopped) else "stopped", kind="")
        return 128 + (stop.number if isinstance(stop, Stopped) else signal.SIGINT)
    except BrokenPipeError:
        # The interpreter flushes stdout once more when it ends; that must not fail a second time.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        message = explain(error, tokens)
        if debug or message is None:
            raise
        if not _first_of_machine():
            # The first has the same to say, and torchrun then ends the others; what only this one met comes late.
            time.sleep(PATIENCE)
        _complain(message)
        return 2
    finally:
        logging.getLogger("phonecv").removeHandler(handler)
    return status if isinstance(status, int) else 0


def explain(error: Exception, tokens: Sequence[str] = ()) -> str | None:
    """The message for an error that a person can mend; None for one that is ours, which deserves its traceback."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, CycloptsError):
        verb = tokens[0] if tokens and tokens[0] in VERBS else None
        if isinstance(error, UnknownCommandError) and verb is None and tokens:
            what = "option" if tokens[0].startswith("-") else "verb"
            if (instead := replacement(tokens[0], verb=True)) is not None:
                return f"there is no {what} {tokens[0]!r}; {instead}"
            return f"unknown {what} {tokens[0]!r}{did_you_mean(tokens[0], VERBS)} (verbs: {', '.join(VERBS)})"
        if isinstance(error, UnknownOptionError) and verb:
            return _unknown_option(verb, error.token.keyword or error.token.value, tokens)
        if isinstance(error, UnusedCliTokensError) and error.unused_tokens:
            return f"unexpected argument {error.unused_tokens[0]!r}; see `phonecv {verb} --help`"
        if isinstance(error, MissingArgumentError) and error.argument is not None and verb:
            return f"{error.argument.name} needs a value; see `phonecv {verb} --help`"
        text = re.sub(r"\s+", " ", str(error)).strip().rstrip(".")
        return f"{text[:1].lower()}{text[1:]}; see `phonecv {f'{verb} ' if verb else ''}--help`"
    if isinstance(error, OSError) and error.errno in _MENDABLE:
        where = f": {os.fsdecode(error.filename)!r}" if isinstance(error.filename, str | bytes | os.PathLike) else ""
        if where and error.errno == errno.EEXIST and Path(os.fsdecode(error.filename)).is_file():
            return f"{error.filename!r} is a file, and a folder is to be made there; give another name"
        return f"{(error.strerror or str(error)).lower()}{where}"
    if type(error).__name__ == "OutOfMemoryError":
        return f"the device is out of memory; try a smaller batch size ({str(error).splitlines()[0]})"
    return None


def _unknown_option(verb: str, option: str, tokens: Sequence[str]) -> str:
    """The message for an option that a verb does not have: what replaces it, or the nearest."""
    name = option.partition("=")[0]
    if (instead := replacement(name)) is not None:
        return f"there is no option {name!r}; {instead}"
    known = [each for argument in app[verb].assemble_argument_collection() for each in argument.names]
    near = nearest(name.lstrip("-"), [each[2:] for each in known if each.startswith("--")])
    if verb in ("train", "distill"):
        from phonecv.cli.train import setting_for

        after = tokens[tokens.index(option) + 1 :] if option in tokens else []
        value = after[0] if after and not after[0].startswith("-") else "VALUE"
        setting = setting_for(option, value, exact=bool(near))
        if setting is not None:
            return f"unknown option {name!r}; settings are written without dashes: {setting}"
    hint = f"; did you mean '--{near}'?" if near else ""
    return f"unknown option {name!r}{hint}; see `phonecv {verb} --help`"


#: What the file system can refuse through no fault of ours.
_MENDABLE = frozenset(
    {
        errno.EACCES,
        errno.EDQUOT,
        errno.EEXIST,
        errno.EFBIG,
        errno.EIO,
        errno.EISDIR,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.ENOENT,
        errno.ENOSPC,
        errno.ENOTDIR,
        errno.ENOTEMPTY,
        errno.EPERM,
        errno.EROFS,
    }
)


def _recipe_to_explain(tokens: Sequence[str]) -> str | None:
    """The recipe of `phonecv train RECIPE --help`."""
    asked = tokens[:1] in (["train"], ["distill"]) and {"--help", "-h"} & set(tokens[2:])
    return tokens[1] if asked and not tokens[1].startswith("-") else None


#: Seconds that the other processes of torchrun leave to the first to tell what all of them have met.
PATIENCE = 15.0


def _first_of_machine() -> bool:
    """Whether this process is alone, or the first of those that torchrun has started on this machine."""
    return "WORLD_SIZE" not in os.environ or os.environ.get("LOCAL_RANK", "0") == "0"


def _before_torch() -> None:
    """Set what must stand before torch is loaded, and make any file name printable."""
    # torch's CPU build uses GNU OpenMP, whose waiting threads spin by default. Three processes of two threads that
    # trained a small network on two cores made 7.8 steps/s each spinning and 24.6 sleeping; a process that had the
    # machine to itself lost nothing.
    wait_quietly()
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _log_to_stderr() -> logging.Handler:
    """Show what the library logs (downloads, classifiers left fresh) beside the results on stdout."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("phonecv: %(message)s"))
    log = logging.getLogger("phonecv")
    log.addHandler(handler)
    if log.level == logging.NOTSET:
        log.setLevel(logging.INFO)
    return handler


def _take_debug(tokens: list[str]) -> tuple[list[str], bool]:
    """The tokens without `--debug`, which every verb knows, and whether tracebacks are wanted."""
    end = tokens.index("--") if "--" in tokens else len(tokens)
    options = [token for token in tokens[:end] if token != "--debug"]
    wanted = len(options) < end or os.environ.get("PHONECV_DEBUG", "0") not in ("", "0")
    return options + tokens[end:], wanted


def _complain(message: str, kind: str = "error: ") -> None:
    print(f"phonecv: {kind}{printable(message)}", file=sys.stderr)
