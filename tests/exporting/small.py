"""A settled tiny network of each family, for exports."""

from __future__ import annotations

from typing import Any

import torch

import phonecv
from conftest import TINY
from kept import kept
from phonecv.models import VisionModel
from phonecv.preprocessing import Preprocessing
from settle import settle


@kept
def tiny(name: str, **overrides: Any) -> VisionModel:
    torch.manual_seed(0)
    arguments: dict[str, Any] = {"num_classes": 7} | TINY[name] | overrides
    model = settle(phonecv.create_model(name, **arguments), size=64)
    model.preprocessing = Preprocessing(size=64, crop=0.9, interpolation="bilinear", mean=(0.1, 0.2, 0.3))
    model.class_names = tuple("abcdefß") if model.num_classes == 7 else None
    return model
