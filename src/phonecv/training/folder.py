"""The run folder: one training at a time, of one configuration, and what a killed one left there."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from phonecv.data.splitting.lists import FOLDER as LISTS
from phonecv.errors import UserError
from phonecv.files import left_behind, locked
from phonecv.training.config import LATER, TrainConfig
from phonecv.training.recipe import CONFIG, load_config

if TYPE_CHECKING:
    from phonecv.training.world import World

LOCK = ".lock"
#: Of the files that a training writes there.
STEMS = (
    "state",
    "last",
    "last_ema",
    "best",
    "epoch-*",
    "config",
    "metrics",
    "steps",
    "summary",
    "curves",
    "report",
    "bad_images",
)


@contextmanager
def claimed(folder: Path, config: TrainConfig, world: World) -> Iterator[None]:
    """Keep other runs out of the folder; a run that leaves nothing there leaves no folder.

    What a killed run left half written is removed.
    """
    lock = None
    try:
        if world.first:
            with usable(folder):
                folder.mkdir(parents=True, exist_ok=True)
                lock = _lock(folder)
            same_run(config, folder)
            if not (folder / CONFIG).is_file():  # of a run that came no further
                shutil.rmtree(folder / LISTS, ignore_errors=True)
            for path in left_behind(folder, STEMS):
                path.unlink(missing_ok=True)
        world.barrier()
        yield
    finally:
        if lock is not None:
            lock.close()
            if folder.is_dir() and {entry.name for entry in folder.iterdir()} <= {LOCK, LISTS}:
                shutil.rmtree(folder)


@contextmanager
def usable(folder: Path) -> Iterator[None]:
    """Tell about an error of the file system within as one of the run folder."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"nothing can be written to the run folder {folder} ({(error.strerror or str(error)).lower()});"
            " choose another --out (run.out)"
        ) from error


def check_still_there(folder: Path) -> None:
    """Stop a training whose folder somebody has removed, before it makes a new one with half of the files."""
    if not (folder / CONFIG).is_file():
        raise UserError(
            f"{folder / CONFIG} is gone: the run folder was removed or emptied during the training, and what it held"
            " is lost; the same command starts again from the beginning"
        )


def _lock(folder: Path) -> IO[str]:
    lock = (folder / LOCK).open("w")
    # Loader processes of a run that was killed a moment ago notice it within five seconds, or somewhat later.
    for _ in range(120):
        if locked(lock):
            return lock
        time.sleep(0.1)
    lock.close()
    raise UserError(f"another process is training in {folder}; wait for it, or choose another run.out")


def same_run(config: TrainConfig, folder: Path) -> None:
    """Check that a run in the folder, if there is one, is that of `config`, or one that may go on so."""
    path = folder / CONFIG
    if not path.is_file():
        return
    try:
        before = load_config(path)
    except UserError as error:
        raise UserError(
            f"{path} is there, but is no configuration of this version ({error}); choose another --out (run.out), or"
            " move that file away to go on with the same settings"
        ) from error
    names = [name for name in config.differences(before) if name not in LATER]
    if names:
        mine, theirs = config.flat(), before.flat()
        shown = "\n  ".join(f"{name}: {theirs[name]!r} there, {mine[name]!r} now" for name in names)
        raise UserError(
            f"{path.parent} holds a run with another configuration:\n  {shown}\n"
            "choose another --out (run.out), or give the same settings to go on with that run"
            f" (a run may go on with other {', '.join(sorted(LATER))})"
        )
