"""Whatever names a model -> what it is for, and a runner of it: the same for networks and for exported files."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, Self, TypeVar, cast

from phonecv.data.class_mapping import display_names
from phonecv.data.pictures.bit_depth import settle_depth
from phonecv.devices import AMP_TYPES, low_precision, pick_device
from phonecv.errors import UserError, did_you_mean
from phonecv.exporting.fields import FileRecord
from phonecv.exporting.formats import exporter_for
from phonecv.exporting.opening import OpenedFile, open_file
from phonecv.exporting.record import find_record
from phonecv.models.names import check_named, check_no_folder
from phonecv.options import OpeningOptions
from phonecv.preprocessing import DensePreprocessing, Preprocessing
from phonecv.task import DEFAULT_TASK, TASKS
from phonecv.text import some_names
from phonecv.verbs import Opening
from phonecv.weights.hub import local

if TYPE_CHECKING:
    import torch

    from phonecv.models.headed import Network

Given = TypeVar("Given")
Found = TypeVar("Found")
#: Class names, if any, and how many there are -> a name for every class.
Names = Callable[[Sequence[str] | None, int], tuple[str, ...]]
AnyRunner = TypeVar("AnyRunner", bound="Runner[Any, Any]")


@dataclass(frozen=True, slots=True)
class Runner(Generic[Given, Found]):
    """A model ready to run, whatever runs it; each task has its own kind.

    Attributes:
        task: key of `phonecv.task.TASKS`.
        description: for people, such as "mobileone_s0, deploy form, PyTorch on cpu".
        run: what the task feeds its models with -> what they make of it.
        classes: a name for every class.
        named: whether the names are the file's own; otherwise they are taken for granted, or numbers.
        device: where it runs.
        preprocessing: how pictures are brought to it, where that is known.
        details: whatever else is known, for reports.
        placed: the network, where it is one.
    """

    task: ClassVar[str]

    description: str
    run: Callable[[Given], Found]
    classes: tuple[str, ...]
    named: bool = True
    device: torch.device | str = "cpu"
    preprocessing: Preprocessing | DensePreprocessing | None = None
    details: dict[str, Any] = field(default_factory=dict)
    placed: Placed | None = None

    @classmethod
    def of_network(
        cls, placed: Placed, run: Callable[[Given], Found], names: Names = display_names, **own: Any
    ) -> Self:
        """Of a network; `names` says what classes without names are called, `own` are fields of the task."""
        net = placed.network
        classes, named = names(net.class_names, net.num_classes), net.class_names is not None
        rest: dict[str, Any] = {"details": placed.details, "placed": placed} | own
        return cls(placed.description, run, classes, named, placed.device, net.preprocessing, **rest)

    @classmethod
    def of_file(
        cls, file: OpenedFile, run: Callable[[Given], Found], count: int, names: Names = display_names, **own: Any
    ) -> Self:
        """Of an exported file with so many classes, likewise."""
        found = file.record.get("classes") or None
        rest: dict[str, Any] = {"details": {"model": file.name} | file.details} | own
        return cls(file.description, run, names(found, count), found is not None, **rest)

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.classes)

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """The file's own names, or None when it knows none."""
        return self.classes if self.named else None

    @property
    def bits(self) -> int | None:
        """That the values of 16-bit pictures hold, where it is known."""
        return None if self.preprocessing is None else self.preprocessing.bits

    def __call__(self, given: Given) -> Found:
        """What the model makes of it."""
        return self.run(given)


@dataclass(frozen=True, slots=True)
class Placed:
    """A network on the device it runs on, in evaluation mode; a copy, so that the person's own stays as it was.

    `low` is the type to compute in, or None for float32.
    """

    network: Any
    device: torch.device
    amp: str
    low: torch.dtype | None

    def computing(self) -> AbstractContextManager[Any]:
        """The context to run it in."""
        import torch

        return torch.autocast(self.device.type, dtype=self.low, enabled=self.low is not None)

    @property
    def description(self) -> str:
        """For people."""
        network = self.network
        runtime = getattr(network, "runtime", "PyTorch")  # of one that `phonecv.accelerate` made
        return f"{network.name or type(network).__name__}, {network.form} form, {runtime} on {self.device}"

    @property
    def details(self) -> dict[str, Any]:
        """For reports."""
        from phonecv.models.headed import HeadedModel

        network = self.network
        headed = isinstance(network, HeadedModel)
        name = (
            {"architecture": network.architecture, "backbone": network.backbone_name}
            if headed
            else {"model": network.name}
        )
        runtime = getattr(network, "runtime", "pytorch")
        place = {"form": network.form, "runtime": runtime, "device": str(self.device), "amp": self.amp}
        return name | place | ({"preprocessing": network.preprocessing.to_dict()} if headed else {})


class OpeningRoom(Protocol):
    """What opening a model asks of the room "opening" of its task; see `phonecv.weights.headed.Building` for more."""

    def network_runner(self, placed: Placed, options: Any) -> Runner[Any, Any]:
        """A network as a runner.

        Args:
            placed: of this task.
            options: the task's own for opening; None for its defaults.

        Raises:
            UserError: it cannot be used.
        """

    def file_runner(self, file: OpenedFile, options: Any) -> Runner[Any, Any]:
        """An exported file as a runner.

        Args:
            file: of this task.
            options: as for `network_runner`.

        Raises:
            UserError: its record does not describe it, or it cannot do what is asked for.
        """

    def names_in(self, record: FileRecord) -> Sequence[str] | None:
        """Class names of a file with this record, its own or those taken for granted; None where only numbers are."""


