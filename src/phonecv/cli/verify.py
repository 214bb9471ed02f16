"""`phonecv verify`: whether a bundle is still as it was made."""

from __future__ import annotations

from pathlib import Path

from phonecv.cli.output import say_found


def verify(bundle: Path, /, *more: Path, json: bool = False) -> int:
    """Compare bundles, folders or zips, with their manifests.

    Tells of every file that is missing, was changed or was added. The exit status is 1 if there is any.

    For example:

    - `phonecv verify app.zip`
    - `phonecv verify app other-app`

    Args:
        bundle: A folder or zip that `phonecv bundle` made.
        more: Others.
        json: Print JSON.
    """
    from phonecv import bundles

    found = {str(path): bundles.verify(path) for path in (bundle, *more)}
    lines = [f"{path}: {fault}" for path, faults in found.items() for fault in faults or ["is as it was made"]]
    say_found(lambda: found, *lines, json=json)
    return int(any(found.values()))
