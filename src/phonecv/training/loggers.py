"""Where figures of a run go beside its own files: TensorBoard, Weights & Biases, MLflow.

None of them may end a run: what fails is told once, and nothing more is sent there.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from phonecv.errors import UserError
from phonecv.files import write_json

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter

_log = logging.getLogger("phonecv")

#: Of `run.loggers`, with what has to be installed; the extras are called alike.
PACKAGES = {"tensorboard": "tensorboard", "wandb": "wandb", "mlflow": "mlflow"}

#: What a run is called elsewhere, so that going on goes on there, too.
IDS = "loggers.json"


class Logger(Protocol):
    """A place for figures."""

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add the figures of a step."""

    def close(self, *, finished: bool) -> None:
        """Send what is left, and say whether the run is at its end."""


def check_loggers(names: Sequence[str]) -> None:
    """Refuse what is not installed; TensorBoard, which is the default, may be missing."""
    for name in names:
        if name != "tensorboard" and importlib.util.find_spec(PACKAGES[name]) is None:
            raise UserError(f"run.loggers: {name} is not installed; install it with: pip install 'phonecv[{name}]'")


def open_loggers(names: Sequence[str], folder: Path, settings: Mapping[str, Any], step: int) -> list[Logger]:
    """Those that can be reached.

    Args:
        names: of `PACKAGES`; those that are not installed are left out.
        folder: the run folder.
        settings: of the run, by full name.
        step: that the run goes on from.
    """
    opened: list[Logger] = []
    for name in names:
        if importlib.util.find_spec(PACKAGES[name]) is None:
            continue
        if name == "tensorboard":
            opened.append(Board(folder / "tensorboard", purge_step=step + 1))
        else:
            opened.append(Guarded(name, Wandb if name == "wandb" else Mlflow, folder, settings))
    return opened


class Board:
    """TensorBoard's files: writes scalars until it is closed, or until the disk refuses them, which is told once.

    TensorBoard writes in a thread of its own. An error there reaches the next call here; until then its traceback would
    be printed over the run's own message.
    """

    def __init__(self, folder: Path, purge_step: int) -> None:
        from torch.utils.tensorboard.writer import SummaryWriter

        self._folder = folder
        self._hook = threading.excepthook
        threading.excepthook = self._quiet
        self._writer: SummaryWriter | None = SummaryWriter(str(folder), purge_step=purge_step)

    def _quiet(self, arguments: threading.ExceptHookArgs) -> None:
        if (
            not isinstance(arguments.exc_value, OSError)
            or type(arguments.thread).__module__.split(".")[0] != "tensorboard"
        ):
            self._hook(arguments)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add the values of a step."""
        if self._writer is None:
            return
        try:
            for name, value in values.items():
                self._writer.add_scalar(name, value, step)
        except OSError as error:
            self._writer = None
            _log.warning("note: no more records for TensorBoard in %s (%s)", self._folder, error.strerror or error)

    def close(self, *, finished: bool) -> None:
        """Finish the records, whether the run has ended or not."""
        del finished
        writer, self._writer = self._writer, None
        try:
            if writer is not None:
                writer.close()
        except OSError as error:
            _log.warning(
                "note: the last records for TensorBoard in %s are lost (%s)", self._folder, error.strerror or error
            )
        finally:
            threading.excepthook = self._hook


class Guarded:
    """A service that is given up where it fails."""

    def __init__(self, name: str, kind: type[Wandb] | type[Mlflow], folder: Path, settings: Mapping[str, Any]) -> None:
        self.name, self.errors = name, kind.errors()
        self.service: Wandb | Mlflow | None = None
        path = folder / IDS
        try:
            ids: dict[str, str] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
            self.service = kind(folder, settings, ids.get(name))
        except self.errors as error:
            self._give_up(error)
        else:
            write_json(path, ids | {name: self.service.id})

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """See `Logger`."""
        try:
            if self.service is not None:
                self.service.write(step, values)
        except self.errors as error:
            self._give_up(error)

    def close(self, *, finished: bool) -> None:
        """See `Logger`."""
        try:
            if self.service is not None:
                self.service.close(finished=finished)
        except self.errors as error:
            self._give_up(error)
        self.service = None

    def _give_up(self, error: Exception) -> None:
        self.service = None
        said = next(iter(str(error).strip().splitlines()), type(error).__name__)[:300]
        _log.warning(
            "note: no more records for %s (%s); the run goes on, its own files have everything", self.name, said
        )


class Wandb:
    """A run of Weights & Biases; its own variables say where: WANDB_MODE, WANDB_PROJECT, WANDB_ENTITY and so on."""

    def __init__(self, folder: Path, settings: Mapping[str, Any], known: str | None) -> None:
        import wandb

        self.id = known or secrets.token_hex(4)
        self._run = wandb.init(
            dir=folder,
            project=os.environ.get("WANDB_PROJECT", "phonecv"),
            name=folder.resolve().name,
            id=self.id,
            resume="allow",
            config=dict(settings),
            settings=wandb.Settings(console="off", silent=True),
        )
        # A run that was killed goes back to its last saved state: W&B's own counter of steps only rises.
        self._run.define_metric("*", step_metric="step")

    @staticmethod
    def errors() -> tuple[type[Exception], ...]:
        """What it raises."""
        import wandb

        return wandb.Error, OSError, RuntimeError, ValueError

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """See `Logger`."""
        self._run.log({"step": step, **values})

    def close(self, *, finished: bool) -> None:
        """See `Logger`."""
        self._run.finish(exit_code=0 if finished else 1)


class Mlflow:
    """A run of MLflow, where MLFLOW_TRACKING_URI says, in the experiment MLFLOW_EXPERIMENT_NAME."""

    def __init__(self, folder: Path, settings: Mapping[str, Any], known: str | None) -> None:
        from mlflow import MlflowClient
        from mlflow.entities import Param

        self._client = MlflowClient()
        if known is not None:
            self.id = known
            self._client.update_run(known, status="RUNNING")
            return
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "phonecv")
        found = self._client.get_experiment_by_name(name)
        experiment = self._client.create_experiment(name) if found is None else found.experiment_id
        self.id = self._client.create_run(experiment, run_name=folder.resolve().name).info.run_id
        # They can't be changed later; texts of more than 500 letters are refused by older servers.
        params = [Param(name, str(value)[:500]) for name, value in settings.items()]
        for start in range(0, len(params), 100):
            self._client.log_batch(self.id, params=params[start : start + 100])

    @staticmethod
    def errors() -> tuple[type[Exception], ...]:
        """What it raises."""
        from mlflow.exceptions import MlflowException

        return MlflowException, OSError, RuntimeError, ValueError

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """See `Logger`."""
        from mlflow.entities import Metric

        now = round(1000 * time.time())
        self._client.log_batch(
            self.id, metrics=[Metric(name, float(value), now, step) for name, value in values.items()]
        )

    def close(self, *, finished: bool) -> None:
        """See `Logger`."""
        self._client.set_terminated(self.id, status="FINISHED" if finished else "KILLED")
