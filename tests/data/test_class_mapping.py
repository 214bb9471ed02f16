"""Which model output a folder's class means."""

from __future__ import annotations

import pytest

from phonecv.data.class_mapping import display_names, imagenet_ids, imagenet_names, map_classes
from phonecv.errors import UserError

DIGITS = [str(digit) for digit in range(10)]


def test_imagenet_tables() -> None:
    assert len(imagenet_ids()) == len(set(imagenet_names())) == 1000
    assert (imagenet_ids()[0], imagenet_names()[0]) == ("n01440764", "tench")
    assert [name for name in imagenet_names() if name.startswith("crane")] == ["crane (n02012849)", "crane (n03126707)"]


def test_names_decide_also_in_another_order() -> None:
    model = ["dog", "caf\u00e9", "Tabby_Cat"]
    assert map_classes([0, 1], ids := ["Cafe\u0301 ", "tabby cat"], ids, model, 3) == {0: 1, 1: 2}


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
    letters = list("abcdefghij")
    found = map_classes([0, 9], letters, letters, None, 10)
    assert found == {0: 0, 9: 9}
    assert "a = 0, b = 1, c = 2, ..." in found.note
    with pytest.raises(UserError, match=r"10 classes and the model 12.*\(a, b, c, ..."):
        map_classes(range(10), letters, letters, None, 12)
    with pytest.raises(UserError, match="not among the model's"):
        map_classes(range(10), DIGITS, DIGITS, [f"digit {i}" for i in range(10)], 10)


@pytest.mark.parametrize(
    ("ids", "outputs", "expected"),
    [
        ([str(i) for i in range(1000)], 1000, dict.fromkeys(range(1000))),  # ImageNetV2 as it is distributed
        (DIGITS, 12, dict.fromkeys(range(10))),
        (["3", "7", "11"], 12, {0: 3, 1: 7, 2: 11}),
        (["003", "007", "0011"], 12, {0: 3, 1: 7, 2: 11}),
        (["10", "9", "2"], 11, {0: 10, 1: 9, 2: 2}),
    ],
)
def test_numbers_are_outputs_of_a_network_without_names(
    ids: list[str], outputs: int, expected: dict[int, int | None]
) -> None:
    wanted = {label: label if output is None else output for label, output in expected.items()}
    found = map_classes(range(len(ids)), ids, ids, None, outputs)
    assert found == wanted
    assert "called by numbers" in found.note
    if outputs == 1000:  # names that are ImageNet's say the same
        assert map_classes(range(len(ids)), ids, ids, imagenet_names(), outputs) == wanted


def test_numbers_that_are_no_outputs() -> None:
    months = [str(month) for month in range(1, 13)]
    found = map_classes(range(12), months, months, None, 12)  # "12" can't be an output, so none is one
    assert found == dict(zip(range(12), range(12), strict=True))
    assert "1 = 0, 2 = 1, 3 = 2" in found.note
    assert "sorts folders as text (1, 10, 11" in found.note
    with pytest.raises(UserError, match="counted from 1"):
        map_classes(range(3), ["1", "2", "5"], ["1", "2", "5"], None, 5)
    # A network that knows names knows which of them are numbers.
    assert map_classes([0, 1], ["1", "2"], ["1", "2"], ["2", "1"], 2) == {0: 1, 1: 0}
    with pytest.raises(UserError, match="2 classes of the data"):
        map_classes([0, 1], ["7", "07"], ["7", "07"], None, 12)


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
