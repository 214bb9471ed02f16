"""The golden files of `tests/golden/segmentation`: networks filled by rule, inputs, labels, stored numbers."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from golden_rules import load_rule
from kept import kept
from phonecv.segment.base import Segmenter
from phonecv.segment.create import create_segmenter
from phonecv.segment.published import PUBLISHED
from segment.reference_names import reference_name

GOLDEN = Path(__file__).parents[1] / "golden"
FOLDER = GOLDEN / "segmentation"

#: Golden file -> published row.
FILES: dict[str, str] = {
    **{f"v1_{head}_{size}M": f"{head}_emo_{size}m" for head in ("deeplabv3", "pspnet") for size in (1, 5)},
    **{
        f"v2_{head}_{size}M": f"{name}_emov2_{size}m"
        for head, name in (
            ("deeplabv3", "deeplabv3"),
            ("pspnet", "pspnet"),
            ("fpn", "semantic_fpn"),
            ("segformer", "segformer"),
        )
        for size in (1, 5)
    },
    "v2_unet_5M": "unet_hrf_emov2_unet",
}


rule = load_rule("detseg_fill")


def create_published(name: str, **changes: Any) -> Segmenter:
    """The network of a published row; `changes` are arguments of `create_segmenter`."""
    row = PUBLISHED[name]
    arguments: dict[str, Any] = {"num_classes": row.num_classes, **row.overrides} | changes
    return create_segmenter(row.architecture, row.backbone, **arguments)


def load_arrays(file: str) -> dict[str, np.ndarray]:
    """The stored numbers of a golden file."""
    with np.load(FOLDER / f"{file}.npz") as data:
        return {key: data[key] for key in data.files}


def reference_keys(file: str) -> dict[str, list[int]]:
    """The reference's parameter and buffer names with their shapes, counters left out."""
    with gzip.open(FOLDER / f"{file[:2]}_state_keys.json.gz") as packed:
        entry: dict[str, Any] = json.load(packed)[file]
    return dict(entry["state"])


@kept
def golden_model(file: str, *, dtype: torch.dtype = torch.float64) -> Segmenter:
    """The network of a golden file, its tensors filled by the rule, in evaluation mode."""
    model = create_published(FILES[file])
    filled = {
        name: torch.from_numpy(rule.fill(reference_name(model, name), tuple(value.shape)))
        for name, value in model.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    missing = model.to(dtype).load_state_dict(filled, strict=False)
    assert all(name.endswith("num_batches_tracked") for name in missing.missing_keys)
    return model.eval()


def golden_input(file: str, *, dtype: torch.dtype = torch.float64) -> Tensor:
    """The normalised input batch."""
    shape = (2, 3, 64, 80) if "unet" in file else (2, 3, 128, 176)
    return torch.from_numpy(rule.image("input", shape)).to(dtype)


def golden_pictures(model: Segmenter, batch: Tensor) -> Tensor:
    """Pictures that normalise to `batch`; their values leave 0..1."""
    mean, std = (
        torch.tensor(values, dtype=batch.dtype)[:, None, None]
        for values in (model.preprocessing.mean, model.preprocessing.std)
    )
    return batch * std + mean


def golden_labels(batch: Tensor, num_classes: int) -> Tensor:
    """Label maps of 16 x 16 blocks, an eighth of them ignored."""
    count, height, width = batch.shape[0], -(-batch.shape[2] // 16), -(-batch.shape[3] // 16)
    blocks = count * height * width
    labels = np.floor(rule.unit("label", blocks) * num_classes).astype(np.int64)
    labels[rule.unit("ignore", blocks) < 1 / 8] = 255
    grid = labels.reshape(count, height, width).repeat(16, 1).repeat(16, 2)
    return torch.from_numpy(grid[:, : batch.shape[2], : batch.shape[3]].copy())


def assert_golden(value: Tensor, arrays: dict[str, np.ndarray], name: str, tolerance: float) -> None:
    """Shape, samples, mean and deviation of a tensor, relative to its mean absolute value."""
    assert list(value.shape) == arrays[f"{name}/shape"].tolist(), name
    flat = value.detach().double().flatten().numpy()
    mean, deviation, scale, _, _ = arrays[f"{name}/stat"]
    stored = arrays[f"{name}/sample"]
    positions = rule.sample(flat.size, stored.size)
    np.testing.assert_allclose(flat[positions], stored, rtol=1e-6, atol=tolerance * scale, err_msg=name)
    np.testing.assert_allclose([flat.mean(), flat.std()], [mean, deviation], rtol=0, atol=tolerance * scale)
    np.testing.assert_allclose(np.abs(flat).mean(), scale, rtol=tolerance)
