"""Evaluating detectors on folders: figures, classes, unreadable pictures, several processes."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import phonecv
from detect.scenes import CATEGORY_IDS, CLASSES, colour_runner, jittered, to_detections, write_scenes
from opened import open_detector
from phonecv.api import evaluate
from phonecv.data.coco.reader import CocoSplit, find_coco, read_coco
from phonecv.data.pictures.ahead import Pictures, read_pictures
from phonecv.detect.average_precision import average_precision
from phonecv.detect.evaluate import DetectMeter, match_outputs
from phonecv.detect.opening import DetectRunner
from phonecv.errors import UserError
from phonecv.training.world import World


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    return write_scenes(tmp_path / "scenes", 6)


def split_of(root: Path, *, masks: bool = False) -> CocoSplit:
    return read_coco(find_coco(root, "val"), masks=masks)


def as_predictions(split: CocoSplit, seed: int = 0, *, masks: bool = False) -> list[dict[str, Tensor]]:
    """Jittered truth as a detector would give it, one dictionary per picture."""
    truth = split.to_ground_truth()
    found = to_detections(
        jittered(truth, seed),
        [image["id"] for image in truth["images"]],
        split.category_ids,
    )
    predictions = []
    for place, image in enumerate(truth["images"]):
        own = found.of_picture(place)
        prediction = {
            "boxes": torch.from_numpy(own.boxes),
            "scores": torch.from_numpy(own.scores),
            "labels": torch.from_numpy(own.labels),
        }
        if masks:
            grid = torch.zeros(len(own), 1, image["height"], image["width"])
            for row, (x0, y0, x1, y1) in enumerate(own.boxes.round().astype(int)):
                grid[row, 0, y0:y1, x0:x1] = 0.9
            prediction["masks"] = grid
        predictions.append(prediction)
    return predictions


def batch(places: Sequence[int], errors: Sequence[str] | None = None) -> Pictures:
    return Pictures(torch.tensor(list(places)), list(errors or [""] * len(places)), [])


# ------------------------------------------------------------------------------------------- meter


@pytest.mark.parametrize("masks", [False, True])
def test_the_meter_gives_cocos_figures(scenes: Path, masks: bool) -> None:
    split = split_of(scenes, masks=masks)
    predictions = as_predictions(split, masks=masks)
    meter = DetectMeter(split, masks=masks)
    for start in range(0, len(split), 4):
        places = range(start, min(start + 4, len(split)))
        meter.update([predictions[place] for place in places], batch(places))
    figures = meter.result(World())
    found = meter.collected()[1]
    expected = average_precision(split.to_ground_truth(), found, split.category_ids, "bbox").figures()
    assert {name: figures[name] for name in expected} == pytest.approx(expected, nan_ok=True)
    assert figures["images"] == len(split)
    assert ("mask_ap" in figures) == masks
    assert 5 < figures["ap"] < 95


@dataclasses.dataclass(frozen=True)
class Among(World):
    """One of two processes whose other half is known."""

    other: Any = None

    def gather(self, value: Any) -> list[Any]:
        # The figures are computed by the first process; everything else comes from both.
        return [value] if isinstance(value, dict) else [value, self.other]


def test_several_processes_count_every_picture_once(scenes: Path) -> None:
    split = split_of(scenes)
    predictions = as_predictions(split)
    whole = DetectMeter(split, masks=False)
    whole.update(predictions, batch(range(len(split))))
    first, second = DetectMeter(split, masks=False), DetectMeter(split, masks=False)
    # The second evaluates two pictures of the first again, as padded samplers make it.
    for meter, places in ((first, [0, 2, 4]), (second, [1, 3, 5, 0, 2])):
        meter.update([predictions[place] for place in places], batch(places))
    both = first.result(Among(size=2, other=second.collected()))
    assert both == pytest.approx(whole.result(World()), nan_ok=True)


def test_repeated_and_unreadable_pictures_count_once_and_never(scenes: Path) -> None:
    split = split_of(scenes)
    predictions = as_predictions(split)
    meter = DetectMeter(split, masks=False)
    meter.update(predictions[:4], batch(range(4)))
    meter.update(predictions[2:6], batch(range(2, 6), ["", "", "", "damaged"]))
    seen, found = meter.collected()
    assert seen == [0, 1, 2, 3, 4]
    assert len(found) == sum(len(one["scores"]) for one in predictions[:5])
    part = split.select(seen)
    expected = average_precision(part.to_ground_truth(), found, split.category_ids, "bbox").figures()
    figures = meter.result(World())
    assert {name: figures[name] for name in expected} == pytest.approx(expected, nan_ok=True)
    assert figures["images"] == 5


def test_numbers_that_are_none_are_left_out_and_counted(scenes: Path) -> None:
    split = split_of(scenes)
    predictions = as_predictions(split)
    predictions[0]["scores"][0] = math.nan
    predictions[2]["boxes"][0, 3] = math.inf
    meter = DetectMeter(split, masks=False)
    meter.update(predictions, batch(range(len(split))))
    assert meter.broken == 2
    assert math.isfinite(meter.result(World())["ap"])


def test_the_meter_of_pictures_without_objects(scenes: Path) -> None:
    split = split_of(scenes)
    meter = DetectMeter(split, masks=False)
    assert split.object_counts[1] == 0
    meter.update([as_predictions(split)[1]], batch([1]))
    figures = meter.result(World())
    assert math.isnan(figures["ap"])
    assert figures["images"] == 1


# ---------------------------------------------------------------------------------------- evaluation


@pytest.mark.parametrize("masks", [False, True])
def test_a_detector_that_sees_colours(scenes: Path, masks: bool) -> None:
    result = evaluate(colour_runner(masks=masks), scenes, workers=1)
    assert result.count == 6
    assert result.classes == tuple(name for _, name in sorted(zip(CATEGORY_IDS, CLASSES, strict=True)))
    assert result.figures["ap50"] > 20
    # One detection for each colour of a picture: of several objects of a class at most one is found.
    assert result.judged.classes.recall.max() <= 1
    assert result.confusion.sum() == result.judged.classes.objects.sum() + result.confusion[-1].sum()
    assert ("mask_ap" in result.figures) == masks
    assert "AP50" in str(result)
    assert str(result).count("\n") == int(masks) + 1
    summary = json.loads(json.dumps(result.summary(), allow_nan=False))
    assert summary["count"] == 6
    assert summary["ap"] == pytest.approx(result.figures["ap"], abs=1e-5)


def test_batches_and_threads_change_nothing(scenes: Path) -> None:
    results = [
        evaluate(colour_runner(), scenes, batch_size=size, workers=workers)
        for size, workers in ((1, 0), (4, 0), (4, 3))
    ]
    assert len({json.dumps({**r.summary(), "seconds": 0}) for r in results}) == 1


def test_a_limit_counts_only_what_was_seen(scenes: Path) -> None:
    progress: list[tuple[int, int]] = []

    def note(done: int, total: int) -> None:
        progress.append((done, total))

    limited = evaluate(colour_runner(), scenes, limit=3, batch_size=2, on_progress=note)
    assert progress == [(2, 3), (3, 3)]
    assert limited.count == len(limited.pictures) == 3
    split = split_of(scenes).select(range(3))
    assert evaluate(colour_runner(), split).figures == pytest.approx(limited.figures, nan_ok=True)
    assert limited.judged.classes.objects.sum() == split.object_counts.sum() - split.crowds


def test_the_threshold_is_found_or_taken(scenes: Path) -> None:
    free, fixed = (evaluate(colour_runner(), scenes, threshold=value) for value in (None, 0.6))
    assert fixed.threshold == 0.6
    assert 0 < free.threshold < 0.9
    assert free.figures == pytest.approx(fixed.figures, nan_ok=True)
    assert fixed.judged.pictures.found.sum() < free.judged.pictures.found.sum()


def test_unreadable_pictures_are_listed_and_count_nowhere(scenes: Path) -> None:
    (scenes / "images" / "val" / "002.png").write_bytes(b"\x89PNG\r\n\x1a\nno picture")
    result = evaluate(colour_runner(), scenes)
    assert result.count == 5
    ((path, reason),) = result.skipped
    assert path.name == "002.png"
    assert "damaged" in reason
    assert "002.png" in str(result)
    kept = split_of(scenes).select([0, 1, 3, 4, 5])
    assert result.figures == pytest.approx(evaluate(colour_runner(), kept).figures, nan_ok=True)


def test_no_readable_picture_is_an_error(scenes: Path) -> None:
    for path in (scenes / "images" / "val").iterdir():
        path.write_bytes(b"")
    with pytest.raises(UserError, match=r"none of 6 images could be read.*000\.png: empty file"):
        evaluate(colour_runner(), scenes)


def test_a_picture_of_another_size_is_noted(scenes: Path) -> None:
    path = scenes / "images" / "val" / "000.png"
    with Image.open(path) as image:
        image.resize((50, 50)).save(path)
    assert any("another size" in note for note in evaluate(colour_runner(), scenes).notes)


def test_a_data_set_without_any_object(scenes: Path) -> None:
    file = scenes / "annotations" / "instances_val.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | {"annotations": []}))
    result = evaluate(colour_runner(), scenes)
    assert math.isnan(result.figures["ap"])
    assert "AP -" in str(result)
    assert result.summary()["ap"] is None


def test_boxes_alone_are_evaluated_where_there_are_no_masks(scenes: Path) -> None:
    file = scenes / "annotations" / "instances_val.json"
    content = json.loads(file.read_text())
    for entry in content["annotations"]:
        del entry["segmentation"]
    file.write_text(json.dumps(content))
    result = evaluate(colour_runner(masks=True), scenes)
    assert "mask_ap" not in result.figures
    assert any("only boxes" in note for note in result.notes)
    assert result.figures["ap50"] > 20


# -------------------------------------------------------------------------------------------- classes


def test_classes_are_matched_by_name(scenes: Path) -> None:
    expected = evaluate(colour_runner(), scenes).figures
    swapped = DetectRunner(
        "swapped",
        lambda pictures: [{**one, "labels": 3 - one["labels"]} for one in colour_runner().run(pictures)],
        ("dog", "Cat", "box", "BALL"),
    )
    result = evaluate(swapped, scenes)
    assert result.figures == pytest.approx(expected, nan_ok=True)
    assert any("1 of the model's 4 classes" in note for note in result.notes)


def test_what_the_data_does_not_have_is_left_out(scenes: Path) -> None:
    also = DetectRunner(
        "more",
        lambda pictures: [
            {name: torch.cat([column, column]) for name, column in one.items()}
            | {"labels": torch.cat([one["labels"], one["labels"] + 3])}
            for one in colour_runner().run(pictures)
        ],
        (*CLASSES, "x", "y", "z"),
    )
    assert evaluate(also, scenes).figures == pytest.approx(evaluate(colour_runner(), scenes).figures, nan_ok=True)


def test_a_model_without_names_goes_by_order(scenes: Path) -> None:
    ordered = tuple(name for _, name in sorted(zip(CATEGORY_IDS, CLASSES, strict=True)))
    notes: list[str] = []
    outputs = match_outputs(colour_runner(classes=("0", "1", "2"), named=False), split_of(scenes), notes)
    assert outputs.tolist() == [0, 1, 2]
    assert not notes
    assert split_of(scenes).classes == ordered
    with pytest.raises(UserError, match="3 classes and the model 2"):
        match_outputs(colour_runner(classes=("0", "1"), named=False), split_of(scenes), [])


def test_unknown_classes_are_named(scenes: Path) -> None:
    with pytest.raises(UserError, match=r"cat.*not among the model's.*trained on"):
        evaluate(colour_runner(classes=("ball", "box", "dog")), scenes)


# ------------------------------------------------------------------------------------------ mistakes


def test_a_data_folder_of_classifiers_is_recognised(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "val" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "val" / name / "1.png")
    for root in (tmp_path, tmp_path / "val"):
        with pytest.raises(UserError, match="folder of pictures for each class"):
            evaluate(colour_runner(), root)


def test_other_mistakes_are_named(scenes: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({"data": tmp_path / "empty"}, "no annotations of 'val'"),
        ({"data": tmp_path / "absent"}, "no such folder"),
        ({"data": scenes, "split": "test"}, "no annotations of 'test'"),
        ({"data": scenes, "batch_size": 0}, "batch_size=0"),
        ({"data": scenes, "limit": 0}, "limit=0"),
        ({"data": scenes, "threshold": 1.5}, "threshold=1.5"),
        ({"data": scenes, "images": "nowhere"}, "no such folder of pictures"),
    )
    for arguments, message in cases:
        with pytest.raises(UserError, match=message):
            evaluate(colour_runner(), arguments.pop("data"), **arguments)


def test_what_detects_nothing_is_refused(scenes: Path, tmp_path: Path) -> None:
    from conftest import TINY

    classifier = phonecv.create_model("emo_1m", num_classes=3, **TINY["emo_1m"])
    with pytest.raises(UserError, match="a classifier, not a detector"):
        open_detector(phonecv.save_checkpoint(classifier, tmp_path / "a.safetensors"))
    with pytest.raises(UserError, match="there is no file"):
        open_detector(tmp_path / "absent.safetensors")
    with pytest.raises(UserError, match="amp='fp8'"):
        evaluate(tmp_path / "a.safetensors", scenes, amp="fp8")


# -------------------------------------------------------------------------------------------- results


@pytest.mark.usefixtures("undrawn")
def test_written_detections_give_the_same_figures(scenes: Path, tmp_path: Path) -> None:
    result = evaluate(colour_runner(masks=True), scenes, out=tmp_path / "out")
    again = evaluate(tmp_path / "out" / "detections.json", scenes)
    assert again.figures == result.figures  # to the last bit
    np.testing.assert_array_equal(again.confusion, result.confusion)
    assert again.found.masks == result.found.masks


def test_results_without_pictures(scenes: Path, tmp_path: Path) -> None:
    file = tmp_path / "truth.json"
    file.write_bytes((scenes / "annotations" / "instances_val.json").read_bytes())
    results = tmp_path / "results.json"
    results.write_text(json.dumps(jittered(json.loads(file.read_text()), 1)))
    result = evaluate(results, file, out=tmp_path / "out")
    assert result.figures == pytest.approx(evaluate(results, scenes).figures, nan_ok=True)
    assert (tmp_path / "out" / "precision_recall.png").is_file()
    assert not (tmp_path / "out" / "best.png").exists()


@pytest.mark.usefixtures("undrawn")
def test_the_public_function_goes_by_the_model(scenes: Path, tmp_path: Path) -> None:
    result = phonecv.evaluate(colour_runner(), scenes, out=tmp_path / "out", threshold=0.5)
    assert result.threshold == 0.5
    again = phonecv.evaluate(tmp_path / "out" / "detections.json", scenes)
    assert again.figures == result.figures
    with pytest.raises(UserError, match="reduce_zero_label is for a segmenter"):
        phonecv.evaluate(colour_runner(), scenes, reduce_zero_label=True)  # type: ignore[call-overload]
    with pytest.raises(UserError, match=r"limit is for .* is a file of COCO results"):
        phonecv.evaluate(tmp_path / "out" / "detections.json", scenes, limit=2)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("results_nan_score", "score"),
        ("results_unknown_image", "image_id"),
        ("truncated", "JSON"),
        ("good", "not its results"),
    ],
)
def test_hostile_results(shared_dir: Path, name: str, message: str) -> None:
    folder = shared_dir / "data" / "hostile" / "coco"
    with pytest.raises(UserError, match=message):
        evaluate(folder / f"{name}.json", folder / "good.json")


def test_hostile_but_usable(shared_dir: Path) -> None:
    folder = shared_dir / "data" / "hostile" / "coco"
    assert math.isfinite(evaluate(folder / "results_good.json", folder / "good.json").figures["ap"])
    assert evaluate(folder / "results_empty.json", folder / "good.json").figures["ap"] == 0
    empty = evaluate(folder / "results_good.json", folder / "no_annotations.json")
    assert math.isnan(empty.figures["ap"])


# -------------------------------------------------------------------------------------------- reading


def test_pictures_come_in_order_and_no_further_than_needed(tmp_path: Path) -> None:
    paths = []
    for number in range(9):
        paths.append(tmp_path / f"{number}.png")
        Image.new("RGB", (4 + number, 3), (number, 0, 0)).save(paths[-1])
    paths[4].write_bytes(b"")
    for workers in (0, 2):
        batches = list(read_pictures(paths, 2, workers))
        assert [index for batch_ in batches for index in batch_.indices.tolist()] == list(range(9))
        tensors = [tensor for batch_ in batches for tensor in batch_.tensors]
        assert [int(tensor[0, 0, 0]) for tensor in tensors] == [0, 1, 2, 3, 5, 6, 7, 8]
        assert all(tensor.shape == (3, 3, 4 + int(tensor[0, 0, 0])) for tensor in tensors)
        assert [bool(error) for batch_ in batches for error in batch_.errors] == [n == 4 for n in range(9)]
    stopped = read_pictures(paths, 2, 2)
    next(stopped)
    stopped.close()


def perfect(root: Path) -> Path:
    """Results that find every object of the validation split."""
    file = root / "perfect.json"
    truth = json.loads((root / "annotations" / "instances_val.json").read_text())["annotations"]
    rows = [{key: one[key] for key in ("image_id", "category_id", "bbox")} | {"score": 0.9} for one in truth]
    file.write_text(json.dumps(rows))
    return file


def test_impossible_areas_do_not_hide_objects(scenes: Path) -> None:
    results, file = perfect(scenes), scenes / "annotations" / "instances_val.json"
    plain = evaluate(results, scenes).figures
    assert plain["ap"] == 100
    for area in (0, 1e12):
        content = json.loads(file.read_text())
        for record in content["annotations"]:
            record["area"] = area
        file.write_text(json.dumps(content))
        result = evaluate(results, scenes)
        assert result.figures["ap"] == 100
        assert any(" area" in note for note in result.notes)


def test_a_file_without_objects_says_so(scenes: Path) -> None:
    results, file = perfect(scenes), scenes / "annotations" / "instances_val.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | {"annotations": []}))
    assert any("nothing to find, and no average precision" in note for note in evaluate(results, scenes).notes)


def test_boxes_of_another_layout_by_an_option(scenes: Path) -> None:
    results, file = perfect(scenes), scenes / "annotations" / "instances_val.json"
    content = json.loads(file.read_text())
    for record in content["annotations"]:
        left, top, width, height = record["bbox"]
        record["bbox"] = [left, top, left + width, top + height]
    file.write_text(json.dumps(content))
    assert evaluate(results, scenes, boxes="xyxy").figures["ap"] == 100
    with pytest.raises(UserError, match="xyxy"):
        evaluate(results, scenes, boxes="corners")  # type: ignore[arg-type]
