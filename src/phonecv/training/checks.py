"""What can be wrong with a training is said before torch is loaded and before any other process is started."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, cast

from phonecv.data.folders.list_columns import Labels
from phonecv.data.folders.listing import PICTURES, Kind, Listing, has_split, read_split, shared_names
from phonecv.data.split_names import ALIASES, WHOLE
from phonecv.devices import usable_cores
from phonecv.errors import UserError, did_you_mean, near_path
from phonecv.files import check_writable
from phonecv.models.catalog import get_record
from phonecv.task import TASKS
from phonecv.text import counted, printable, some_names
from phonecv.training.config import TrainConfig
from phonecv.training.dividing import check_division, refuse_share
from phonecv.training.folder import same_run, usable
from phonecv.training.loggers import check_loggers

#: Two processes may share a core: for a trial, and where a container says one and has more.
FEW = 2


class ChecksRoom(Protocol):
    """Room "checks" of a task; it does not import torch."""

    def check_training(self, config: Any, *, keep: bool) -> None:
        """Refuse what cannot work with the task's own settings and with the data.

        Args:
            config: the training, of the class that room "config" has.
            keep: whether it follows in this process, so that what is read of the data may be kept for it.

        Raises:
            UserError: a mistake.
        """


def check_before(config: TrainConfig, devices: int = 1) -> None:
    """Refuse what cannot work, in about the time that a listing of the data takes.

    Raises:
        UserError: a mistake in the run folder, the data, the network, its weights, or the number of processes.
    """
    check_processes(config.run.device, devices)
    processes = int(os.environ.get("WORLD_SIZE", devices))
    part_size(config, processes)
    check_folder(config)
    check_loggers(config.run.loggers)
    check_network(config)
    cast(ChecksRoom, TASKS[config.task].room("checks")).check_training(config, keep=devices == 1)


def check_processes(device: str, devices: int) -> None:
    """Refuse more processes than this machine has cores, where no GPU could take them; GPUs are counted by torch."""
    if devices < 1:
        raise UserError(f"devices={devices} is not a number of processes; use 1 or more")
    cores = usable_cores()
    if devices > max(FEW, cores) and not _may_have_gpu(device):
        raise UserError(
            f"devices={devices}, but there is no GPU here and this process may use {cores} core{'s' * (cores != 1)};"
            f" use devices={cores} or fewer"
        )


def _may_have_gpu(device: str) -> bool:
    if device == "cpu" or os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1"):
        return False
    # Of NVIDIA and AMD; elsewhere torch alone can tell.
    return not sys.platform.startswith("linux") or any(
        Path(path).exists() for path in ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg", "/dev/kfd", "/dev/nvhost-gpu")
    )


def part_size(config: TrainConfig, processes: int) -> int:
    """Images that one process takes at once: the batch divided by processes and accumulated parts."""
    batch, parts = config.data.batch_size, processes * config.optimizer.accumulate
    if batch % parts:
        raise UserError(
            f"data.batch_size={batch} does not divide by {counted(processes, 'processes')} x"
            f" optimizer.accumulate={config.optimizer.accumulate}; set data.batch_size={max(1, batch // parts) * parts}"
        )
    size = batch // parts
    config.check_part(size)
    return size


def check_folder(config: TrainConfig) -> None:
    """Check that the run folder can be used."""
    if not config.run.out:
        raise UserError("no run folder was given; pass --out RUN (run.out)")
    folder = Path(config.run.out)
    with usable(folder):
        if folder.exists() and not folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    check_writable(folder / "state.pt")
    same_run(config, folder)
    data = config.data.path
    if data and (folder / "state.pt").is_file() and not Path(data).exists():
        raise UserError(
            f"data.path={data!r}: no such folder; the run in {folder} goes on where its pictures are now: --data FOLDER"
        )


def check_network(config: TrainConfig) -> None:
    """Check that network and weights are known by name or are there as files."""
    name, weights = config.model.name, config.model.weights
    tags = ["pretrained", "official"]
    if config.in_catalog(name):
        tags = list(dict.fromkeys(("official", *(entry.tag for entry in get_record(name).weights))))
    if weights is not None and weights not in tags:
        check_file(weights, f"model.weights={weights!r}", tags)


def check_file(text: str, what: str, names: Sequence[str]) -> None:
    """Check that a file is there; `what` is its setting for the message, `names` what else could have been meant."""
    path = Path(text)
    if path.is_dir():
        raise UserError(f"{what} is a folder; name the checkpoint file in it")
    if not path.exists():
        raise UserError(f"{what}: no such file{did_you_mean(text, names)} (known: {', '.join(names)}, or a checkpoint)")


def read_listings(
    config: TrainConfig, root: Path | str, kind: Kind = PICTURES, labels: Labels = "one"
) -> tuple[Listing, Listing | None]:
    """Both splits of a folder, with the same classes; where nothing is there to validate on, all of it and None.

    Args:
        config: the training.
        root: data folder.
        kind: what the samples are.
        labels: how many a picture has; the validation split is read as the training split was.

    Raises:
        UserError: there is no such data, an error in the listing of the first, or too little to hold a share out.
    """
    root, wanted = Path(root), config.data
    there = [split for split in ALIASES if has_split(root, split, kind)] if root.is_dir() else []
    val = wanted.val_list or next((split for split in ("val", "test") if split in there), None)
    if wanted.val is not None and (wanted.val_list or "val" in there):
        refuse_share(config, f"data.val_list={wanted.val_list}" if wanted.val_list else f"{printable(root)}: val")
    divided = val is not None and wanted.val is None
    split = "train" if divided or "train" in there or wanted.train_list else WHOLE
    train = read_split(root, split, list_file=wanted.train_list, kind=kind, labels=labels)
    for problem in train.problems:
        if problem.severity == "error":
            raise UserError(problem)
    if not divided:
        check_division(config, train, kind.noun)
        return train, None
    labels = "one" if train.sets is None else "many"
    tested = read_split(root, "val", list_file=wanted.val_list, classes=train.classes, kind=kind, labels=labels)
    if shared := shared_names(train, tested):
        raise UserError(
            f"{counted(len(shared), f'{kind.noun} are')} both trained on and validated on, by"
            f" {printable(train.list_file or root)} and {printable(tested.list_file or root)}: {some_names(shared)};"
            " take them out of one of the two"
        )
    return train, tested


def data_folder(config: TrainConfig, what: str) -> Path:
    """The folder of the data, which has to be there; `what` is "a folder with ...", for the message."""
    root = Path(config.data.path)
    if not config.data.path:
        raise UserError(f"no data set was given; pass --data DIR (data.path), {what}")
    if not root.is_dir():
        there = "not a folder" if root.exists() else "no such folder"
        raise UserError(f"data.path={str(root)!r}: {there}; a data set here is {what}{near_path(root)}")
    return root
