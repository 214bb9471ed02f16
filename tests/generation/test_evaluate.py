"""The Frechet distance against its closed form, and evaluations of a generator that is known exactly."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import phonecv
from cli.conftest import Run
from generation.exact import COLOURS, NAMES, SIDE, exact_runner
from phonecv.create import load_network
from phonecv.errors import UserError
from phonecv.generation import evaluate
from phonecv.generation.frechet import Features, FrechetDistance, open_features
from phonecv.generation.pictures import to_bytes, to_images


def closed_form(one: np.ndarray, other: np.ndarray) -> float:
    """Dowson and Landau's distance of the Gaussians that fit two sets ``N D``."""
    first, second = (np.cov(features, rowvar=False) for features in (one, other))
    values, vectors = np.linalg.eigh(first)
    root = vectors * np.sqrt(values.clip(0)) @ vectors.T
    shared = np.sqrt(np.linalg.eigvalsh(root @ second @ root).clip(0)).sum()
    return float(np.square(one.mean(0) - other.mean(0)).sum() + np.trace(first + second) - 2 * shared)


def test_the_distance_is_the_closed_form() -> None:
    random = np.random.default_rng(0)
    one = random.normal(size=(300, 6)) @ random.normal(size=(6, 6))
    other = random.normal(size=(200, 6)) @ random.normal(size=(6, 6)) + 2
    found = FrechetDistance(6)
    for part in np.array_split(one, 4):
        found.update(torch.from_numpy(part), real=True)
    found.update(torch.from_numpy(other), real=False)
    assert found.distance() == pytest.approx(closed_form(one, other), rel=1e-6)


def test_the_distance_of_known_gaussians() -> None:
    """Of independent features: squared differences of means and of deviations."""
    one, other = (torch.tensor([[-1.0, -2.0], [1.0, 2.0], [-1.0, 2.0], [1.0, -2.0]]) * scale for scale in (1.0, 3.0))
    found = FrechetDistance(2)
    found.update(one, real=True)
    assert np.isnan(found.distance())
    found.update(other + torch.tensor([5.0, 0.0]), real=False)
    deviation = np.array([1.0, 2.0]) * np.sqrt(4 / 3)
    assert found.distance() == pytest.approx(25 + np.square(2 * deviation).sum(), rel=1e-6)


@pytest.fixture
def colours(tmp_path: Path) -> Path:
    """Pictures of one colour, four of each class."""
    for name, colour in zip(NAMES, COLOURS, strict=True):
        (tmp_path / "val" / name).mkdir(parents=True)
        for number in range(4):
            (image,) = to_images(to_bytes(colour[None, :, None, None].expand(1, 3, 2 * SIDE, 2 * SIDE)))
            image.save(tmp_path / "val" / name / f"{number}.png")
    return tmp_path


def mean_colour(classes: tuple[str, ...] | None) -> Features:
    """Features that are the mean colour; a classifier that says the nearest of `COLOURS`."""

    def run(pictures: Tensor) -> tuple[Tensor, Tensor | None]:
        found = pictures.float().mean((2, 3)) / 127.5 - 1
        return found, -torch.cdist(found, COLOURS)

    return Features(run, "the mean colour", classes)


def test_exact_samples_are_at_no_distance(colours: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(evaluate, "open_features", lambda path, device: mean_colour(NAMES))
    found = phonecv.evaluate(exact_runner(), colours, sampler="ddim", steps=10, batch_size=5, out=tmp_path / "out")
    assert found.asked == (2, 2, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0)  # blue, green, red: the folders in order
    assert found.distance == pytest.approx(0, abs=1e-3)
    assert (found.agreement_percent, found.count) == (100.0, 12)
    assert "100.0 % of the samples are read as the class asked for" in str(found)
    assert "compare it with those of equal numbers" in str(found)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["samples"], summary["features"], summary["steps"]) == (12, "the mean colour", 10)
    with (tmp_path / "out" / "per_class.csv").open() as file:
        assert list(csv.reader(file))[1:] == [[name, "4", "4", "100.00"] for name in NAMES]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Frechet distance, 12 samples, 12 pictures" in page
    assert page.count("data:image/png") == 1


