"""The loop: what a run leaves, accumulation, evaluation, bad pictures, non-finite losses, several processes."""

from __future__ import annotations

import json
import shutil
from copy import deepcopy
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from phonecv.classify.config import ClassifyConfig
from phonecv.classify.objective import ClassifyObjective
from phonecv.data.loading.loader import Batch
from phonecv.errors import UserError
from phonecv.training import engine, folder, train
from phonecv.training import threads as threads_module
from phonecv.training.checks import part_size
from phonecv.training.engine import Run, evaluation_due
from phonecv.training.folder import claimed
from phonecv.training.guard import FiniteGuard, NonFiniteLoss
from phonecv.training.launch import launch, pick_device
from phonecv.training.threads import choose_threads
from phonecv.training.world import World
from phonecv.weights import load_checkpoint, read_checkpoint
from training.conftest import CLASSES, Configure


def test_a_run_leaves_its_files_and_learns(
    configure: Configure, curves: None, capsys: pytest.CaptureFixture[str]
) -> None:
    often = ("run.eval_every=4", "run.keep_every=6", "run.log_every=4", "run.loggers=[tensorboard]")
    config = configure("schedule.epochs=12", "data.size=24", *often)
    result = train(config)
    assert result.finished
    assert result.best_score is not None
    assert result.best_score >= 90  # the classes differ in colour
    names = {path.name for path in result.run_dir.iterdir()}
    assert names >= {"config.yaml", "metrics.csv", "curves.png", "summary.json", "state.pt", "tensorboard"}
    assert capsys.readouterr().out.splitlines()[-1] == f"report: {result.run_dir / 'report.html'}"
    assert f"top-1 accuracy, %, best epoch ({result.best_epoch})" in (result.run_dir / "report.html").read_text()
    with Image.open(result.run_dir / "curves.png") as drawn:
        assert min(drawn.size) > 100
    assert names >= {"best.safetensors", "last.safetensors", "last_ema.safetensors", "epoch-0006_ema.safetensors"}
    assert yaml.safe_load((result.run_dir / "config.yaml").read_text())["schedule"]["epochs"] == 12
    evaluated = [row for row in result.history if "val_top1" in row]
    assert [row["epoch"] for row in evaluated] == [4, 8, 12]
    assert [row["epoch"] for row in result.history] == list(range(1, 13))  # a row for each, evaluated or not
    for row in result.history:  # six steps, of which the first four and the last two were averaged
        parts = [step for step in result.steps if row["step"] - 6 < step["step"] <= row["step"]]
        places = [0, *(step["step"] - row["step"] + 6 for step in parts)]
        lengths = [end - start for start, end in pairwise(places)]
        mean = sum(step["loss"] * length for step, length in zip(parts, lengths, strict=True)) / 6
        assert (row["train_loss"], row["lr"]) == (pytest.approx(mean, rel=1e-6), parts[-1]["lr"])
    assert all(row["val_images"] == row["ema_images"] == 10 for row in evaluated)
    best = max((row[f"{net}_top1"], net) for row in evaluated for net in ("val", "ema"))
    assert result.best_score == best[0]


def test_the_checkpoint_knows_classes_preprocessing_and_training(configure: Configure) -> None:
    result = train(configure("data.crop=0.9", "schedule.epochs=1"))
    assert result.last is not None
    model = load_checkpoint(None, result.last)
    assert model.class_names == CLASSES
    assert (model.num_classes, model.preprocessing.size, model.preprocessing.crop) == (3, 16, 0.9)
    record = read_checkpoint(result.last).record
    assert record is not None
    assert record["training"]["epoch"] == 1
    assert record["training"]["weights"] == "net"
    assert record["training"]["figures"]["images"] == 10


