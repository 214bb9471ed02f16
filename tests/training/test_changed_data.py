"""Going on with a run after the data have changed: other classes are refused, other pictures told."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import mostly_long
from phonecv.data.coco.reader import read_coco
from phonecv.data.folders.listing import Listing, SampleTable
from phonecv.data.labelmaps.listing import read_label_split
from phonecv.errors import UserError
from phonecv.training import TrainConfig, train
from phonecv.training.data_record import changed_pictures, data_record
from training.conftest import Configure
from training.test_resume import crash, rows_of, state_of

SETTINGS = ("run.save_every=1", "schedule.epochs=2")


@pytest.fixture
def stopped(
    configure: Configure, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., TrainConfig]:
    """A function that copies the pictures, trains until step 4, and gives the configuration."""

    def make(*overrides: str) -> TrainConfig:
        root = tmp_path / "data"
        shutil.copytree(pictures, root)
        config = configure(*SETTINGS, f"data.path={root}", *overrides)
        crash(config, 4, monkeypatch)
        assert state_of(config)["progress"]["step"] == 4
        return config

    return make


def move_class(root: Path, old: str, new: str) -> None:
    for split in ("train", "val"):
        (root / split / old).rename(root / split / new)


def add_class(root: Path) -> None:
    for split in ("train", "val"):
        shutil.copytree(root / split / "red", root / split / "yellow")


def remove_class(root: Path) -> None:
    for split in ("train", "val"):
        shutil.rmtree(root / split / "green")


#: What is done to the data, and how it is told.
CHANGES: dict[str, Callable[[Path], object]] = {
    "gone: green; new: grass": lambda root: move_class(root, "green", "grass"),
    "gone: blue; new: sky": lambda root: move_class(root, "blue", "sky"),
    "new: yellow": add_class,
    "gone: green": remove_class,
    "their order differs": lambda root: (root / "classes.txt").write_text("red\ngreen\nblue\n"),
}


def test_other_classes_are_refused_with_both_lists(
    stopped: Callable[..., TrainConfig], pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = stopped()
    root = Path(config.data.path)
    monkeypatch.setattr("phonecv.classify.training.build_model", lambda *_, **__: pytest.fail("work had begun"))
    for words, alter in CHANGES.items():
        shutil.rmtree(root)
        shutil.copytree(pictures, root)
        alter(root)
        with pytest.raises(UserError) as caught:
            train(config)
        message = str(caught.value)
        assert f"({words})" in message
        assert "Then 3: blue, green, red. Now" in message
        assert "run.out" in message
        assert "\n" not in message
        assert state_of(config)["progress"]["step"] == 4


def test_a_state_of_before_falls_back_on_the_last_network(stopped: Callable[..., TrainConfig]) -> None:
    config = stopped("data.batch_size=8")  # step 4 is in the second epoch, so the first has been written
    path = Path(config.run.out) / "state.pt"
    state = torch.load(path, weights_only=True)
    del state["data"]
    torch.save(state, path)
    move_class(Path(config.data.path), "green", "grass")
    with pytest.raises(UserError, match="gone: green; new: grass"):
        train(config)


def test_a_run_goes_on_with_fewer_pictures(
    stopped: Callable[..., TrainConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    config = stopped()
    red = sorted((Path(config.data.path) / "train/red").iterdir())
    for path in red[1:]:  # 17 are left: an epoch has four steps, and as many are done in this one
        path.unlink()
    capsys.readouterr()
    assert train(config).finished
    told = " ".join(capsys.readouterr().out.split())
    assert "the data have changed since this run began: 24 train pictures then, 17 now. It goes on" in told
    assert rows_of(config)


def files(root: Path) -> dict[str, list[Path]]:
    return {split: sorted((root / split).iterdir()) for split in ("train", "val")}


PICTURES: dict[str, Callable[[Path], object]] = {
    "": lambda root: None,
    "3 train pictures then, 2 now": lambda root: (root / "train/0").unlink(),
    "3 val pictures then, 4 now": lambda root: (root / "val/new").write_text("x"),
    "other train pictures than then, 3 again": lambda root: (root / "train/0").rename(root / "train/9"),
    "train pictures have other contents than then": lambda root: (root / "train/1").write_text("longer"),
}


@pytest.mark.parametrize("words", PICTURES)
def test_changed_pictures_are_told(tmp_path: Path, words: str) -> None:
    root = tmp_path / "data"
    for split in ("train", "val"):
        (root / split).mkdir(parents=True)
        for number in range(3):
            (root / split / str(number)).write_text("x")
    before = data_record(("a", "b"), files(root), root)
    root = root.rename(tmp_path / "moved")  # names count relative to the data folder
    PICTURES[words](root)
    now = data_record(("a", "b"), files(root), root)
    assert changed_pictures(before, now) == words
    assert changed_pictures(None, now) == ""


def test_other_labels_are_told(scenes: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    shutil.copytree(scenes, root)
    records = [data_record((), {"val": []}, root, labels={"val": label}) for label in ("a", "b")]
    assert changed_pictures(*records) == "val pictures have other labels than then"
    file = next(path for path in root.glob("annotations/*.json") if "train" in path.name)

    def now() -> tuple[str, str]:
        return read_coco(file).label_digest, read_label_split(root, "train").label_digest

    before = now()
    assert now() == before
    content = json.loads(file.read_text())
    content["annotations"][0]["bbox"][2] -= 1
    file.write_text(json.dumps(content))
    moved = now()
    assert (moved[0] != before[0], moved[1] == before[1]) == (True, True)
    label = read_label_split(root, "train").labels[0]
    Image.fromarray(np.flipud(np.array(Image.open(label)))).save(label)
    assert now()[1] != before[1]
    tables = [SampleTable(root, ["x", "y"], labels) for labels in ([0, 1], [1, 0])]
    assert len({Listing(root, "train", ("a", "b"), table).label_digest for table in tables}) == 2


@pytest.mark.slow
@pytest.mark.parametrize("architecture", mostly_long(["ssdlite320", "segformer"], "segformer"))
def test_detectors_and_segmenters_remember_their_classes(
    architecture: str, configure_dense: Configure, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "scenes"
    shutil.copytree(scenes, root)
    config = configure_dense(architecture, "run.save_every=1", f"data.path={root}")
    crash(config, 1, monkeypatch)
    for path in (*root.glob("annotations/*.json"), root / "classes.txt"):
        text = path.read_text().replace('"name": "7"', '"name": "seven"').replace("\t7\n", "\tseven\n")
        path.write_text(text)
    with pytest.raises(UserError, match="gone: 7; new: seven"):
        train(config)
