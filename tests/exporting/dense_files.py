"""Detectors that find something, and exported files without a toolkit: PyTorch runs what they would hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from detect import test_mask_rcnn as mask_rcnn
from detect.detectors import settled, small
from kept import kept
from phonecv.detect.base import Detector
from phonecv.detect.mask_rcnn import MaskRCNN
from phonecv.detect.roi import pool, with_picture
from phonecv.detect.roi_heads import BOX_BINS
from phonecv.exporting import opening
from phonecv.exporting.deployable import deployable
from phonecv.exporting.inputs import picture_input
from phonecv.exporting.job import Session
from phonecv.exporting.record import record_path
from phonecv.exporting.run import describe
from phonecv.files import write_json


@kept
def busy(architecture: str, backbone: str = "mobileone_s0", **options: Any) -> Detector:
    """A settled detector of 96 pixels that finds something, fewer pairs of anchor and class than it considers."""
    retina = architecture == "retinanet_fpn"
    options = {"score_threshold": 0.3, "max_detections": 30} | options
    detector = settled(small(architecture, backbone, options=options))
    generator = torch.Generator().manual_seed(3)
    heads: Any = detector
    for tower in (heads.class_tower, heads.box_tower) if retina else ():
        for unit in tower:
            torch.nn.init.kaiming_normal_(unit.conv.weight, generator=generator)
    for layer in [heads.class_head] if retina else [head[-1] for head in heads.class_heads]:
        torch.nn.init.normal_(layer.weight, std=0.1 if retina else 0.3, generator=generator)
        torch.nn.init.normal_(layer.bias, mean=-3.0 if retina else 0.0, std=0.3, generator=generator)
    for layer in [heads.box_head] if retina else [head[-1] for head in heads.box_heads]:
        torch.nn.init.normal_(layer.weight, std=0.05, generator=generator)
    if retina:  # neither all alike nor all sure
        with torch.no_grad():
            logits, codes = detector.network(torch.randn(2, 3, 64, 96, generator=generator))
            for layer, outputs, spread in ((heads.class_head, logits, 1.5), (heads.box_head, codes, 0.3)):
                layer.weight *= spread / torch.cat([level.flatten() for level in outputs]).std()
    return detector


def found_by(predicted: Sequence[Mapping[str, Tensor]], places: int) -> dict[str, np.ndarray]:
    """A detector's predictions as a file with suppression gives them."""
    shapes = {"boxes": (places, 4), "scores": (places,), "labels": (places,)}
    outputs = {name: np.zeros((len(predicted), *shape), np.float32) for name, shape in shapes.items()}
    outputs["labels"][:] = -1
    for picture, objects in enumerate(predicted):
        for name, values in outputs.items():
            values[picture, : len(objects["scores"])] = objects[name].numpy()
    count = np.array([len(objects["scores"]) for objects in predicted], np.int32)
    return outputs | {"labels": outputs["labels"].astype(np.int32), "count": count}


@kept
def busy_masks(**options: Any) -> MaskRCNN:
    """A settled Mask R-CNN that finds something.

    Its answers differ from box to box: among scores that are equal but for rounding it would be chance which of two
    overlapping boxes stays.
    """
    detector = settled(mask_rcnn.make("mobileone_s0", **options))
    generator = torch.Generator().manual_seed(1)
    head = detector.box_head
    for layer, std in ((head.cls, 0.5), (head.box, 0.1), (detector.rpn.box, 0.1), (detector.rpn.objectness, 1.0)):
        torch.nn.init.normal_(layer.weight, std=std, generator=generator)
    with torch.no_grad():
        prepared = detector.prepare(torch.stack([mask_rcnn.picture(seed=seed) for seed in range(4)]))
        levels, _, _ = detector.network(prepared.batch)
        corner = torch.rand(64, 2, generator=generator) * torch.tensor([64.0, 32.0])
        boxes = torch.cat([corner, corner + 16 + torch.rand(64, 2, generator=generator) * 16], 1)
        logits, codes = head(pool(levels, with_picture(torch.arange(64) % 4, boxes), BOX_BINS, (4, 8, 16, 32)))
        for layer, outputs, spread in ((head.cls, logits, 2.0), (head.box, codes.flatten(1), 1.0)):
            scale = spread / outputs.std(0)
            layer.weight *= scale[:, None]
            layer.bias.copy_(-outputs.mean(0) * scale)
    return detector.eval()


def pretend(
    network: Any,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    decode: str,
    size: tuple[int, int],
    free: bool = False,
    bake: bool = False,
    batch: int | None = None,
) -> Path:
    """A file and its record; opened, it is the network in PyTorch, whose inputs are checked as a runtime would."""
    module, names = deployable(network, bake=bake, decode=decode, size=None if free else size)
    record: Any = describe(
        network, *size, inputs=(picture_input(*size, network.in_chans),), outputs=names, bake=bake, decode=decode
    )
    path.write_bytes(b"")
    write_json(record_path(path), record)

    @torch.inference_mode()
    def run(images: np.ndarray) -> list[np.ndarray]:
        assert images.dtype == np.float32
        assert free or images.shape[2:] == size
        assert batch in (None, len(images))
        if bake:
            assert images.min() >= 0
            assert images.max() > 10
        return [output.numpy() for output in module(torch.from_numpy(images))]

    def opened(asked: Path | str, **_: Any) -> Session:
        assert Path(asked) == path
        return Session(run, "PyTorch", batch, None if free else size, record)

    monkeypatch.setattr(opening, "open_session", opened)
    return path
