"""The resume state of a run: everything that the next step depends on, in one file written whole or not at all.

All random numbers follow from (seed, step, rank) or (seed, epoch, index), so only tensors and counters are kept.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from phonecv.errors import UserError
from phonecv.files import atomic_path
from phonecv.training.folder import check_still_there

FILE = "state.pt"
FORMAT = 1
#: What every state holds beside the format and the progress.
PARTS = frozenset({"threads", "net", "optimizer", "ranks", "rows", "seconds"})


@dataclass(slots=True)
class Progress:
    """How far a run is.

    Attributes:
        epoch: epochs finished, evaluation included.
        batch: optimizer steps done in the epoch under way.
        step: optimizer steps done in all.
        best: best score so far, or None before the first evaluation.
        best_epoch: the epoch (from 1) it was reached in.
        best_net: whose it is, "net" or "ema".
        evaluated: the last epoch (from 1) that was evaluated.
        patient_from: epochs that were done when more of them, or another patience, were asked for.
        bad: unreadable files met so far, with the reason.
        changes: of settings on the way, each a line for people.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    best: float | None = None
    best_epoch: int = 0
    best_net: str = ""
    evaluated: int = 0
    patient_from: int = 0
    bad: dict[str, str] = field(default_factory=dict)
    changes: list[str] = field(default_factory=list)


def write_state(folder: Path, state: dict[str, Any], progress: Progress) -> None:
    """Put the state in the place of the last one."""
    check_still_there(folder)
    with atomic_path(folder / FILE, needs=_tensor_bytes(state)) as path:
        torch.save({"format": FORMAT, "progress": asdict(progress), **state}, path)


def _tensor_bytes(value: Any) -> int:
    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return sum(map(_tensor_bytes, parts))


def read_state(folder: Path) -> tuple[dict[str, Any], Progress] | None:
    """The state in a run folder, on the CPU; None where the run has not saved any yet."""
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        progress = Progress(**state.pop("progress"))
        missing = PARTS - state.keys()
    # What torch's reader raises about damaged bytes, and what other content leads to.
    except (
        OSError,
        RuntimeError,
        EOFError,
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        UnpicklingError,
    ) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise UserError(
            f"the resume state {path} cannot be read ({reason});"
            " move it away to start this run from the beginning, or choose another run.out"
        ) from error
    if missing:
        raise UserError(
            f"the resume state {path} lacks {', '.join(sorted(missing))}; move it away to start this run from the"
            " beginning, or choose another run.out"
        )
    if state.pop("format", None) != FORMAT:
        raise UserError(f"the resume state {path} is from another version of phonecv; choose another run.out")
    return state, progress
