"""The platforms that `bundle` writes apps for: one row each."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from phonecv.bundles.apps.plan import Plan
from phonecv.errors import UserError, did_you_mean


class Writer(Protocol):
    """A module of a platform."""

    def missing(self) -> str:
        """What is not installed here that the app holds, and how to get it; empty if all is there."""
        ...

    def write(self, plan: Plan, folder: Path) -> None:
        """Write the project into a new folder."""
        ...


@dataclass(frozen=True, slots=True)
class Platform:
    """Where an app runs.

    Attributes:
        format: of the files that it runs, a key of `EXPORTERS`.
        text: what its folder of a bundle is.
        module: import path of its `Writer`.
    """

    format: str
    text: str
    module: str

    @property
    def writer(self) -> Writer:
        """What writes its apps."""
        return cast(Writer, import_module(self.module))


PLATFORMS = {
    "web": Platform("onnx", "an app for browsers, to be installed, that works offline", "phonecv.bundles.apps.web"),
    "android": Platform("litert", "an app for Android, to be opened in Android Studio", "phonecv.bundles.apps.android"),
    "ios": Platform("coreml", "an app for iPhones, to be opened in Xcode", "phonecv.bundles.apps.ios"),
}


def find_platform(name: str) -> Platform:
    """The platform of this name."""
    if name not in PLATFORMS:
        raise UserError(f"no apps are made for {name!r}{did_you_mean(name, PLATFORMS)} (known: {', '.join(PLATFORMS)})")
    return PLATFORMS[name]
