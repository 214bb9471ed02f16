"""Pictures are drawn for whatever names and numbers come; what they look like is for eyes."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from phonecv import plots
from phonecv.errors import UserError
from phonecv.plots import legible, read_series, save_bars, save_confusion, save_curves, save_image_grid

ODD = ["plain", "$x_1$ 100%", "日本語", "a\nb\tc", "\udce9 broken", "x" * 200, "", "🙂"]


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


def write_table(path: Path, rows: list[dict[str, object]]) -> Path:
    names = list(dict.fromkeys(name for row in rows for name in row))
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_series_skip_empty_cells_and_split_by_phase(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"epoch": 1, "split": "train", "loss": 2.0, "top1": ""},
        {"epoch": 1, "split": "val", "loss": 2.5, "top1": 10},
        {"epoch": 2, "split": "train", "loss": "nan", "top1": ""},
    ]
    series = read_series(write_table(tmp_path / "m.csv", rows))
    assert series == {
        "loss (train)": ([1.0], [2.0]), "loss (val)": ([1.0], [2.5]), "top1 (val)": ([1.0], [10.0]),
    }  # fmt: skip


@pytest.mark.parametrize("score", ["ema_ap", "val_ap50", "val_mask_ap", "val_miou"])
def test_curves_have_a_panel_for_the_score_of_any_task(tmp_path: Path, score: str) -> None:
    rows: list[dict[str, object]] = [{"step": s, "loss": 3 / s, score: 10 + s} for s in (1, 2, 3)]
    wide = size_of(save_curves(write_table(tmp_path / "a.csv", rows), tmp_path / "a.png"))
    without: list[dict[str, object]] = [{"step": s, "loss": 3 / s} for s in (1, 2, 3)]
    narrow = size_of(save_curves(write_table(tmp_path / "b.csv", without), tmp_path / "b.png"))
    assert wide[0] > 1.5 * narrow[0]


def test_curves_draw_whatever_losses_there_are(tmp_path: Path) -> None:
    both: list[dict[str, object]] = [
        {"step": s, "epoch": s / 10, "lr": 0.1 / s, "loss": 3 / s, "ce": 2 / s, "kd": 1 / s, "val_top1": 50 + s,
         "ema_top1": "", "images_per_second": 99}
        for s in range(1, 30)
    ]  # fmt: skip
    wide = size_of(save_curves(write_table(tmp_path / "a.csv", both), tmp_path / "a.png"))
    narrow = size_of(save_curves(write_table(tmp_path / "b.csv", [{"step": 1, "loss": 1}]), tmp_path / "b.png"))
    assert wide[0] > 2 * narrow[0]
    with pytest.raises(UserError, match=r"no loss"):
        save_curves(write_table(tmp_path / "c.csv", [{"epoch": 1, "speed": 3}]), tmp_path / "c.png")
    with pytest.raises(UserError, match="no metrics"):
        save_curves(tmp_path / "absent.csv", tmp_path / "d.png")


def test_a_run_has_no_curve_twice(tmp_path: Path) -> None:
    """Losses of steps.csv take the place of those of the epochs, and a single part of the loss is the loss."""
    epochs: list[dict[str, object]] = [
        {
            "epoch": e,
            "train_loss": 3 / e,
            "lr": 0.1,
            "val_top1": 50 + e,
            "val_loss": 2 / e,
            "ema_top1": 40,
            "ema_loss": 1,
        }
        for e in (1, 2)
    ]
    steps: list[dict[str, object]] = [{"step": s, "epoch": s / 4, "loss": 3 / s, "lr": 0.1 / s} for s in range(1, 9)]
    table = write_table(tmp_path / "metrics.csv", epochs)
    write_table(tmp_path / "steps.csv", steps)
    series = plots._run_series(table)
    found = {curve.label: len(curve.x) for curve in plots._losses(series)}
    assert found == {"training": 8, "validation": 2, "validation, averaged weights": 2}
    assert [curve.label for curve in plots._scores(series, "top1")] == ["trained weights", "averaged weights"]
    alone = write_table(tmp_path / "alone" / "metrics.csv", [{"epoch": 1, "loss": 2.0, "ce": 2.0}])
    assert [curve.label for curve in plots._losses(plots._run_series(alone))] == ["training"]
    assert size_of(save_curves(table, tmp_path / "c.png", score="top1"))[0] > 1000


@pytest.mark.parametrize("classes", [1, 8, 50, 300])
def test_confusion_of_any_size(tmp_path: Path, classes: int) -> None:
    generator = np.random.default_rng(0)
    matrix = generator.integers(0, 5, (classes, classes)) + np.eye(classes, dtype=int)
    names = (ODD * classes)[:classes]
    assert min(size_of(save_confusion(matrix, names, tmp_path / "c.png", title="$t$"))) > 200
    # Few true classes in a large model share the column of the others.
    matrix[3:] = 0
    assert min(size_of(save_confusion(matrix, names, tmp_path / "few.png"))) > 200


def test_confusion_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no images"):
        save_confusion(np.zeros((3, 3)), ["a", "b", "c"], tmp_path / "c.png")


def test_grid_takes_odd_captions_and_missing_pictures(tmp_path: Path) -> None:
    pictures = [None if i == 2 else Image.new("RGB", (1 + 300 * (i % 2), 40)) for i in range(len(ODD))]
    path = save_image_grid(pictures, ODD, tmp_path / "g.png", title="$t$\n" + "x" * 300)
    assert min(size_of(path)) > 200
    with pytest.raises(UserError, match="no images"):
        save_image_grid([], [], tmp_path / "g.png")


def test_bars(tmp_path: Path) -> None:
    assert size_of(save_bars({name: i + 0.5 for i, name in enumerate(ODD)}, tmp_path / "b.png", unit="ms"))[0] > 300
    with pytest.raises(UserError, match="no values"):
        save_bars({}, tmp_path / "b.png")


def test_legible_keeps_both_ends() -> None:
    assert legible("abcdefghij", 6) == "abcd…j"
    assert legible("short", 6) == "short"
    assert legible("日本 ok") == "?? ok"


def test_pictures_are_reproducible(tmp_path: Path) -> None:
    first, second = (save_bars({"a": 1.0}, tmp_path / name).read_bytes() for name in ("1.png", "2.png"))
    assert first == second
