"""Whether a comparison could have found a wrong file: agreement about nothing is no agreement."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from phonecv.detect.exporting_checks import OBJECTS

#: Outputs that move by less from picture to picture, as a share of max(1, largest output), count as constant: a file
#: that answers every picture alike would pass.
LEAST_VARIATION = 1e-4

_HINT = "give pictures like the app's with --images (images=)"


def nothing_compared(
    names: Sequence[str], wanted: Sequence[Sequence[np.ndarray]], got: Sequence[Sequence[np.ndarray]]
) -> str:
    """Why a comparison says nothing of a file; empty if it does.

    Args:
        names: of the outputs.
        wanted: PyTorch's, per batch.
        got: the file's, likewise.
    """
    pictures = len(wanted[0][0])
    if set(names) >= OBJECTS:
        place = list(names).index("count")
        if not any(int(side[place].sum()) for batches in (wanted, got) for side in batches):
            return f"no object was found in any of {pictures} pictures, by PyTorch or by the file; {_HINT}"
        return ""
    if tuple(names) == ("classes",):
        if len(np.unique(np.concatenate([side[0].ravel() for batches in (wanted, got) for side in batches]))) == 1:
            return f"all pixels of {pictures} pictures are of one class; {_HINT}"
        return ""
    still = [name for name, output in zip(names, wanted[0], strict=True) if _variation(output) < LEAST_VARIATION]
    if still:
        return (
            f"{' and '.join(still)} of {pictures} pictures are all the same, as an untrained network's can be; export "
            f"trained weights, or {_HINT}"
        )
    return ""


def _variation(output: np.ndarray) -> float:
    """How far the outputs of the pictures are apart; of a single picture, how far its values are."""
    other = output[:1] if len(output) > 1 else output.ravel()[:1]
    return float(np.abs(output - other).max(initial=0)) / max(1.0, float(np.abs(output).max(initial=0)))