def test_other_classes_are_at_a_distance(colours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A classifier that calls red green: what it reads of red and green samples is wrong."""
    monkeypatch.setattr(evaluate, "open_features", lambda path, device: mean_colour(("green", "red", "blue")))
    options: dict[str, Any] = {"sampler": "ddim", "steps": 10, "count": 4}
    found = phonecv.evaluate(exact_runner(), colours, **options)
    assert found.asked == (2, 2, 1, 0)  # all classes, also where there are fewer samples than pictures
    assert found.agreement_percent == 50
    monkeypatch.setattr(evaluate, "open_features", lambda path, device: mean_colour(("cat", "dog", "cow")))
    blind = phonecv.evaluate(exact_runner(), colours, **options)
    assert blind.agreement_percent is None
    assert "was not counted" in str(blind)
    samples = COLOURS[list(found.asked)].numpy()
    pictures = np.repeat(COLOURS.numpy(), 4, 0)
    assert blind.distance == found.distance == pytest.approx(closed_form(pictures, samples), rel=0.02)


def test_features_of_a_classifier(checkpoints: Path) -> None:
    pictures = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    network = load_network(checkpoints / "emo_1m.safetensors").eval()
    found, logits = open_features(checkpoints / "emo_1m.safetensors", "cpu").run(pictures)
    spec = network.preprocessing
    mean, std = (torch.tensor(values)[:, None, None] for values in (spec.mean, spec.std))
    with torch.no_grad():
        torch.testing.assert_close(logits, network((pictures / 255 - mean) / std))
        torch.testing.assert_close(network.get_classifier()(found), logits)


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning", "ignore:`torch.jit:DeprecationWarning")
def test_programs_are_not_run(tmp_path: Path) -> None:
    torch.jit.script(nn.Flatten()).save(str(tmp_path / "inception.pt"))
    with pytest.raises(UserError, match=r"TorchScript program, not weights.*torch-fidelity's weights-inception"):
        open_features(tmp_path / "inception.pt", "cpu")


@pytest.fixture(scope="module")
def inception_2015(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of weights as torch-fidelity's and pytorch-fid's, of random values."""
    from torchvision.models import inception_v3

    network = inception_v3(weights=None, init_weights=False, aux_logits=False, num_classes=1008)
    for name, value in network.state_dict().items():
        if name.endswith("running_mean"):
            value.normal_(std=0.1)
    path = tmp_path_factory.mktemp("inception") / "weights-inception-2015-12-05-6726825d.pth"
    state = {name: value for name, value in network.state_dict().items() if "num_batches" not in name}
    torch.save(state, path, _use_new_zipfile_serialization=False)  # the public file is of that age
    return path


def test_features_of_published_distances_are_torchmetrics_own(inception_2015: Path) -> None:
    """From the same weights, resizing included: torchmetrics reads and runs them itself."""
    from torchmetrics.image.fid import FrechetInceptionDistance

    pictures = torch.randint(0, 256, (2, 3, 40, 32), dtype=torch.uint8)
    features = open_features(inception_2015, "cpu")
    theirs: Any = FrechetInceptionDistance(2048, feature_extractor_weights_path=str(inception_2015), antialias=False)
    wanted = theirs.inception(pictures)
    torch.testing.assert_close(features.run(pictures)[0], wanted)
    assert wanted.std() > 0
    assert features.name == "Inception v3 of 2015 (2048 features)"


def test_damaged_weights_are_named(inception_2015: Path, tmp_path: Path) -> None:
    state = torch.load(inception_2015, weights_only=True)
    del state["Mixed_6a.branch3x3.conv.weight"]
    torch.save(state, tmp_path / "cut.pth")
    with pytest.raises(UserError, match=r"cut.pth is not the Inception v3 of 2015: .*Mixed_6a.branch3x3.conv.weight"):
        open_features(tmp_path / "cut.pth", "cpu")


@pytest.mark.long
def test_features_of_torchvisions_inception(tmp_path: Path) -> None:
    from torchvision.models import inception_v3

    network = inception_v3(weights=None, init_weights=False).eval()
    torch.save(network.state_dict(), tmp_path / "inception_v3.pth")
    pictures = torch.randint(0, 256, (1, 3, 299, 299), dtype=torch.uint8)
    found, _ = open_features(tmp_path / "inception_v3.pth", "cpu").run(pictures)
    with torch.no_grad():
        torch.testing.assert_close(network.fc(found), network(pictures / 127.5 - 1), rtol=1e-4, atol=1e-4)


def test_mistakes(run: Run, checkpoint: Path, checkpoints: Path, colours: Path, tmp_path: Path) -> None:
    done = run("eval", checkpoint, "--data", colours)
    assert done.status == 2
    assert "give --features FILE" in done.err
    done = run("eval", checkpoint, "--data", colours, "--features", checkpoint)
    assert "is a generator; give --features FILE" in done.err
    done = run("eval", checkpoints / "emo_1m.safetensors", "--data", colours, "--features", checkpoint)
    assert "features is for a generator" in done.err
    with pytest.raises(UserError, match=r"none\.pth.*give --features"):
        open_features(tmp_path / "none.pth")
