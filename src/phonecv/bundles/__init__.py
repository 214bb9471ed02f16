"""A model with all that an app needs of it, in one folder or zip."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phonecv.late import late_names

if TYPE_CHECKING:
    from phonecv.bundles.build import BundleResult, bundle
    from phonecv.bundles.manifest import verify

__all__ = ["BundleResult", "bundle", "verify"]

if not TYPE_CHECKING:
    __getattr__ = late_names(__name__)
