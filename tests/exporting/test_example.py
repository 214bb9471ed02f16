"""The picture that travels with a file: right and by a wide margin, and what is said where that is not so."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from exporting.fake_formats import fake
from exporting.small import tiny
from phonecv.bundles import bundle
from phonecv.classify.exporting import choose_example
from phonecv.exporting import EXPORTERS, export
from phonecv.exporting.example import example_text, first_example
from phonecv.exporting.pictures import Pictures, check_pictures
from phonecv.exporting.run import as_input

CLASSES = ("cat", "dog", "hen")


def pictures(folders: Sequence[str]) -> Pictures:
    images = tuple(Image.new("RGB", (4, 4)) for _ in folders)
    return Pictures(images, tuple(map(str, range(len(folders)))), "made", tuple(folders))


def network(classes: Sequence[str] | None) -> Any:
    return SimpleNamespace(class_names=classes, thresholds=None)


def logits(*shares: Sequence[float]) -> dict[str, np.ndarray]:
    return {"logits": np.log(np.array(shares, np.float32))}


CAT, SURE_CAT, DOG, SURE_HEN = (0.6, 0.3, 0.1), (0.9, 0.05, 0.05), (0.2, 0.7, 0.1), (0.01, 0.01, 0.98)


@pytest.mark.parametrize(
    ("folders", "rows", "number", "label", "right", "margin"),
    [
        (["cat", "Cat", "dog", "dog"], [CAT, SURE_CAT, DOG, SURE_HEN], 1, "cat", True, 0.85),
        (["hen", "cat", "x"], [SURE_CAT, CAT, SURE_HEN], 1, "cat", True, 0.3),  # right before surest
        (["hen", "x", "y"], [SURE_CAT, DOG, CAT], 1, None, None, 0.5),  # unknown before wrong
        (["", "", ""], [CAT, DOG, SURE_HEN], 2, None, None, 0.97),
        (["hen", "dog"], [DOG, SURE_HEN], 1, "dog", False, 0.97),
    ],
)
def test_the_choice(
    folders: list[str],
    rows: list[tuple[float, ...]],
    number: int,
    label: str | None,
    right: bool | None,
    margin: float,
) -> None:
    found = choose_example(pictures(folders), logits(*rows), network(CLASSES))
    assert (found.number, found.label, found.right, found.tried) == (number, label, right, len(rows))
    assert found.margin == pytest.approx(margin, abs=1e-3)
    said = example_text(found.to_dict())
    assert {True: "the network is right", False: "the network is wrong", None: "Nobody told"}[right] in said
    assert f"{margin:.2f} ahead" in said or right is False


def test_imagenets_folders_are_known() -> None:
    values = np.zeros((2, 1000), np.float32)
    values[0, 5], values[1, 2] = 9, 5
    found = choose_example(pictures(["n01440764", "n01484850"]), {"logits": values}, network(None))
    assert (found.number, found.label, found.right) == (1, "great white shark", True)


@pytest.mark.parametrize("outputs", [{"features": np.zeros((2, 4))}, {"logits": np.zeros((2, 3, 8, 8))}])
def test_other_tasks_take_the_first(outputs: dict[str, np.ndarray]) -> None:
    found = (choose_example if "features" in outputs else first_example)(pictures(["", ""]), outputs, network(None))
    assert (found.number, found.margin) == (0, None)
    assert example_text(found.to_dict()) == ""


def test_the_record_and_the_bundle_have_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures in folders called after what the network says, but for the first, which comes from another."""
    monkeypatch.setitem(EXPORTERS, "fake", fake())
    network = tiny("mobileone_s0")
    random = np.random.default_rng(3)
    for number in range(6):
        blots = Image.fromarray(random.integers(0, 256, (3, 3, 3), np.uint8)).resize((64, 64))
        (tmp_path / "all").mkdir(exist_ok=True)
        blots.save(tmp_path / "all" / f"{number}.png")
    batch = as_input(check_pictures(str(tmp_path / "all")).images, network, 64, 64)
    with torch.no_grad():
        shares = network.eval()(batch).softmax(1)
    assert network.class_names is not None
    names = [network.class_names[best] for best in shares.argmax(1)]
    wrong = next(name for name in network.class_names if name != names[0])
    labelled = tmp_path / "labelled"
    for number, name in enumerate([wrong, *names[1:]]):
        (labelled / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / "all" / f"{number}.png").rename(labelled / name / f"{number}.png")
    result = export(network, tmp_path / "m.fake", size=64, images=str(labelled))
    test = json.loads(result.record.read_text())["test"]
    top = shares.topk(2).values
    best = 1 + int((top[1:, 0] - top[1:, 1]).argmax())
    assert (test["right"], test["label"]) == (True, names[best])
    with Image.open(tmp_path / "m.test.png") as kept, Image.open(labelled / names[best] / f"{best}.png") as given:
        assert np.array_equal(np.asarray(kept), np.asarray(given))
    assert int(np.argmax(test["outputs"]["logits"]["values"])) == int(shares[best].argmax())
    made = bundle(network, tmp_path / "b", formats=["pt2"], images=str(labelled), size=64)
    said = f"It shows {names[best]}, and the network is right"
    assert said in (made.path / "README.md").read_text()
    assert said in (made.path / "index.html").read_text()