def test_accumulation_equals_the_big_batch(configure: Configure) -> None:
    # In evaluation mode BatchNorm does not tie the pictures of a batch together.
    common = ("model.mode=eval", "optimizer.clip=0.5", "schedule.epochs=1", "augment.hflip=0", "ema.enabled=false")
    states = []
    for parts in (1, 4):
        result = train(configure(*common, f"optimizer.accumulate={parts}", out=f"parts{parts}"))
        assert result.last is not None
        states.append(load_file(result.last))
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("frozen", [False, True])
def test_precise_statistics_are_those_of_all_pictures_for_both_networks(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, frozen: bool
) -> None:
    config = configure(
        "run.precise_bn=10",  # three batches of four
        "ema.decay=0.9",
        "schedule.epochs=1",
        *(["model.overrides.norm_eval=true"] if frozen else []),
    )
    original, seen = engine.precise_statistics, []

    def compare(run: Run) -> None:
        batches = [run.data.placed(batch).images for batch in islice(run.data.train_loader(0, 0), 3)]
        wanted = {name: combined(net, [] if frozen else batches) for name, net in run.nets().items()}
        momenta = [module.momentum for module in run.net.modules() if isinstance(module, nn.BatchNorm2d)]
        before = {name: net.state_dict() for name, net in deepcopy(run.nets()).items()}
        original(run)
        first = {name: net.state_dict() for name, net in deepcopy(run.nets()).items()}
        original(run)  # as a run does that was stopped in its evaluation
        for name, net in run.nets().items():
            assert all(torch.equal(value, first[name][key]) for key, value in net.state_dict().items())
            counters = [key for key in before[name] if "num_batches" in key]
            assert all(torch.equal(first[name][key], before[name][key]) for key in counters)
        assert momenta == [module.momentum for module in run.net.modules() if isinstance(module, nn.BatchNorm2d)]
        for name, net in run.nets().items():
            for key, value in wanted[name].items():
                torch.testing.assert_close(net.state_dict()[key], value, rtol=1e-4, atol=1e-5)
            seen.append(name)
        live, average = (
            torch.cat([buffer.flatten() for key, buffer in net.named_buffers() if key.endswith("running_mean")])
            for net in run.nets().values()
        )
        assert torch.allclose(live, average, rtol=1e-3) == frozen

    monkeypatch.setattr(engine, "precise_statistics", compare)
    train(config)
    assert seen == ["net", "ema"]


def combined(net: nn.Module, batches: list[Tensor]) -> dict[str, Tensor]:
    """The weights, and the statistics of all batches from PyTorch's of each."""
    state = {key: value.clone() for key, value in net.state_dict().items() if "num_batches" not in key}
    each = []
    for batch in batches:
        alone = deepcopy(net)
        update_bn([[batch]], alone)
        each.append(alone.state_dict())
    for key in [key for key in state if batches and key.endswith("running_mean")]:
        other = key.replace("running_mean", "running_var")
        squares = torch.stack([one[other].double() + one[key].double() ** 2 for one in each]).mean(0)
        state[key] = torch.stack([one[key] for one in each]).mean(0)
        state[other] = (squares - state[key].double() ** 2).float()
    return state


def test_evaluation_cadence() -> None:
    config = ClassifyConfig().replaced("run.eval_every=5", "run.eval_each_from=200")
    due = [epoch for epoch in range(1, 301) if evaluation_due(config, epoch)]
    assert due == [*range(5, 200, 5), *range(200, 301)]
    assert evaluation_due(ClassifyConfig().replaced("run.eval_every=7", "schedule.epochs=100"), 100)


