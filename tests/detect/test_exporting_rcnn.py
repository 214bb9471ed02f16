"""Mask R-CNN in files: what each runtime gives, against the network itself."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from PIL import Image
from torch import Tensor, nn

import phonecv
from detect import test_mask_rcnn as mask_rcnn
from detect.scenes import CLASSES
from exporting.dense_files import busy_masks
from opened import open_detector
from phonecv.cli import main
from phonecv.detect.detections import encode_masks
from phonecv.detect.exporting_rcnn import _pool
from phonecv.detect.mask_rcnn import MaskRCNN
from phonecv.detect.masks import BoxMasks
from phonecv.detect.roi import pool, with_picture
from phonecv.errors import UserError
from phonecv.exporting import EXPORTERS, export
from phonecv.exporting.job import Job
from phonecv.exporting.onnx import exporter
from phonecv.exporting.onnx.exporter import write_graph
from phonecv.exporting.onnx.opening import start_session
from phonecv.exporting.opening import open_session

SIZE = (64, 96)
STRIDES = (4, 8, 16, 32)


def regions() -> Tensor:
    """Boxes of all levels, at the borders, thin ones, and four without area: ``1 P 4``."""
    empty = [[0, 0, 0, 0], [10, 10, 10, 10], [10, 10, 40, 10], [10, 10, 10, 40]]
    others = [[10, 10, 10.01, 10.01], [20, 20, 20.5, 60], [0, 0, 96, 64], [90, 60, 96, 64], [0, 0, 8, 8]]
    # For the coarser levels: larger than the maps, as pictures of this size have no such boxes.
    large = [[0, 0, 120, 120], [5, 8, 240, 250], [0, 3, 500, 600]]
    corner = torch.rand(20, 2, generator=torch.Generator().manual_seed(0)) * 60
    some = torch.cat([corner, corner + 1 + torch.rand(20, 2, generator=torch.Generator().manual_seed(1)) * 35], 1)
    return torch.cat([torch.tensor([*empty, *others, *large], dtype=torch.float32), some])[None]


class Pooling(nn.Module):
    """Maps of a picture and the features of fixed boxes in them."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("boxes", regions())

    def levels(self, batch: Tensor) -> list[Tensor]:
        return [F.avg_pool2d(batch, stride) for stride in STRIDES]

    def forward(self, batch: Tensor) -> tuple[Tensor, ...]:
        return (_pool(self.levels(batch), self.get_buffer("boxes").expand(batch.shape[0], -1, -1), 7),)


@torch.no_grad()
def pooled_by_the_network(batch: Tensor) -> Tensor:
    boxes = regions()
    picture = torch.arange(len(batch)).repeat_interleave(boxes.shape[1])
    return pool(Pooling().levels(batch), with_picture(picture, boxes[0].repeat(len(batch), 1)), 7, STRIDES)


