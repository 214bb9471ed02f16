"""Several processes share an evaluation or a prediction: each picture once, and what one process would find."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from conftest import TINY
from phonecv import create_detector, create_model, create_segmenter, evaluate, predict, save_checkpoint
from phonecv.api import _evaluated, _predicted
from phonecv.data.coco.reader import find_coco, read_coco
from phonecv.data.labelmaps.listing import read_label_split
from phonecv.errors import UserError
from phonecv.opening import task_of
from phonecv.verbs import Together, settled
from settle import settle
from training.conftest import CLASSES

#: Seconds and paths of output are each run's own.
OWN = ("seconds",)


@dataclass(frozen=True, kw_only=True)
class Meeting(Together):
    """Two threads in the place of two processes."""

    values: list[Any]
    barrier: Barrier

    def gather(self, value: Any) -> list[Any]:
        self.values[self.rank] = value
        self.barrier.wait(60)
        found = list(self.values)
        self.barrier.wait(60)
        return found


def in_two(work: Callable[[Together], Any]) -> list[Any]:
    values, barrier = [None, None], Barrier(2)
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda rank: work(Meeting(rank=rank, size=2, values=values, barrier=barrier)), range(2)))


@pytest.fixture(scope="module")
def models(pictures: Path, scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    """A file of each task, and data for it."""
    folder, tiny = tmp_path_factory.mktemp("models"), TINY["mobileone_s0"]
    classifier = settle(create_model("mobileone_s0", num_classes=3, **tiny), size=32)
    classifier.class_names = CLASSES
    detector = create_detector("ssdlite320", "mobileone_s0", num_classes=10, options={"size": 64}, **tiny)
    detector.class_names = read_coco(find_coco(scenes, "val")).classes
    segmenter = create_segmenter("segformer", "mobileone_s0", num_classes=11, options={"channels": 16}, **tiny)
    segmenter.preprocessing = replace(segmenter.preprocessing, size=48, longest=96)
    segmenter.class_names = read_label_split(scenes, "val").classes
    for name, net in (("classify", classifier), ("detect", detector), ("segment", segmenter)):
        save_checkpoint(net.eval(), folder / f"{name}.safetensors")
    return {
        "classify": (folder / "classify.safetensors", pictures),
        "detect": (folder / "detect.safetensors", scenes),
        "segment": (folder / "segment.safetensors", scenes),
    }


@pytest.mark.parametrize("task", ["classify", "detect", "segment"])
def test_two_find_what_one_finds(task: str, models: dict[str, tuple[Path, Path]]) -> None:
    model, data = models[task]
    options = {"workers": 0, "runtime": "eager"}
    alone = evaluate(model, data, **options)
    own, loading = settled(task_of(model), "evaluate", options, model=model)
    together, other = in_two(lambda world: _evaluated(model, data, own, loading, task, world))
    assert other is None
    expected, found = (
        {key: one for key, one in each.summary().items() if key not in OWN} for each in (alone, together)
    )
    assert found.pop("count") == expected.pop("count")
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == (pytest.approx(value, abs=1e-3) if isinstance(value, float) else value), name


@pytest.mark.parametrize("task", ["classify", "detect", "segment"])
def test_two_say_what_one_says(task: str, models: dict[str, tuple[Path, Path]], tmp_path: Path) -> None:
    model, data = models[task]
    images = sorted(data.rglob("val/**/*.png"))[:5] or sorted(data.rglob("*.jpg"))[:5]
    assert len(images) == 5
    alone = predict(model, images, workers=0, runtime="eager", out=tmp_path / "one")
    options = {"workers": 0, "runtime": "eager", "out": tmp_path / "two"}
    own, loading = settled(task, "predict", options, model=model)
    together, _ = in_two(lambda world: _predicted(model, images, own, loading, task, world))
    assert [prediction.path for prediction in together] == images
    assert [str(prediction) for prediction in together] == [str(prediction) for prediction in alone]
    names = [
        sorted(path.relative_to(tmp_path / out) for path in (tmp_path / out).rglob("*.*")) for out in ("one", "two")
    ]
    assert names[0] == names[1]


def test_what_cannot_be_shared_is_refused(
    models: dict[str, tuple[Path, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, data = models["classify"]
    with pytest.raises(UserError, match="devices=2: every process opens the model, so give a file or a name"):
        evaluate(create_model("mobileone_s0", num_classes=3, **TINY["mobileone_s0"]), data, devices=2)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(UserError, match="devices=2, but torchrun has started 4 processes"):
        evaluate(model, data, devices=2)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("task", ["classify", "detect", "segment"])
def test_two_processes(task: str, models: dict[str, tuple[Path, Path]], tmp_path: Path) -> None:
    model, data = models[task]
    alone, together = (evaluate(model, data, device="cpu", devices=devices, runtime="eager") for devices in (1, 2))
    expected, found = (
        {key: one for key, one in each.summary().items() if key not in OWN} for each in (alone, together)
    )
    assert found == expected
