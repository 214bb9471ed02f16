"""Evaluation against a plain loop with torchvision, and the real checkpoint on real pictures."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets, transforms

import phonecv
from conftest import TINY
from opened import open_classifier
from phonecv.api import evaluate
from phonecv.classify.opening import ClassifyRunner
from phonecv.data.folders.listing import read_split
from phonecv.errors import UserError
from phonecv.evaluating import write_evaluation
from phonecv.models import VisionModel
from phonecv.preprocessing import Preprocessing


def coloured_folder(root: Path, *, classes: int = 4, each: int = 5) -> Path:
    """Noise pictures of odd sizes."""
    generator = np.random.default_rng(0)
    for label in range(classes):
        folder = root / "val" / f"class{label}"
        folder.mkdir(parents=True)
        for number in range(each):
            height, width = generator.integers(40, 90, 2)
            noise = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
            Image.fromarray(noise).save(folder / f"{number}.png")
    return root


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def tiny_model(classes: int) -> VisionModel:
    torch.manual_seed(0)
    model = phonecv.create_model("mobileone_s0", num_classes=classes, **TINY["mobileone_s0"]).train()
    with torch.no_grad():
        for _ in range(4):
            model(torch.randn(8, 3, 32, 32))
    model.preprocessing = Preprocessing(size=32, crop=0.8, interpolation="bilinear")
    return model.eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return coloured_folder(tmp_path_factory.mktemp("pictures"))


def test_counts_equal_a_plain_torchvision_loop(folder: Path, tmp_path: Path) -> None:
    model = tiny_model(4)
    result = evaluate(model, folder, batch_size=3, device="cpu", out=tmp_path / "out")

    transform = transforms.Compose(
        [
            transforms.Resize(40, transforms.InterpolationMode.BILINEAR),
            transforms.CenterCrop(32),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    images = datasets.ImageFolder(str(folder / "val"), transform)
    confusion = np.zeros((4, 4), dtype=int)
    for image, label in images:
        with torch.no_grad():
            confusion[label, model(image[None])[0].argmax()] += 1
    assert (result.confusion == confusion).all()
    assert result.count == len(images) == 20
    assert result.top1 == np.trace(confusion)
    assert result.top5 == 20
    assert [row.top1 for row in result.per_class] == np.diag(confusion).tolist()
    assert result.worst[0].true_probability == min(image.true_probability for image in result.images)
    assert not model.training

    out = tmp_path / "out"
    assert json.loads((out / "summary.json").read_text())["top1"] == result.top1
    rows = read_rows(out / "predictions.csv")
    assert sum(row["rank"] == "1" for row in rows) == result.top1
    assert not (out / "skipped.csv").exists()
    assert f"top-1, {result.top1} of 20" in (out / "report.html").read_text(encoding="utf-8")
    for name in ("confusion.png", "worst.png"):
        with Image.open(out / name) as picture:
            assert picture.size[0] > 300


def test_batch_size_changes_nothing(folder: Path) -> None:
    model = tiny_model(4)
    one, many = (evaluate(model, folder, batch_size=size, device="cpu") for size in (1, 64))
    assert (one.confusion == many.confusion).all()


def test_a_fixed_batch_is_padded(folder: Path) -> None:
    seen: list[int] = []
    plain = open_classifier(tiny_model(4), device="cpu")

    def run(images: torch.Tensor) -> torch.Tensor:
        seen.append(len(images))
        return plain.run(images)

    fixed = ClassifyRunner("fixed", run, plain.classes, plain.named, preprocessing=plain.preprocessing, batch=8)
    assert (evaluate(fixed, folder, batch_size=20).confusion == evaluate(plain, folder).confusion).all()
    assert seen == [8, 8, 8]


def test_unreadable_pictures_are_reported_and_counted_nowhere(
    tmp_path: Path, folder: Path, shared_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "data"
    shutil.copytree(folder, root)
    for name in ("truncated.jpg", "zero_byte.jpg", "text_inside.jpg", "huge_header.png", "float.tiff"):
        shutil.copy(shared_dir / "data" / "hostile" / "images" / name, root / "val" / "class1" / name)
    result = evaluate(tiny_model(4), root, device="cpu", out=tmp_path / "out")
    assert result.count == 20
    assert {path.name for path, _ in result.skipped} == {
        "truncated.jpg", "zero_byte.jpg", "text_inside.jpg", "huge_header.png", "float.tiff",
    }  # fmt: skip
    assert "zero_byte.jpg: empty file" in str(result)
    rows = read_rows(tmp_path / "out" / "skipped.csv")
    assert len(rows) == 5
    assert all(row["reason"] and Path(row["path"]).is_file() for row in rows)
    # A clean evaluation into the same folder leaves no list of the earlier one.
    write_evaluation(evaluate(tiny_model(4), folder, device="cpu"), tmp_path / "out")
    assert not (tmp_path / "out" / "skipped.csv").exists()


def test_only_unreadable_pictures_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "val" / "a").mkdir(parents=True)
    (tmp_path / "val" / "a" / "x.jpg").write_bytes(b"")
    with pytest.raises(UserError, match="none of 1 image could"):
        evaluate(tiny_model(1), tmp_path, device="cpu")


def test_class_names_of_the_model_decide(folder: Path) -> None:
    model = tiny_model(4)
    straight = evaluate(model, folder, device="cpu")
    model.class_names = ("class3", "class2", "class1", "class0")
    turned = evaluate(model, folder, device="cpu")
    assert (turned.confusion == straight.confusion[::-1]).all()
    model.class_names = ("a", "b", "c", "d")
    with pytest.raises(UserError, match=r"not among the model's .*--list-file"):
        evaluate(model, folder, device="cpu")
    with pytest.raises(UserError, match="4 classes and the model 6"):
        evaluate(tiny_model(6), folder, device="cpu")


def test_a_list_file_that_was_named_gives_outputs(folder: Path, tmp_path: Path) -> None:
    names = sorted(path.relative_to(folder).as_posix() for path in folder.glob("val/*/*.png"))
    listed = tmp_path / "outputs.txt"
    listed.write_text("".join(f"{name} {5 - int(name[9])}\n" for name in names))
    result = evaluate(tiny_model(6), folder, list_file=listed, device="cpu")
    assert result.confusion.sum(1).tolist() == [0, 0, 5, 5, 5, 5]
    listed.write_text("".join(f"{name} 6\n" for name in names))
    with pytest.raises(UserError):
        evaluate(tiny_model(6), folder, list_file=listed, device="cpu")


def test_nan_weights_score_nothing(folder: Path) -> None:
    model = tiny_model(4)
    with torch.no_grad():
        model.get_classifier().get_parameter("bias")[0] = float("nan")
    result = evaluate(model, folder, device="cpu")
    assert (result.top1, result.top5, result.count) == (0, 0, 20)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda folder: evaluate("mobileone_s9", folder), "did you mean 'mobileone_s"),
        (lambda folder: evaluate("no/such.onnx", folder), "no file"),
        (lambda folder: evaluate(tiny_model(4), folder, amp="int8"), "none, bf16, fp16"),  # type: ignore[call-overload]
        (lambda folder: evaluate(tiny_model(4), folder, batch_size=0), "batch_size=0"),
        (lambda folder: evaluate(tiny_model(4), folder, limit=0), "limit=0"),
        (lambda folder: evaluate(tiny_model(4), folder, device="cuda:77"), "cuda:77"),
        (lambda folder: evaluate(tiny_model(0), folder), "no classifier"),
        (lambda folder: evaluate(tiny_model(4), folder / "nowhere"), "nowhere"),
    ],
)
def test_mistakes_are_explained(folder: Path, call: Callable[[Path], object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        call(folder)


def test_limit_takes_the_first(folder: Path) -> None:
    result = evaluate(tiny_model(4), read_split(folder, "val"), limit=7, device="cpu")
    assert result.count == 7
    assert result.confusion.sum(1).tolist() == [5, 2, 0, 0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("data", "list_file", "expected"),
    [
        pytest.param("imagenet-samples", None, (171, 192, 200), marks=pytest.mark.long),
        pytest.param("imagenette-mini", None, (203, 272, 300), marks=pytest.mark.long),
        ("imagenette-mini", "val_imagenet_index.txt", (203, 272, 300)),
    ],
)
def test_the_real_checkpoint_scores_as_published_for_it(
    shared_dir: Path, data: str, list_file: str | None, expected: tuple[int, int, int]
) -> None:
    weights = shared_dir / "weights" / "mobileone_s0_apple_fused.pth"
    result = evaluate(weights, shared_dir / "data" / data, list_file=list_file, device="cpu")
    assert (result.top1, result.top5, result.count) == expected
    assert f"{expected[0]}/{expected[2]} top-1" in str(result)
