"""`convert`: between the layouts of checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phonecv.create import load_network
from phonecv.weights import Loading, read_checkpoint, save_checkpoint
from phonecv.weights.hub import local


@dataclass(frozen=True, slots=True)
class Converted:
    """What was written.

    Attributes:
        path: the file.
        layout: whose names it has.
        model: name of the network in it.
        form: "training" or "deploy", as in the source.
        num_classes: of the network.
    """

    path: Path
    layout: str
    model: str
    form: str
    num_classes: int


def convert(
    source: Path | str, target: Path | str, *, to: str = "phonecv", name: str | None = None, ema: bool | None = None
) -> Converted:
    """Rewrite a checkpoint in our layout, or back in another; the form stays as it is.

    Args:
        source: a checkpoint of any layout, or a catalog name with public weights ("name" or "name:tag").
        target: the file to write; one that is there is replaced.
        to: layout, see `phonecv.save_checkpoint`.
        name: of the network, where the file leaves it open.
        ema: averaged or live weights, where the file holds both.

    Raises:
        UserError: the source cannot be read, or the layout cannot hold it.
    """
    network = load_network(source, task=None, loading=Loading(name, ema)).eval()
    written = save_checkpoint(network, target, layout=to, **origin(source))
    return Converted(written, to, network.name, network.form, network.num_classes)


def origin(source: Path | str) -> dict[str, Any]:
    """Arguments for `save_checkpoint` that pass on how the source was trained and where it came from."""
    source = local(source)
    if not Path(source).is_file():
        return {"source": str(source)}
    record = read_checkpoint(source).record or {}
    return {"training": record.get("training"), "source": record.get("source") or Path(source).name}