def own_names(record: FileRecord) -> Sequence[str] | None:
    """`OpeningRoom.names_in` of a task that takes none for granted."""
    return record.get("classes") or None


def opening_room(task: str) -> OpeningRoom:
    """What a task brings to opening."""
    return cast(OpeningRoom, TASKS[task].room("opening"))


def task_of(model: Any) -> str:
    """The task of a network, of a runner, or of whatever a path or name stands for.

    Only files of ours, checkpoints and exported ones, can be for another task than the default, and they say so in
    their record. A file that cannot be read counts as of the default, too: loading it will say what is wrong.

    Raises:
        UserError: it is neither a file nor a network, or a folder of other things.
    """
    if not isinstance(model, Path | str):
        return getattr(model, "task", DEFAULT_TASK)
    check_named(model)
    if exporter_for(model) is None:
        check_no_folder(model)
    try:
        task = record_of(model).get("task")
    except UserError:
        return DEFAULT_TASK
    return task if isinstance(task, str) and task in TASKS else DEFAULT_TASK


def record_of(path: Path | str) -> Mapping[str, Any]:
    """What a file of ours says of itself, beside it or inside; empty for anything else.

    Reads no tensors and runs nothing of the file.

    Raises:
        UserError: the record of an exported file is damaged.
    """
    path = Path(local(path))
    if not path.exists():
        return {}
    if path.suffix == ".safetensors":
        from phonecv.weights.record import header_record

        return header_record(path)
    return find_record(path) if exporter_for(path) is not None else {}


def open_runner(
    model: Network | Runner[Any, Any] | Path | str,
    task: str,
    opening: Opening = Opening(),  # noqa: B008  (frozen)
    options: OpeningOptions | None = None,
) -> Any:
    """Whatever names a model of a task -> its runner.

    Args:
        model: a network, a checkpoint path of any layout, a catalog name (its public weights are used, "name:tag"
            chooses among them), the path of an exported file, or a runner.
        task: that it has to be for.
        opening: where and how.
        options: the task's own, see its room "verbs"; None for its defaults.

    Raises:
        UserError: nothing of that name, one for another task, or a file that cannot be used.
    """
    _check_options(model, opening)
    if isinstance(model, Runner):
        if model.task != task:
            raise UserError(f"this {type(model).__name__} is {TASKS[model.task].noun}, not {TASKS[task].noun}")
        if options is not None and not options.free:
            names = some_names([one.name for one in fields(cast(Any, options))])
            raise UserError(f"this runner has its way of inference already; give {names} when opening it")
        return model
    room = opening_room(task)
    if isinstance(model, Path | str) and exporter_for(model) is not None:
        file = open_file(model)
        if file.task != task:
            raise UserError(f"{model} is for the task {file.task!r}; this needs {task!r}")
        return room.file_runner(file, options)
    from phonecv.create import load_network

    network = load_network(model, task=task, loading=opening.loading)
    return room.network_runner(_placed(network, opening), options)


def at_depth(runner: AnyRunner, paths: Sequence[Path]) -> tuple[AnyRunner, str]:
    """The runner with the depth that the 16-bit pictures among `paths` are read with, and what to say of it."""
    spec, note = settle_depth(runner.preprocessing or DensePreprocessing(), paths)
    return replace(runner, preprocessing=spec), note


def _placed(network: Network, opening: Opening) -> Placed:
    import torch

    from phonecv.models.fusing import fuse
    from phonecv.models.headed import check_takes_pictures

    check_takes_pictures(network, network.name or "this network")
    device = pick_device(opening.device)
    low = low_precision(opening.amp, device)
    # What is in deploy form already may run frozen: nobody changes this copy. An accelerated network is frozen.
    freezes = network.form == "deploy" and not network.frozen
    own = fuse(network, frozen=True) if freezes else copy.deepcopy(network)
    return Placed(own.to(device=device, dtype=torch.float32).eval(), device, opening.amp, low)


def _check_options(model: Any, opening: Opening) -> None:
    """Refuse options that what is to be opened cannot take."""
    amp, device, loading = opening.amp, opening.device, opening.loading.given
    if amp not in AMP_TYPES:
        raise UserError(f"amp {amp!r} is not one of {', '.join(AMP_TYPES)}{did_you_mean(str(amp), AMP_TYPES)}")
    options = ", ".join(loading)
    if not isinstance(model, Path | str):
        if loading:
            raise UserError(f"{options}: for reading checkpoint files; this model is a {type(model).__name__} already")
        from torch import nn

        if not isinstance(model, nn.Module) and (device is not None or amp != "none"):
            raise UserError(f"device and amp are for networks; this {type(model).__name__} has its own already")
    elif exporter_for(model) is not None:
        if loading:
            raise UserError(f"{model} is an exported file; {options}: only for checkpoints")
        if device is not None and str(device).partition(":")[0] != "cpu":
            raise UserError(f"{model} is an exported file, run on the CPU; device {str(device)!r} is for networks")
        if amp != "none":
            raise UserError(f"{model} is an exported file, run in its own precision; amp {amp!r} is for networks")
    elif loading and not Path(model).exists():
        raise UserError(
            f"{options}: for reading checkpoint files, and {str(model)!r} is no file (NAME:TAG chooses among public "
            "weights)"
        )
