"""TensorBoard's records of a run, whose failures are never those of the run."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from pathlib import Path

from torch.utils.tensorboard.writer import SummaryWriter

log = logging.getLogger("phonecv")


class Board:
    """Writes scalars until it is closed, or until the disk refuses them, which is told once.

    TensorBoard writes in a thread of its own. An error there reaches the next call here; until then its traceback would
    be printed over the run's own message.
    """

    def __init__(self, folder: Path, purge_step: int) -> None:
        self._folder = folder
        self._hook = threading.excepthook
        threading.excepthook = self._quiet
        self._writer: SummaryWriter | None = SummaryWriter(str(folder), purge_step=purge_step)

    def _quiet(self, arguments: threading.ExceptHookArgs) -> None:
        if (
            not isinstance(arguments.exc_value, OSError)
            or type(arguments.thread).__module__.split(".")[0] != "tensorboard"
        ):
            self._hook(arguments)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add the values of a step."""
        if self._writer is None:
            return
        try:
            for name, value in values.items():
                self._writer.add_scalar(name, value, step)
        except OSError as error:
            self._writer = None
            log.warning("note: no more records for TensorBoard in %s (%s)", self._folder, error.strerror or error)

    def close(self, *, finished: bool) -> None:
        """Finish the records, whether the run has ended or not."""
        del finished
        writer, self._writer = self._writer, None
        try:
            if writer is not None:
                writer.close()
        except OSError as error:
            log.warning(
                "note: the last records for TensorBoard in %s are lost (%s)", self._folder, error.strerror or error
            )
        finally:
            threading.excepthook = self._hook
