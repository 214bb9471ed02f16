"""Which model output a folder's class means."""

from __future__ import annotations

import pytest

from phonecv.class_mapping import display_names, imagenet_ids, imagenet_names, map_classes
from phonecv.errors import UserError

DIGITS = [str(digit) for digit in range(10)]


def test_imagenet_tables() -> None:
    assert len(imagenet_ids()) == len(set(imagenet_names())) == 1000
    assert (imagenet_ids()[0], imagenet_names()[0]) == ("n01440764", "tench")
    assert [name for name in imagenet_names() if name.startswith("crane")] == ["crane (n02012849)", "crane (n03126707)"]


def test_names_decide_also_in_another_order() -> None:
    model = ["dog", "cat", "Tabby_Cat"]
    assert map_classes([0, 1], ["cat", "tabby cat"], ["cat", "tabby cat"], model, 3) == {0: 1, 1: 2}


def test_wordnet_ids_reach_into_imagenet() -> None:
    ids = ["n02102040", "n03888257"]
    assert map_classes([0, 1], ids, ids, None, 1000) == {0: 217, 1: 701}
    # A model that carries the names of ImageNet, whatever way they are written, is ImageNet as well.
    assert map_classes([0, 1], ids, ids, imagenet_names(), 1000) == {0: 217, 1: 701}
    long = [f"{name}, other names" for name in imagenet_names()]
    assert map_classes([0, 1], ids, ids, long, 1000) == {0: 217, 1: 701}


def test_only_labels_that_occur_need_an_output() -> None:
    assert map_classes([2], ["x", "y", "tench"], ["x", "y", "tench"], None, 1000) == {2: 0}


def test_order_is_used_only_without_names_and_with_as_many_classes() -> None:
    assert map_classes([0, 9], DIGITS, DIGITS, None, 10) == {0: 0, 9: 9}
    with pytest.raises(UserError, match=r"10 classes and the model 12.*\(0, 1, 2"):
        map_classes(range(10), DIGITS, DIGITS, None, 12)
    with pytest.raises(UserError, match="not among the model's"):
        map_classes(range(10), DIGITS, DIGITS, [f"digit {i}" for i in range(10)], 10)


def test_two_classes_of_one_output_are_refused() -> None:
    with pytest.raises(UserError, match="tench, n01440764"):
        map_classes([0, 1], ["tench", "n01440764"], ["tench", "n01440764"], None, 1000)


def test_the_error_ends_with_what_to_do() -> None:
    with pytest.raises(UserError, match=r"do this$"):
        map_classes([0], ["x"], ["x"], ["y", "z"], 2, hint="; do this")


def test_display_names() -> None:
    assert display_names(None, 3) == ("0", "1", "2")
    assert display_names(["a", "b"], 2) == ("a", "b")
    assert display_names(None, 1000)[1] == "goldfish"