def test_curriculum_changes_the_size(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    original = ClassifyObjective.losses

    def losses(self: ClassifyObjective, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        sizes.append(batch.images.shape[-1])
        return original(self, model, batch)

    monkeypatch.setattr(ClassifyObjective, "losses", losses)
    train(configure("curriculum=[{epoch: 1, size: 16, magnitude: 0.5}, {epoch: 2, size: 24}]"))
    assert sizes == [16] * 6 + [24] * 6


def test_mixup_bf16_channels_last_and_sgd_run(configure: Configure) -> None:
    result = train(
        configure(
            "loss.mixup=0.8",
            "loss.cutmix=1.0",
            "run.amp=bf16",
            "run.channels_last=true",
            "optimizer.name=sgd",
            "schedule.weight_decay_end=0.01",
            "schedule.epochs=1",
            "data.repeats=2",
        )
    )
    assert all(np.isfinite(row["loss"]) for row in result.steps)


def test_fp16_scales_its_loss(configure: Configure) -> None:
    result = train(configure("run.amp=fp16", "schedule.epochs=1"))
    state = torch.load(result.run_dir / "state.pt", weights_only=True)
    assert state["scaler"]["scale"] > 1


def test_distillation_is_logged(configure: Configure) -> None:
    teacher = train(configure("schedule.epochs=1", out="teacher"))
    result = train(configure(f"distill.teacher={teacher.best}", "schedule.epochs=1", "distill.weight=2", out="kd"))
    assert len(result.steps) == 6
    assert all(row["loss"] == pytest.approx(row["ce"] + row["kd"], rel=1e-5) for row in result.steps)


def test_fine_tuning_drops_a_head_that_does_not_fit(configure: Configure, caplog: pytest.LogCaptureFixture) -> None:
    first = train(configure("schedule.epochs=1", "model.num_classes=5", out="first"))
    start = load_file(str(first.last))
    result = train(configure(f"model.weights={first.last}", "model.freeze=backbone", "schedule.epochs=1", out="second"))
    end = load_file(str(result.last))
    assert end["linear.weight"].shape[0] == 3
    for name, value in start.items():
        if not name.startswith("linear."):
            assert torch.equal(end[name], value), name  # statistics of frozen modules stay too


def test_a_finished_run_is_left_alone(configure: Configure, capsys: pytest.CaptureFixture[str]) -> None:
    config = configure("schedule.epochs=1")
    first = train(config)
    before = (first.run_dir / "metrics.csv").read_bytes()
    again = train(config)
    assert again == first
    assert (first.run_dir / "metrics.csv").read_bytes() == before
    assert "finished already" in capsys.readouterr().out


def test_a_folder_belongs_to_one_configuration(configure: Configure) -> None:
    train(configure("schedule.epochs=1"))
    with pytest.raises(UserError) as caught:
        train(configure("schedule.epochs=1", "optimizer.lr=0.02", "run.seed=3"))
    message = str(caught.value)
    assert "optimizer.lr: 0.01 there, 0.02 now" in message
    assert "run.seed: 42 there, 3 now" in message
    assert "schedule.epochs:" not in message


def test_a_folder_in_use_is_refused(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    config = configure("schedule.epochs=1")
    monkeypatch.setattr(folder.time, "sleep", lambda seconds: None)
    with claimed(Path(config.run.out), config, World()), pytest.raises(UserError, match="another process"):
        train(config)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("data.batch_size=32",), "do not fill one batch of"),
        (("data.batch_size=6", "optimizer.accumulate=4"), "does not divide"),
        (("model.num_classes=2",), "the data has 3 classes"),
        (("run.device=tpu9",), "is no device"),
        (("model.overrides.depths=[1, 1]",), "four positive numbers"),
        (("data.path=",), "no data set was given"),
        (("data.path=/nowhere/at/all",), "no such folder"),
        (("run.out=",), "no run folder was given"),
    ],
)
def test_what_cannot_start_says_why(configure: Configure, overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        train(configure(*overrides))


def test_a_batch_divides_over_processes_and_parts() -> None:
    config = ClassifyConfig().replaced("data.batch_size=96", "optimizer.accumulate=3")
    assert part_size(config, 4) == 8
    with pytest.raises(UserError, match="does not divide by 5 processes x"):
        part_size(config, 5)
    with pytest.raises(UserError, match="even number"):
        part_size(config.replaced("loss.mixup=0.2"), 32)


def damaged(pictures: Path, folder: Path, train_files: int) -> Path:
    shutil.copytree(pictures, folder)
    for path in sorted(folder.glob("train/*/*.png"))[:train_files]:
        path.write_bytes(path.read_bytes()[:60])
    next(folder.glob("val/*/*.png")).write_bytes(b"no picture")
    return folder


def test_a_few_unreadable_pictures_are_reported(
    configure: Configure, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = damaged(pictures, tmp_path / "damaged", 1)
    result = train(configure(f"data.path={folder}", "schedule.epochs=1", "data.max_bad=0.1"))
    assert result.finished
    lines = (result.run_dir / "bad_images.csv").read_text().splitlines()
    assert len(lines) == 3
    assert "2 pictures could not be read" in capsys.readouterr().out
    row = next(row for row in result.history if "val_images" in row)
    assert row["val_images"] == 9


def test_too_many_unreadable_pictures_stop_the_run(configure: Configure, pictures: Path, tmp_path: Path) -> None:
    folder = damaged(pictures, tmp_path / "damaged", 6)
    config = configure(f"data.path={folder}", "data.max_bad=0.05")
    with pytest.raises(UserError, match=r"pictures cannot be read so far, more than data\.max_bad=0\.05"):
        train(config)
    assert (Path(config.run.out) / "bad_images.csv").is_file()


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_checkpoint(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = ClassifyObjective.cross_entropy
    calls = []

    def cross_entropy(self: ClassifyObjective, logits: Tensor, target: Tensor) -> Tensor:
        calls.append(1)
        return original(self, logits, target) * (float("nan") if len(calls) == 9 else 1.0)

    monkeypatch.setattr(ClassifyObjective, "cross_entropy", cross_entropy)
    config = configure()
    with pytest.raises(NonFiniteLoss) as caught:
        train(config)
    message = str(caught.value)
    assert "step 9: ce=nan; learning rate" in message
    assert "the inputs hold values from -" in message
    assert "lower optimizer.lr" in message
    out = Path(config.run.out)
    load_checkpoint(None, out / "last.safetensors")  # refuses values that are not finite
    state = torch.load(out / "state.pt", weights_only=True)
    assert state["progress"]["epoch"] == 1
    assert all(bool(value.isfinite().all()) for value in state["net"].values())


def test_weights_that_are_not_finite_are_not_saved() -> None:
    model = nn.Linear(2, 2)
    FiniteGuard().check_weights(model, 3)
    with torch.no_grad():
        model.weight[0, 0] = float("inf")
    with pytest.raises(NonFiniteLoss, match="weights of weight are no longer finite after step 3"):
        FiniteGuard().check_weights(model, 3)


def test_too_many_devices_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    assert pick_device("cuda", 1, 2) == torch.device("cuda", 1)
    with pytest.raises(UserError, match="3 GPUs were asked for and 2 are there"):
        pick_device("cuda", 2, 3)
    with pytest.raises(UserError, match="devices=0"):
        launch("unused:work", ClassifyConfig(), 0)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    with pytest.raises(UserError, match="under torchrun"):
        launch("unused:work", ClassifyConfig(), 2)


def test_threads_are_split(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads_module, "usable_cores", lambda: 8)
    one = choose_threads(processes=1, cpu=True)
    assert (one.torch, one.workers) == (6, 2)
    four = choose_threads(processes=4, cpu=True)
    assert (four.torch, four.workers) == (1, 1)
    eight = choose_threads(processes=8, cpu=True)
    assert (eight.torch, eight.workers) == (1, 0)
    gpu = choose_threads(processes=2, cpu=False)
    assert (gpu.torch, gpu.workers) == (4, 4)
    chosen = choose_threads(processes=1, cpu=True, threads=5, workers=0)
    assert (chosen.torch, chosen.workers) == (5, 0)


def test_summary_is_plain_json(configure: Configure) -> None:
    result = train(configure("schedule.epochs=1", "ema.enabled=false"))
    summary = json.loads((result.run_dir / "summary.json").read_text())
    assert summary["finished"] is True
    assert summary["best_net"] == "net"
    assert (summary["epoch"], summary["step"]) == (1, 6)


def test_a_mistake_does_not_occupy_the_run_folder(configure: Configure) -> None:
    wrong = configure("data.path=nowhere")
    with pytest.raises(UserError, match="nowhere"):
        train(wrong)
    assert not Path(wrong.run.out).exists()
    assert train(configure("schedule.epochs=1")).finished
