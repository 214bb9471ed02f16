"""Large pictures in tiles: known objects, each found once and whole."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from conftest import mostly_long
from detect.detectors import pictures, small
from detect.scenes import CLASSES
from exporting.dense_files import busy, busy_masks, pretend
from opened import open_detector
from phonecv.accelerating.network import accelerate
from phonecv.api import evaluate, predict
from phonecv.detect.detections import decode_masks
from phonecv.detect.opening import DetectRunner
from phonecv.detect.postprocess import Found
from phonecv.detect.tiling import Tiles, find_in_tiles
from phonecv.detect.verbs import OpeningOptions
from phonecv.errors import UserError
from phonecv.exporting import export
from phonecv.exporting.formats import EXPORTERS

SIDE = 100


def scattered(height: int, width: int, sizes: Sequence[tuple[int, int]], seed: int) -> tuple[Tensor, Tensor]:
    """A black picture with rectangles of these widths and heights that do not touch, and their boxes.

    The red of a rectangle is its number from 1, its green its class.
    """
    generator = np.random.default_rng(seed)
    picture = np.zeros((3, height, width), np.uint8)
    boxes: list[list[int]] = []
    while len(boxes) < len(sizes):
        w, h = sizes[len(boxes)]
        x, y = int(generator.integers(0, width - w + 1)), int(generator.integers(0, height - h + 1))
        if picture[0, max(0, y - 3) : y + h + 3, max(0, x - 3) : x + w + 3].any():
            continue
        boxes.append([x, y, x + w, y + h])
        picture[0, y : y + h, x : x + w] = len(boxes)
        picture[1, y : y + h, x : x + w] = len(boxes) % 3
    return torch.from_numpy(picture), torch.tensor(boxes, dtype=torch.float32)


def seen(images: Sequence[Tensor], *, masks: bool = False) -> list[Found]:
    """A detector that knows: what can be seen of every rectangle, surer of pieces than of what is whole."""
    results = []
    for image in images:
        numbers = image[0].unique()
        numbers = numbers[numbers > 0].tolist()
        inside = (
            torch.stack([image[0] == number for number in numbers]) if numbers else torch.zeros(0, *image.shape[1:])
        )
        rows = [(one.any(1).nonzero()[:, 0], one.any(0).nonzero()[:, 0]) for one in inside]
        boxes = torch.tensor([[x[0], y[0], x[-1] + 1, y[-1] + 1] for y, x in rows], dtype=torch.float32).reshape(-1, 4)
        scores = 0.9 - boxes.sub(boxes.roll(2, 1)).abs().prod(1).div(1e7) if len(boxes) else torch.zeros(0)
        order = scores.argsort(descending=True)
        columns: dict[str, Any] = {
            "boxes": boxes[order],
            "scores": scores[order],
            "labels": torch.tensor([number % 3 for number in numbers], dtype=torch.int64)[order],
        }
        if masks:
            columns["masks"] = inside[order][:, None].float()
        results.append(Found(columns, torch.zeros(0)))
    return results


def tiled(picture: Tensor, tiles: Tiles, find: Any = seen, **options: Any) -> Found:
    return find_in_tiles(find, [picture], tiles, together=4, overlap=0.5, **options)[0]


def same_boxes(found: Any, wanted: Tensor) -> None:
    assert sorted(found["boxes"].tolist()) == sorted(wanted.tolist())


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("whole", [True, False])
def test_each_object_is_found_once_and_whole(seed: int, whole: bool) -> None:
    """Wherever borders cut them: each is whole in some tile, since none is larger than what two tiles share."""
    generator = np.random.default_rng(seed)
    sizes = [tuple(int(side) for side in generator.integers(6, 26, 2)) for _ in range(40)]
    picture, boxes = scattered(310, 430, sizes, seed)  # type: ignore[arg-type]
    found = tiled(picture, Tiles(SIDE, 0.3, whole))
    same_boxes(found, boxes)
    for box, label in zip(found["boxes"], found["labels"], strict=True):
        number = (boxes == box).all(1).nonzero().item() + 1
        assert label == number % 3
    assert (found["scores"].diff() <= 0).all()


@pytest.mark.parametrize("whole", [True, False])
def test_objects_larger_than_a_tile(whole: bool) -> None:
    """The whole picture shows them; without it their pieces are joined."""
    picture, boxes = scattered(420, 500, [(250, 40), (30, 260), (140, 130), (12, 9)], 3)
    found = tiled(picture, Tiles(SIDE, 0.3, whole), lambda images: seen(images, masks=True))
    same_boxes(found, boxes)
    masks = decode_masks(found["masks"].encode())
    for box, mask in zip(found["boxes"].long().tolist(), masks, strict=True):
        left, top, right, bottom = box
        assert mask.sum() == (right - left) * (bottom - top)
        assert mask[top:bottom, left:right].all()


def test_an_object_at_a_border() -> None:
    """Two tiles show a piece of it each, a third shows it whole and is less sure."""
    picture = torch.zeros(3, 100, 170, dtype=torch.uint8)
    picture[0, 20:40, 85:120] = 1  # tiles begin at 0 and 70
    found = tiled(picture, Tiles(SIDE, 0.3, False))
    assert found["boxes"].tolist() == [[85, 20, 120, 40]]
    pieces = seen([picture[:, :, :100], picture[:, :, 70:]])
    assert pieces[0]["scores"] > pieces[1]["scores"]  # the piece is surer ...
    assert found["scores"].item() == pieces[0]["scores"].item()  # ... and the object as sure as its surest piece


def test_a_piece_whose_whole_nobody_finds_stays() -> None:
    picture = torch.zeros(3, 100, 170, dtype=torch.uint8)
    picture[0, 20:40, 85:120] = 1

    def blind(images: Sequence[Tensor]) -> list[Found]:
        return seen([image * (image[0, 30, 15] == 0) if image.shape[2] == SIDE else image * 0 for image in images])

    assert tiled(picture, Tiles(SIDE, 0.3), blind)["boxes"].tolist() == [[85, 20, 100, 40]]


def test_neighbours_of_one_class_stay_apart() -> None:
    """Two objects side by side across a border, each whole in one of the tiles; and one that stands before another."""
    picture = torch.zeros(3, 100, 170, dtype=torch.uint8)
    picture[0, 20:40, 72:98] = 3
    picture[0, 20:40, 99:125] = 6
    picture[0, 60:95, 60:160] = 9
    picture[0, 70:75, 101:107] = 12
    found = tiled(picture, Tiles(SIDE, 0.3))
    assert set(found["labels"].tolist()) == {0}
    same_boxes(found, torch.tensor([[72.0, 20, 98, 40], [99, 20, 125, 40], [60, 60, 160, 95], [101, 70, 107, 75]]))


def test_classes_suppress_each_other_where_they_shall() -> None:
    def both(images: Sequence[Tensor]) -> list[Found]:
        found = seen(images)
        for one in found:
            one["boxes"], one["scores"] = one["boxes"].repeat(2, 1), torch.cat([one["scores"], one["scores"] / 2])
            one["labels"] = torch.cat([one["labels"], one["labels"] + 1])
        return found

    picture, boxes = scattered(200, 200, [(20, 20), (25, 12)], 0)
    assert len(tiled(picture, Tiles(SIDE), both)["boxes"]) == 4
    found = tiled(picture, Tiles(SIDE), both, agnostic=True)
    same_boxes(found, boxes)
    assert (found["scores"] > 0.5).all()


def test_a_small_picture_is_looked_at_once() -> None:
    picture, boxes = scattered(80, 90, [(20, 20), (25, 12)], 0)
    asked = []

    def counted(images: Sequence[Tensor]) -> list[Found]:
        asked.append(len(images))
        return seen(images)

    same_boxes(tiled(picture, Tiles(SIDE), counted), boxes)
    assert asked == [1]


def test_few_tiles_are_in_memory_at_a_time() -> None:
    shown: list[tuple[int, ...]] = []

    def noted(images: Sequence[Tensor]) -> list[Found]:
        assert len(images) <= 4
        shown.extend(tuple(image.shape[1:]) for image in images)
        return seen(images)

    tiled(torch.zeros(3, 1000, 700, dtype=torch.uint8), Tiles(SIDE, 0.0, False), noted)
    assert shown == [(SIDE, SIDE)] * 70


def test_the_most_objects_are_told(tmp_path: Path) -> None:
    picture, _ = scattered(310, 430, [(9, 9)] * 60, 1)
    Image.fromarray(picture.permute(1, 2, 0).numpy()).save(tmp_path / "a.png")
    run = partial(find_in_tiles, seen, tiles=Tiles(SIDE), together=4, overlap=0.5, most=20)
    find = DetectRunner("knows", run, CLASSES)
    (said,) = predict(find, tmp_path / "a.png")
    assert len(said) == 20
    assert said.left_out == "20 of at least 60 kept; --max-objects"
    assert said.left_out in str(said)
    assert said.to_dict()["left_out"] == said.left_out
    (few,) = predict(find, tmp_path / "a.png", threshold=0.95)
    assert (len(few), few.left_out) == (0, "")


# --------------------------------------------------------------------------------------- networks and files


def same(found: Sequence[Any], wanted: Sequence[Any]) -> int:
    for one, other in zip(found, wanted, strict=True):
        assert one["labels"].tolist() == other["labels"].tolist()
        torch.testing.assert_close(one["scores"], other["scores"], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(one["boxes"], other["boxes"], atol=1e-2, rtol=1e-3)
    return sum(len(one["labels"]) for one in found)


@pytest.mark.parametrize("decode", ["raw", "final"])
def test_networks_and_files_look_alike(decode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = pictures((150, 190), (90, 80))
    options = OpeningOptions(tile=96, overlap=0.25)
    wanted = open_detector(busy("ssdlite320"), options=options)(images)
    own = busy("ssdlite320", tiles={"side": 96, "overlap": 0.25})
    assert same(own(images), wanted) > 20
    path = pretend(own, tmp_path / "a.onnx", monkeypatch, decode=decode, size=(96, 96), batch=None)
    runner = open_detector(path)  # its record tells of the tiles
    assert runner.details["tiles"] == {"side": 96, "overlap": 0.25, "whole": True}
    same(runner(images), wanted)
    plain = busy("ssdlite320")
    assert same(open_detector(path, options=OpeningOptions(tile=0))(images), plain(images)) > 10
    assert len(wanted[0]["labels"]) > len(plain(images)[0]["labels"])


def test_masks_of_a_network_in_tiles() -> None:
    detector, tiles = busy_masks(), Tiles(96, 0.25)
    (image,) = pictures((130, 150))
    pasted = detector.in_tiles([image], tiles)[0]
    detector.paste = False
    (found,) = detector.in_tiles([image], tiles)
    assert detector.paste is False
    assert len(found["labels"]) == len(pasted["masks"]) > 10
    torch.testing.assert_close(decode_masks(found["masks"].encode()).float(), pasted["masks"][:, 0])
    # Those that one view shows alone are as that view has them.
    (whole,) = detector.find([image])
    rows = (found["boxes"][:, None] == whole["boxes"]).all(2).nonzero()
    assert len(rows) > 1
    own = decode_masks(whole["masks"].encode())
    for row, other in rows.tolist():
        assert torch.equal(pasted["masks"][row, 0].bool(), own[other])


def test_a_threshold_is_for_what_is_joined() -> None:
    """A piece makes its object sure enough, though the tile that shows it whole is not."""
    images, network = pictures((150, 190)), busy("ssdlite320")
    tile = {"tile": 96, "overlap": 0.25}
    every, strong = (open_detector(network, options=OpeningOptions(threshold=least, **tile)) for least in (0.0, 0.55))
    (wanted,), (found,) = every(images), strong(images)
    rows = wanted["scores"] >= 0.55
    assert 5 < rows.sum() < len(rows)
    same(
        [{name: column[found["scores"] >= 0.55] for name, column in found.items()}],
        [{name: column[rows] for name, column in wanted.items()}],
    )


def test_what_cannot_be() -> None:
    with pytest.raises(UserError, match=r"tiles of 10 pixels: a whole number >= 32"):
        Tiles(10)
    with pytest.raises(UserError, match=r"overlap by 1"):
        Tiles(40, 1.0)
    with pytest.raises(UserError, match="did you mean 'side'"):
        small("ssdlite320", options={"tiles": {"sid": 3}})
    with pytest.raises(UserError, match="give the side of the tiles"):
        open_detector(small("ssdlite320"), options=OpeningOptions(overlap=0.5))
    runner = open_detector(small("ssdlite320"))
    with pytest.raises(UserError, match="has its way of inference already"):
        open_detector(runner, options=OpeningOptions(tile=5))
    with pytest.raises(UserError, match=r"overlap=0\.95"):
        predict(runner, "a.png", overlap=0.95)
    with pytest.raises(UserError, match="threshold"):
        evaluate(runner, "data", tile=640)


@pytest.mark.parametrize("runtime", mostly_long(["onnxruntime", "openvino"], "onnxruntime"))
def test_faster_runtimes_look_alike(runtime: str) -> None:
    images, options = pictures((150, 190), (90, 80)), OpeningOptions(tile=96, overlap=0.25, max_objects=25)
    network = busy("ssdlite320")
    wanted = open_detector(network, options=options)(images)
    fast = accelerate(network, runtime=runtime)
    found = open_detector(fast, options=options)(images)
    assert same(found, wanted) == sum(len(one["labels"]) for one in wanted) > 25
    assert max(len(one["labels"]) for one in found) == 25
    assert fast.tiles is None  # the runner's own copy was asked


@pytest.mark.long
@pytest.mark.parametrize(
    ("format", "decode"), [("onnx", "final"), ("openvino", "raw"), ("litert", "raw"), ("executorch", "raw")]
)
def test_files_of_every_runtime_look_alike(format: str, decode: str, tmp_path: Path) -> None:
    images = pictures((150, 190))
    network = busy("ssdlite320", tiles={"side": 96, "overlap": 0.25})
    wanted = open_detector(network)(images)
    path = tmp_path / f"a{EXPORTERS[format].suffix}"
    export(network, path, decode=decode, size=(96, 96), verify=False)
    assert same(open_detector(path)(images), wanted) > 20
