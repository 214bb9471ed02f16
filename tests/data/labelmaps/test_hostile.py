"""Every bad label map of the reference folder, with the outcome its manifest asks for."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from phonecv.data.audit import audit
from phonecv.data.labelmaps import ade20k
from phonecv.data.labelmaps.folders import NO_LABEL, NO_PICTURE
from phonecv.data.labelmaps.listing import IGNORE, LabelSplit, read_label_split
from phonecv.data.labelmaps.loading import SegmentationBatch, SegmentationDataset, make_segmentation_loader
from phonecv.data.labelmaps.transforms import train_transform
from phonecv.data.loading.loader import TrainBatches, eval_batches
from phonecv.data.pictures.opening import ImageError
from phonecv.preprocessing import DensePreprocessing
from phonecv.segment.losses import pixel_cross_entropy
from phonecv.segment.metrics import SegmentMeter

#: Pair -> None where it is read, or what the message says beside the name of the file.
OUTCOMES = {
    "good": None,
    "value_200": r"label value 200 \(\d+ px\) with 150 classes",
    "value_255": None,
    "all_ignored": None,
    "size_differs": "label map of 70 x 50 pixels for a picture of 160 x 120",
    "rgb_label": "a colour picture",
    "palette_label": None,
    "label16": None,
    "label_missing": NO_LABEL,
    "label_empty": "empty file",
    "label_truncated": None,  # the reference file is whole, after all; `test_seg_files` cuts one itself
    "label_jpeg": "saved as JPEG",
    "image_missing": NO_PICTURE,
}
UNPAIRED = ("label_missing", "image_missing")
BAD = [name for name, reason in OUTCOMES.items() if reason is not None and name not in UNPAIRED]


@pytest.fixture
def hostile(shared_dir: Path) -> LabelSplit:
    return read_label_split(shared_dir / "data/hostile/seg", "val", classes=ade20k.CLASSES, reduce_zero_label=True)


def place(split: LabelSplit, name: str) -> int:
    return [path.stem for path in split.images].index(name)


def test_the_table_is_complete(shared_dir: Path) -> None:
    with (shared_dir / "data/hostile/MANIFEST.csv").open(newline="") as file:
        names = {Path(row["path"]).stem for row in csv.DictReader(file) if row["path"].startswith("seg/")}
    assert names == set(OUTCOMES)


@pytest.mark.parametrize("name", OUTCOMES)
def test_one_pair(hostile: LabelSplit, name: str) -> None:
    reason = OUTCOMES[name]
    if name in UNPAIRED:
        assert (name, reason) in {(path.stem, why) for path, why in hostile.left_out}
        assert any(name in problem for problem in hostile.problems)
        return
    index = place(hostile, name)
    if reason is not None:
        with pytest.raises(ImageError, match=reason) as raised:
            hostile.read(index)
        assert f"{name}.png" in str(raised.value)
        return
    picture, labels = hostile.read(index)
    assert labels.shape == (picture.height, picture.width) == (120, 160)
    with Image.open(hostile.labels[index]) as image:
        raw = np.asarray(image).astype(int)
    np.testing.assert_array_equal(labels, np.where((raw == 0) | (raw == 255), IGNORE, raw - 1))
    if name in ("value_255", "all_ignored"):
        assert (labels == IGNORE).any()
    if name == "all_ignored":
        assert (labels == IGNORE).all()


def test_evaluation_leaves_bad_pairs_out(hostile: LabelSplit) -> None:
    dataset = SegmentationDataset(hostile, None, substitute=False)
    meter = SegmentMeter(150)
    errors: dict[str, str] = {}
    for batch in make_segmentation_loader(dataset, eval_batches(len(hostile), 4)):
        assert isinstance(batch, SegmentationBatch)
        logits = [torch.zeros(150, *size) for size in batch.sizes]
        meter.update(logits, batch)
        errors |= {hostile.images[i].stem: error for i, error in zip(batch.indices.tolist(), batch.errors, strict=True)}
    assert sorted(name for name, error in errors.items() if error) == sorted(BAD)
    labelled = sum(
        int((hostile.read(index)[1] != IGNORE).sum())
        for index in range(len(hostile))
        if hostile.images[index].stem not in BAD
    )
    assert int(meter.scores.labelled.sum()) == labelled


def test_training_puts_others_in_their_place(hostile: LabelSplit) -> None:
    transform = train_transform(64, DensePreprocessing(size=64, longest=256))
    dataset = SegmentationDataset(hostile, transform, 5, substitute=True)
    seen: set[str] = set()
    for epoch in range(2):
        for batch in make_segmentation_loader(dataset, TrainBatches(len(hostile), 3, seed=1).epoch(epoch)):
            assert isinstance(batch, SegmentationBatch)
            assert isinstance(batch.labels, torch.Tensor)
            loss = pixel_cross_entropy(torch.zeros(len(batch), 150, 64, 64), batch.labels)
            assert loss.isfinite()
            for index, error in zip(batch.indices.tolist(), batch.errors, strict=True):
                name = hostile.images[index].stem
                assert bool(error) == (name in BAD), (name, error)
                seen.add(name)
    assert set(BAD) <= seen


def test_the_loss_of_nothing_is_zero() -> None:
    loss = pixel_cross_entropy(torch.randn(1, 4, 8, 8), torch.full((1, 8, 8), IGNORE))
    assert float(loss) == 0


def test_the_audit_names_every_bad_file(hostile: LabelSplit) -> None:
    report = audit(hostile.root)
    named = {Path(finding.path).stem: finding for finding in report.errors}
    for name in ("label_missing", "label_empty", "label_jpeg", "rgb_label", "size_differs"):
        assert name in named, report.table()
    assert "image_missing" in report.table()
