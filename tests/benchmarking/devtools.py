"""Headless Chromium, driven through the pipe that its DevTools protocol offers: no driver, no port, no library."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

#: Chromium reads commands on descriptor 3 and answers on 4; a child of ours can only be given them under other numbers.
_START = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 20) for end in sys.argv[1:3]]
for end, wanted in zip(ends, (3, 4)):
    os.dup2(end, wanted)
    os.close(end)
os.execvp(sys.argv[3], sys.argv[3:])
"""


def find_browser() -> str | None:
    """Chromium or Chrome, if there is one."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next((found for found in map(shutil.which, names) if found), None)


class Browser:
    """A browser with one page of a phone's size; answers wait at most `patience` seconds."""

    def __init__(self, *options: str, patience: float = 120, width: int = 390, height: int = 844) -> None:
        program = find_browser()
        assert program is not None
        self.patience = patience
        self.console: list[str] = []
        self._profile = tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True)
        reads, self._commands = os.pipe()
        self._answers, writes = os.pipe()
        command = [
            sys.executable, "-c", _START, str(reads), str(writes), program, "--headless=new", "--no-sandbox",
            "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars",
            "--remote-debugging-pipe", f"--user-data-dir={self._profile.name}", *options, "about:blank",
        ]  # fmt: skip
        self._process = subprocess.Popen(
            command, pass_fds=(reads, writes), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(reads)
        os.close(writes)
        self._buffer, self._number = b"", 0
        target = next(item for item in self.send("Target.getTargets")["targetInfos"] if item["type"] == "page")
        attached = self.send("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session: str | None = attached["sessionId"]
        for domain in ("Page", "Runtime", "DOM", "Log"):
            self.send(f"{domain}.enable")
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=2, mobile=True
        )  # fmt: skip

    _session: str | None = None

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command and its answer."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        watch = threading.Timer(self.patience, self._process.kill)
        watch.start()
        try:
            while (answer := self._next()).get("id") != self._number:
                self._listen(answer)
        finally:
            watch.cancel()
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            part = os.read(self._answers, 1 << 20)
            if not part:
                raise RuntimeError(f"the browser ended, or gave no answer in {self.patience:g} s: {self.console}")
            self._buffer += part
        first, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(first)

    def _listen(self, event: dict[str, Any]) -> None:
        kind, values = event.get("method"), event.get("params", {})
        if kind == "Runtime.exceptionThrown":
            self.console.append(json.dumps(values["exceptionDetails"])[:2000])
        elif kind == "Log.entryAdded" and values["entry"]["level"] == "error":
            self.console.append(values["entry"]["text"] + " " + values["entry"].get("url", ""))
        elif kind == "Runtime.consoleAPICalled" and values["type"] in ("error", "warning"):
            self.console.append(" ".join(str(item.get("value", "")) for item in values["args"]))

    def open(self, address: str) -> None:
        """Go to an address."""
        found = self.send("Page.navigate", url=address)
        if found.get("errorText"):
            raise RuntimeError(f"{address}: {found['errorText']}")
        self.run("new Promise((done) => document.readyState === 'complete' ? done() : addEventListener('load', done))")

    def run(self, script: str) -> Any:
        """The value of an expression, of a promise when that is settled."""
        found = self.send("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in found:
            raise RuntimeError(json.dumps(found["exceptionDetails"])[:2000])
        return found["result"].get("value")

    def wait(self, condition: str) -> Any:
        """Until an expression is true; its value."""
        return self.run(f"""new Promise((done) => {{
            const look = () => {{ const value = {condition}; if (value) done(value); else setTimeout(look, 50); }};
            look();
        }})""")

    def pick(self, selector: str, *files: Path) -> None:
        """Choose files in an input, as a person does."""
        root = self.send("DOM.getDocument")["root"]["nodeId"]
        node = self.send("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.send("DOM.setFileInputFiles", nodeId=node, files=[str(file) for file in files])

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._commands)
        os.close(self._answers)
        self._profile.cleanup()
