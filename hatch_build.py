"""Put the browser runtimes of the phone page into wheel and source archive."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class PageHook(BuildHookInterface):
    """Fetches them before the build; without npm the archive goes without, and `phonecv bench --serve` says so."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Not for editable installs: those take them from the folder when `dev.py` has brought them."""
        if version == "editable":
            return
        fetch = Path(self.root, "src", "phonecv", "browser", "fetch.py")
        if subprocess.run([sys.executable, str(fetch), "--quiet"], check=False).returncode:
            self.app.display_warning("built without the runtimes of the phone page")
