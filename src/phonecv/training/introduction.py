"""What a training says before it starts: the network, the data, and what was chosen, by whom and why."""

from __future__ import annotations

from phonecv.errors import UserError
from phonecv.settings import written
from phonecv.tables import text_table
from phonecv.text import counted
from phonecv.training.config import TrainConfig
from phonecv.training.engine import Run
from phonecv.training.folder import CONFIG
from phonecv.training.recipe import load_config
from phonecv.training.setup import Setup
from phonecv.training.threads import Threads

#: Settings that say where, not what.
_PLACES = ("data.path", "run.out", "run.recipe")


def introduce(run: Run, lr: float, threads: Threads, setup: Setup) -> None:
    """Say what is going to happen."""
    config, data, say = run.config, run.data, run.log.say
    parameters = sum(parameter.numel() for parameter in run.net.parameters())
    trained = sum(parameter.numel() for parameter in run.net.parameters() if parameter.requires_grad)
    share = "all trained" if trained == parameters else f"{trained:,} trained"
    classes = f"; {counted(run.net.num_classes, 'classes')}" if run.data_record.get("classes") else ""
    say(f"{run.net.name}: {counted(parameters, 'parameters')}, {share}{classes}")
    pictures = f"{counted(data.train_size, f'training {data.noun}')} and {data.val_size:,} for validation"
    say(f"{pictures}, from {config.data.path}, at {run.net.preprocessing.size} px")
    for line in setup.divided.told(run.folder):
        say(line)
    steps = f"{counted(data.steps_per_epoch, 'steps')} of {counted(config.data.batch_size, data.noun)}"
    say(f"{counted(config.schedule.epochs, 'epochs')} of {steps}")
    where = f"{counted(run.world.size, 'processes')} on {run.world.device.type}"
    each = " each" if run.world.size > 1 else ""
    workers = f"{counted(threads.torch, 'threads')} and {counted(threads.workers, 'loader workers')}{each}"
    say(f"{where}, {workers}")
    rows = [*_own(config), *_chosen(run, lr)]
    if rows:
        say(f"\n{text_table(('setting', 'value', 'why'), rows)}\n")
    for note in (*(f"note: {note}" for note in run.speed.notes), data.note):
        if note:
            say(note)
    of = f"recipe {config.run.recipe}; all" if config.run.recipe else "all"
    say(f"{of} settings: {run.folder / CONFIG}")


def _own(config: TrainConfig) -> list[tuple[str, str, str]]:
    """Settings that are not those of the recipe; none where there was no recipe."""
    try:
        recipe = load_config(config.run.recipe).flat() if config.run.recipe else config.flat()
    except UserError:  # a file of somebody's that is gone, or means nothing without what was laid over it
        return []
    return [
        (name, written(value), f"the recipe has {written(recipe[name])}")
        for name, value in config.flat().items()
        if name not in _PLACES and value != recipe[name]
    ]


def _chosen(run: Run, lr: float) -> list[tuple[str, str, str]]:
    """What was left to the run, and the rate that follows from the batch."""
    rows = [(name, written(value), reason) for name, value, reason in run.speed.chosen()]
    optimizer = run.config.optimizer
    if optimizer.lr_batch and lr != optimizer.lr:
        batch = f"a batch of {run.config.data.batch_size}, at {optimizer.lr:g} for {optimizer.lr_batch}"
        rows.append(("learning rate", f"{lr:.3g}", batch))
    return rows
