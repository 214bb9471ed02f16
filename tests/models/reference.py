"""The golden files of `tests/golden` as networks: which member each is, and its tensors filled by the rule.

The golden numbers were computed by the published reference implementations; `tests/golden/rule.py` says how
their tensors were filled, so no weights are stored.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import phonecv
from golden_rules import load_rule
from kept import kept
from phonecv.models import VisionModel

GOLDEN = Path(__file__).parents[1] / "golden"


rule = load_rule("rule")

_ABLATION = {
    "depths": (2, 2, 3, 2),
    "widths": (32, 48, 80, 180),
    "head_dims": (16, 16, 20, 20),
    "drop_path": 0.0,
}

#: Golden file -> (catalog name, overrides).
FILES: dict[str, tuple[str, dict[str, Any]]] = {
    **{f"EMO_{size}": (f"emo_{size.lower()}", {}) for size in ("1M", "2M", "5M", "6M")},
    "EMO_1M_tiny": ("emo_1m", {}),
    "EMO_1M_10classes": ("emo_1m", {"num_classes": 10}),
    **{f"EMO2_{size}_k5_hybrid": (f"emov2_{size.lower()}", {}) for size in ("1M", "2M", "5M", "20M", "50M")},
    "EMO2_1M_k5_hybrid_tiny": ("emov2_1m", {}),
    **{f"EMO2_{size}_k5_hybrid_256": (f"emov2_{size.lower()}_256", {}) for size in ("1M", "5M")},
    "EMO2_5M_k5_hybrid_512": ("emov2_5m_512", {}),
    **{f"EMO1_{size}": (f"emov2_remote_{size.lower()}", {}) for size in ("1M", "2M", "5M", "20M")},
    "EMO2_abl_close": ("emov2_1m", _ABLATION | {"attention": "close"}),
    "EMO2_abl_global_window": ("emov2_1m", _ABLATION | {"window": 0}),
    "EMO2_abl_no_layerscale_no_qkvbias": ("emov2_1m", _ABLATION | {"layer_scale": None, "qkv_bias": False}),
    "EMO2_abl_remote_plus_close": ("emov2_1m", _ABLATION | {"attention": "remote+close"}),
    **{f"mobileone_s{n}_unfused": (f"mobileone_s{n}", {}) for n in range(5)},
    **{f"mobileone_s{n}_fused_native": (f"mobileone_s{n}", {"form": "deploy"}) for n in range(5)},
    "EMO_1M_backbone_w7": ("emo_1m", {"window": 7}),
    "EMO_5M_backbone_w10": ("emo_5m", {"window": 10}),
    "EMO_5M_backbone_w16": ("emo_5m", {"window": 16}),
    "EMO2_1M_backbone_w10": ("emov2_1m", {"window": 10}),
    "EMO2_5M_backbone_w10": ("emov2_5m", {"window": 10}),
    "EMO_1M_train": ("emo_1m", {"drop_path": 0.0}),
    "EMO2_1M_k5_hybrid_train": ("emov2_1m", {"drop_path": 0.0}),
    "mobileone_s0_train": ("mobileone_s0", {}),
    "mobileone_s4_train": ("mobileone_s4", {}),
}


def official_name(name: str) -> str:
    """Our parameter name -> the reference's. Only EMO's stem differs."""
    for ours, theirs in (
        ("stage0.0.conv.", "stage0.0.convs.0.0."),
        ("stage0.0.norm.", "stage0.0.convs.0.1."),
        ("stage0.1.se.reduce.", "stage0.1.se.conv_reduce."),
        ("stage0.1.se.expand.", "stage0.1.se.conv_expand."),
    ):
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    return name


def load_golden(file: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Description and arrays of a golden file."""
    meta, arrays = rule.load(file, GOLDEN)
    if isinstance(meta.get("config"), str):
        meta["config"] = json.loads(meta["config"])
    return meta, arrays


@partial(kept, most=24)
def golden_model(file: str, **more: Any) -> VisionModel:
    """The network of a golden file, its tensors filled by the rule, in evaluation mode."""
    name, overrides = FILES[file]
    meta, _ = load_golden(file)
    model = phonecv.create_model(name, **(overrides | more))
    rename = official_name if name.startswith("emo_") else str
    filled = {
        key: torch.from_numpy(rule.fill_tensor(rename(key), value.shape, meta["gains"], meta["salt"]))
        for key, value in model.state_dict().items()
    }
    model.load_state_dict(filled)
    return model.eval()


def golden_input(file: str, size: str) -> torch.Tensor:
    """The input of a golden file at a size such as "224x224"."""
    meta, _ = load_golden(file)
    return torch.from_numpy(rule.input_array(meta["inputs"][size]["input_shape"], meta["salt"]))
