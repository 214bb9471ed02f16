"""Three sets of pictures that share none: to calibrate on, to choose by, and for the last word."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import phonecv
from phonecv.classify.quantizing_data import find, split_data
from phonecv.data.pictures.reading import eval_transform
from phonecv.errors import UserError
from phonecv.models import VisionModel
from phonecv.quantization import calibration
from phonecv.quantization.data import refuse_shared
from quantization.networks import SIZE, small

CLASSES = ("red", "green", "blue")


@pytest.fixture(scope="module")
def network() -> VisionModel:
    made = small()
    made.reset_classifier(len(CLASSES))
    made.class_names = CLASSES
    return made.eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of three classes, without splits."""
    root = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    for name in CLASSES:
        (root / name).mkdir()
        for number in range(10):
            pixels = generator.integers(0, 255, (SIZE + 8, SIZE, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    return root


def test_calibration_pictures_are_preprocessed_and_evenly_picked(network: VisionModel, folder: Path) -> None:
    array = calibration(folder, network, 10)
    assert array.shape == (10, 3, SIZE, SIZE)
    assert array.dtype == np.float32
    paths = sorted(folder.rglob("*.png"))
    for number in (0, 5, 9):
        with Image.open(paths[3 * number]) as image:
            want = eval_transform(network.preprocessing)(image)
        assert np.allclose(array[number], want.numpy(), atol=1e-6)
    assert calibration(folder, network, 500).shape[0] == 30
    assert calibration(folder, network, 8, bake=True).max() > 200


def test_bad_pictures_are_named(network: VisionModel, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="too few to calibrate on; take at least 8"):
        calibration(folder, network, 2)
    with pytest.raises(UserError, match="has 1 picture to calibrate on"):
        calibration(next(folder.rglob("*.png")), network)
    with pytest.raises(UserError, match="no such file or folder"):
        calibration(tmp_path / "nowhere", network)
    shutil.copytree(folder / "red", tmp_path / "red")
    (tmp_path / "red" / "0.png").write_bytes(b"not a picture")
    with pytest.raises(UserError, match=r"0\.png"):
        calibration(tmp_path, network, 10)


def test_one_folder_is_split_by_turns_with_its_labels(network: VisionModel, folder: Path) -> None:
    first, second = split_data(folder, network)
    assert len(first) == len(second) == 15
    assert not set(first.paths) & set(second.paths)
    assert second.labels is not None
    assert [CLASSES[label] for label in second.labels] == [path.parent.name for path in second.paths]


def test_training_and_validation_pictures_keep_their_parts(network: VisionModel, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "train")
    for name in CLASSES:
        (tmp_path / "val" / name).mkdir(parents=True)
        for number in range(4):
            pixels = np.full((SIZE, SIZE, 3), 10 * number, np.uint8)
            Image.fromarray(pixels).save(tmp_path / "val" / name / f"{number}.png")
    first, second = split_data(tmp_path, network)
    assert {path.relative_to(tmp_path).parts[0] for path in first.paths} == {"train"}
    assert {path.relative_to(tmp_path).parts[0] for path in second.paths} == {"val"}
    assert len(second) == 12


def test_folders_that_are_no_classes_give_pictures_without_labels(folder: Path) -> None:
    other = phonecv.fuse(small())  # five classes without names
    found = find(folder, other)
    assert found.labels is None
    assert "not among the model's" in found.note
    assert len(found.paths) == 30


def test_a_test_picture_among_the_others_is_refused(network: VisionModel, folder: Path, tmp_path: Path) -> None:
    first, second = split_data(folder, network)
    shutil.copytree(folder / "red", tmp_path / "renamed" / "red")
    test = find(tmp_path / "renamed", network).read(network, 100)
    with pytest.raises(UserError, match=r"10 of the 10 pictures .* were used to calibrate or to choose"):
        refuse_shared(test, first, second)
    clean = tmp_path / "clean" / "red"
    clean.mkdir(parents=True)
    Image.fromarray(np.zeros((SIZE, SIZE, 3), np.uint8)).save(clean / "new.png")
    refuse_shared(find(tmp_path / "clean", network).read(network, 100), first, second)


def test_batches_are_the_input(network: VisionModel, folder: Path) -> None:
    first, _ = split_data(folder, network)
    assert torch.equal(torch.cat(list(first.batches(4))), first.tensor())
    assert first.tensor().dtype == torch.float32
