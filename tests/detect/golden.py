"""Golden numbers of the published detectors: loading, filling networks by the rule, comparing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

import phonecv
from detect.reference_names import reference_name
from golden_rules import load_rule
from phonecv.detect.base import Detector
from phonecv.detect.published import PUBLISHED
from phonecv.preprocessing import DensePreprocessing

GOLDEN = Path(__file__).parents[1] / "golden" / "detection"
D = TypeVar("D", bound=Detector)

#: Objects of the golden losses, in fractions of width and height, and their classes.
OBJECTS = (
    (
        ((0.0625, 0.09375, 0.375, 0.625), 0),
        ((0.3125, 0.1875, 0.9375, 0.5625), 17),
        ((0.015625, 0.015625, 0.125, 0.15625), 63),
    ),
    (((0.46875, 0.46875, 0.96875, 0.99375), 5), ((0.03125, 0.625, 0.28125, 0.9375), 79)),
)


rule = load_rule("detseg_fill")


def misc() -> dict[str, Any]:
    """Anchors, box codes, assignments and suppressions computed by the reference."""
    return json.loads((GOLDEN / "misc.json").read_text())


def arrays(name: str, folder: Path = GOLDEN) -> dict[str, np.ndarray]:
    """A golden file."""
    with np.load(folder / f"{name}.npz") as data:
        return {key: data[key] for key in data.files}


def published_detector(name: str, **more: Any) -> Detector:
    """The detector of a golden file such as "v2_ssdlite300_1M", set up as its row says."""
    generation, architecture, size = name.split("_")
    architecture = {"ssdlite": "ssdlite320", "retinanet": "retinanet_fpn", "maskrcnn": "mask_rcnn_fpn"}.get(
        architecture, architecture
    )
    backbone = f"emo{'v2' if generation == 'v2' else ''}_{size.lower()}"
    (row,) = [row for row in PUBLISHED if (row.architecture, row.backbone) == (architecture, backbone)]
    return phonecv.create_detector(architecture, backbone, **(dict(row.overrides) | more))


def fill(detector: D, name: str) -> D:
    """Fill every tensor by its published name; evaluation mode, and pictures taken as they are."""
    generation = int(name[1])
    state = detector.state_dict()
    for key, value in state.items():
        if not key.endswith("num_batches_tracked"):
            filled = rule.fill(reference_name(key, generation=generation), tuple(value.shape))
            state[key] = torch.from_numpy(filled).to(value.dtype)
    detector.load_state_dict(state)
    return detector.eval()


def take_normalised(detector: D, height: int, width: int) -> D:
    """Let the detector take pictures of this size that are normalised already."""
    spec = detector.preprocessing
    detector.preprocessing = DensePreprocessing(
        size=min(height, width),
        longest=None if spec.longest is None else max(height, width),
        multiple=spec.multiple,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
    )
    return detector


def picture(name: str) -> Tensor:
    """The golden input of a file, normalised, float64."""
    shape = (1, 3, 512, 512) if "512" in name else (2, 3, 320, 320) if "ssd" in name else (2, 3, 256, 352)
    return torch.from_numpy(rule.image("input", shape))


def golden_targets(height: int, width: int, count: int = 2) -> list[dict[str, Tensor]]:
    """The objects of the golden losses for pictures of this size."""
    scale = torch.tensor([width, height, width, height], dtype=torch.float32)
    return [
        {
            "boxes": torch.tensor([box for box, _ in objects]) * scale,
            "labels": torch.tensor([label for _, label in objects]),
        }
        for objects in OBJECTS[:count]
    ]


def assert_like(tensor: Tensor, golden: dict[str, np.ndarray], name: str, tolerance: float) -> None:
    """Compare shape and sampled values; the tolerance is a share of the mean magnitude."""
    assert list(tensor.shape) == golden[f"{name}/shape"].tolist(), name
    flat = tensor.detach().contiguous().flatten()
    sample = flat[torch.from_numpy(rule.sample(flat.numel()))].double().numpy()
    magnitude = golden[f"{name}/stat"][2]
    worst = np.abs(sample - golden[f"{name}/sample"]).max()
    if magnitude == 0.0:  # a gradient that never arrives there
        assert worst == 0.0, name
        return
    worst /= magnitude
    assert worst < tolerance, f"{name}: {worst:.2e} of the mean magnitude"
    assert abs(flat.double().abs().mean().item() - magnitude) < tolerance * magnitude, name
