"""A detector or segmenter from whatever names one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from phonecv.dense.model import DenseModel
from phonecv.errors import UserError
from phonecv.models import VisionModel

_WHAT = {"detect": "detector", "segment": "segmenter"}


def open_dense(model: DenseModel | Path | str, task: str, **loading: Any) -> Any:
    """The network: itself, or from a checkpoint.

    Args:
        model: a network, or the path of a checkpoint.
        task: "detect" or "segment"; what it has to be for.
        **loading: arguments of `load_checkpoint`, with `name` for its first.

    Raises:
        UserError: there is no such file, it cannot be read, or it is for another task.
    """
    what, network = _WHAT[task], model
    if isinstance(model, Path | str):
        from phonecv.weights import load_checkpoint

        if not Path(model).exists():
            raise UserError(f"{str(model)!r}: no such file; give the path of a {what}'s checkpoint")
        network = load_checkpoint(loading.pop("name", None), model, **loading)
    if not isinstance(network, DenseModel) or network.task != task:
        classifier = isinstance(network, VisionModel)
        kind = "a classifier" if classifier else f"a {type(network).__name__}"
        raise UserError(f"{network.name if classifier else str(model):.80} is {kind}, not a {what}")
    return network
