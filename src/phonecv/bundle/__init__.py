"""A model with all that an app needs of it, in one folder or zip."""

from __future__ import annotations

from phonecv.bundle.build import BundleResult, bundle
from phonecv.bundle.manifest import check_manifest

__all__ = ["BundleResult", "bundle", "check_manifest"]
