"""Labels that count from 1, as torchvision's do: refused, or told."""

from __future__ import annotations

import warnings

import pytest
import torch

from detect.detectors import pictures, small
from phonecv.errors import UserError


def truth_of(detector: object, *labels: int, times: int = 1) -> None:
    images = pictures((64, 64))
    target = {"boxes": torch.tensor([[5.0, 5, 40, 40]]).repeat(len(labels), 1), "labels": torch.tensor(labels)}
    for _ in range(times):
        detector.truth([target], detector.prepare(images))  # type: ignore[attr-defined]


def test_the_number_of_classes_is_no_label() -> None:
    with pytest.raises(UserError, match=r"label 3; labels are 0\.\.2: they count from 0 .* unlike torchvision's"):
        truth_of(small("ssdlite320"), 1, 3)
    with pytest.raises(UserError, match="label -1"):
        truth_of(small("ssdlite320"), -1)


def test_a_first_class_that_never_comes_is_told_once() -> None:
    detector = small("ssdlite320")
    with pytest.warns(UserWarning, match="torchvision's count from 1: subtract 1") as told:
        truth_of(detector, *[1, 2] * 50, times=12)
    assert len(told) == 1
    named, mixed = small("ssdlite320"), small("ssdlite320")
    named.class_names = ("a", "b", "c")  # a reader of ours gave the labels
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        truth_of(named, *[1, 2] * 50, times=12)
        truth_of(mixed, 0)
        truth_of(mixed, *[1, 2] * 50, times=12)
