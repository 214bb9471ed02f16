"""The platforms that `bundle` writes apps for: one row each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name

from phonecv.browser import fetch
from phonecv.bundles.apps.plan import Plan
from phonecv.errors import UserError, did_you_mean


@dataclass(frozen=True, slots=True)
class Platform:
    """Where an app runs.

    Attributes:
        format: of the files that it runs, a key of `EXPORTERS`.
        text: what its folder of a bundle is.
        function: import path of what writes its apps, see `write`.
        missing: what is not installed here that the app holds, and how to get it; empty if all is there.
    """

    format: str
    text: str
    function: str
    missing: Callable[[], str] = str

    def write(self, plan: Plan, folder: Path) -> None:
        """Write the project of an app into a new folder."""
        resolve_name(self.function)(plan, folder)


def _no_page() -> str:
    mended = "with npm installed, `python -m phonecv.browser.fetch` brings it"
    return "" if fetch.ready() else f"the runtime for browsers is not here; {mended}"


PLATFORMS = {
    "web": Platform(
        "onnx",
        "an app for browsers, to be installed, that works offline",
        "phonecv.bundles.apps.web:write",
        _no_page,
    ),
    "android": Platform(
        "litert", "an app for Android, to be opened in Android Studio", "phonecv.bundles.apps.android:write"
    ),
    "ios": Platform("coreml", "an app for iPhones, to be opened in Xcode", "phonecv.bundles.apps.ios:write"),
}


def find_platform(name: str) -> Platform:
    """The platform of this name."""
    if name not in PLATFORMS:
        raise UserError(f"no apps are made for {name!r}{did_you_mean(name, PLATFORMS)} (known: {', '.join(PLATFORMS)})")
    return PLATFORMS[name]
