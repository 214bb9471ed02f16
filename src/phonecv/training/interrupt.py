"""Ctrl-C and SIGTERM end a run after the step under way, with everything saved."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any, Self


class Interrupted(Exception):
    """The run was asked to stop, and has saved its state."""


class Interrupts:
    """Within the ``with`` block the first SIGINT or SIGTERM only sets `requested`.

    A second Ctrl-C, a second later or more, raises KeyboardInterrupt at once: the launcher and the terminal may both
    send the first one. Outside the main thread signals cannot be caught and stay as they are.
    """

    def __init__(self) -> None:
        self.requested = ""
        self._since = 0.0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested and number == signal.SIGINT and time.monotonic() - self._since > 1:
            raise KeyboardInterrupt
        if not self.requested:
            self.requested, self._since = signal.Signals(number).name, time.monotonic()