def noise(count: int = 2) -> Tensor:
    return torch.randn(count, 3, *SIZE, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_pooling_is_the_networks_and_reads_no_empty_box(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = pooled_by_the_network(noise())
    honest, seen = torchvision.ops.roi_align, []

    def watched(maps: Tensor, boxes: Tensor, *more: Any, **named: Any) -> Tensor:
        seen.append(boxes)
        return honest(maps, boxes, *more, **named)

    monkeypatch.setattr(torchvision.ops, "roi_align", watched)
    torch.testing.assert_close(Pooling()(noise())[0], wanted)
    boxes = torch.cat(seen)
    assert len(boxes) == 4 * 2 * regions().shape[1]
    assert (boxes[:, 3:] > boxes[:, 1:3]).all()
    assert wanted.flatten(1).any(1).sum() == 2 * (regions().shape[1] - 4)


@pytest.fixture(scope="module")
def pooling_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pooling") / "pooling.onnx"
    write_graph(Job(Pooling().eval(), (noise(),), ("features",), "m"), path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_pooling_in_runtimes(pooling_file: Path, runtime: str) -> None:
    """Of boxes without area, too: OpenVINO's RoIAlign makes NaN of those."""
    batch = noise(3)
    if runtime == "onnxruntime":
        (found,) = start_session(pooling_file, 1).run(None, {"images": batch.numpy()})
    else:
        openvino = pytest.importorskip("openvino")
        core = openvino.Core()
        hints = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
        found = core.compile_model(core.read_model(pooling_file), "CPU", hints)(batch.numpy())[0]
    wanted = pooled_by_the_network(batch)
    assert np.abs(found - wanted.numpy()).max() < 1e-5 * wanted.abs().max()


# ----------------------------------------------------------------------------------- whole files


@pytest.fixture(scope="module")
def detector() -> MaskRCNN:
    """Few proposals, of all of which one block decides: the graph is traced in seconds."""
    made = busy_masks(candidates=50, proposals=30, max_detections=20)
    made.class_names = CLASSES
    return made


@pytest.fixture(scope="module")
def data(detector: MaskRCNN, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of the file's shape, and boxes and masks near some of what the detector finds in them."""
    root = tmp_path_factory.mktemp("data")
    (root / "images" / "val").mkdir(parents=True)
    (root / "annotations").mkdir()
    random = np.random.default_rng(0)
    listed, annotations = [], []
    images = [mask_rcnn.picture(*size, seed=seed) for seed, size in enumerate([SIZE, (128, 192), SIZE])]
    for number, (image, found) in enumerate(zip(images, detector(images), strict=True)):
        height, width = image.shape[1:]
        listed.append({"id": number, "file_name": f"{number}.png", "width": width, "height": height})
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(root / "images" / "val" / f"{number}.png")
        codes = encode_masks(found["masks"])
        pixels = (found["masks"] >= 0.5).sum((1, 2, 3)).tolist()
        for box, label, code, area in zip(
            found["boxes"].tolist(), found["labels"].tolist(), codes, pixels, strict=True
        ):
            x1, y1, x2, y2 = (np.array(box) + random.normal(0, 1.5, 4)).clip(0).tolist()
            if random.random() < 0.4 or x2 - x1 < 1 or y2 - y1 < 1 or area < 9:
                continue
            entry = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": area, "segmentation": code}
            more = {"id": len(annotations) + 1, "image_id": number, "category_id": label, "iscrowd": 0}
            annotations.append(entry | more)
    categories = [{"id": label, "name": name} for label, name in enumerate(CLASSES)]
    content = {"images": listed, "annotations": annotations, "categories": categories}
    (root / "annotations" / "instances_val.json").write_text(json.dumps(content))
    return root


def written(detector: MaskRCNN, path: Path, data: Path) -> Path:
    """The file, compared by the export on the very pictures it is then tried on."""
    result = export(detector, path, decode="final", size=SIZE, images=data / "images" / "val")
    assert result.difference is not None
    assert result.difference < 1e-4
    return path


@pytest.fixture(scope="module")
def onnx_file(detector: MaskRCNN, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(detector, tmp_path_factory.mktemp("onnx") / "a.onnx", data)


def same_objects(path: Path, detector: MaskRCNN) -> int:
    """Assert that a file finds in two pictures what the detector does, in its order; how many objects."""
    images = [mask_rcnn.picture(*SIZE, seed=seed) for seed in (0, 2)]
    prepared = detector.prepare(torch.stack(images))
    names = ("boxes", "scores", "labels", "count", "masks")
    outputs = dict(zip(names, open_session(path, threads=1)(prepared.batch.numpy()), strict=True))
    runner = open_detector(path)
    assert (runner.masks, runner.classes) == (True, CLASSES)
    for place, (wanted, shown) in enumerate(zip(detector(images), runner(images), strict=True)):
        count = len(wanted["scores"])
        assert outputs["count"][place] == count
        assert outputs["labels"][place].tolist() == wanted["labels"].tolist() + [-1] * (20 - count)
        for name in ("boxes", "scores", "masks"):
            assert not outputs[name][place, count:].any()
        assert shown["labels"].tolist() == wanted["labels"].tolist()
        for found in (outputs["scores"][place, :count], shown["scores"].numpy()):
            assert found == pytest.approx(wanted["scores"].numpy(), rel=1e-3)
        for found in (outputs["boxes"][place, :count], shown["boxes"].numpy()):
            assert np.abs(found - wanted["boxes"].numpy()).max() < 1e-4 * max(SIZE)
        assert isinstance(shown["masks"], BoxMasks)
        small = detector_masks(detector, images[place])
        assert np.abs(outputs["masks"][place, :count] - small).max() < 1e-3
        assert small.std() > 0.05
        apart = (shown["masks"].paste() - wanted["masks"]).abs()
        assert apart.mean() < 1e-4
    return int(outputs["count"].sum())


def detector_masks(detector: MaskRCNN, image: Tensor) -> np.ndarray:
    """Masks of a picture's objects as the head gives them."""
    detector.paste = False
    try:
        (found,) = detector([image])
    finally:
        detector.paste = True
    masks: Any = found["masks"]  # unpasted: not a tensor
    return masks.squares.numpy()


@pytest.mark.long
@pytest.mark.slow
def test_onnx(onnx_file: Path, detector: MaskRCNN) -> None:
    assert same_objects(onnx_file, detector) > 10


@pytest.mark.long
@pytest.mark.slow
def test_evaluation_and_prediction(
    onnx_file: Path, detector: MaskRCNN, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = phonecv.save_checkpoint(detector, tmp_path / "a.safetensors")
    wanted = phonecv.evaluate(saved, data).figures
    assert 5 < wanted["mask_ap"] < 95
    assert main(["eval", str(onnx_file), "--data", str(data), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    for name in ("ap", "ap50", "mask_ap", "mask_ap50"):
        assert found[name] == pytest.approx(wanted[name], abs=0.5)
    assert main(["predict", str(onnx_file), str(data / "images"), "--out", str(tmp_path / "out")]) == 0
    drawn = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert all("segmentation" in entry for picture in drawn["images"] for entry in picture["detections"])
    assert sum(len(picture["detections"]) for picture in drawn["images"]) > 5


@pytest.mark.long
@pytest.mark.slow
def test_openvino(
    onnx_file: Path, detector: MaskRCNN, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Converted from the ONNX graph that is there already: tracing takes most of the time."""
    pytest.importorskip("openvino")
    monkeypatch.setattr(exporter, "write_graph", lambda _, path: shutil.copyfile(onnx_file, path))
    assert same_objects(written(detector, tmp_path / "a.xml", data), detector) > 10


@pytest.mark.long
@pytest.mark.slow
def test_torch_export(detector: MaskRCNN, data: Path, tmp_path: Path) -> None:
    assert same_objects(written(detector, tmp_path / "a.pt2", data), detector) > 10


@pytest.mark.parametrize("format", EXPORTERS)
def test_what_is_refused(detector: MaskRCNN, tmp_path: Path, format: str) -> None:
    able = format in ("onnx", "ort", "openvino", "pt2")
    for decode in ("raw", "boxes") if able else ("final",):
        with pytest.raises(UserError, match="decode 'final'" if able else "RoIAlign.*write ONNX"):
            export(detector, tmp_path, format=format, decode=decode)
    assert list(tmp_path.iterdir()) == []
