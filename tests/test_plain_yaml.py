"""YAML of unknown origin: texts stay as typed, and nothing that a file asks for takes long or recurses."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from phonecv.errors import UserError
from phonecv.plain_scalars import Plain, number, scalar
from phonecv.plain_yaml import MAX_BYTES, read_yaml, read_yaml_file
from phonecv.training import load_config


def bomb(begin: str, item: str) -> str:
    """Twenty lines, each nine times the one before."""
    lines = [f"a0: &a0 {begin}"]
    lines += [f"a{i}: &a{i} {item.format(', '.join([f'*a{i - 1}'] * 9))}" for i in range(1, 20)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: &a {overrides: *a}", "or in itself (line 1, column 8)"),
        ("&a [*a]", "or in itself"),
        ("a: &a {<<: *a}", "or in itself"),
        ("model: " + "[" * 20_000, "nested more than 20 levels"),
        ("{a: " * 5_000, "nested more than 20 levels"),
        ("\n".join(" " * i + "a:" for i in range(400)), "nested more than 20 levels"),
        (bomb("[x, x]", "[{}]"), "more values than any settings have"),
        (bomb("{name: emo_1m}", "{{<<: [{}]}}"), "more values than any settings have"),
        ("a: [" + "1," * 60_000 + "]", "more values than any settings have"),
        ("data:\n  size: 3\n  size: 4", "'size' is given twice; keep one of them (line 3, column 3)"),
        ("data:\n\tsize: 3", "indent with spaces (line 2, column 1)"),
        ("a: 1\n---\nb: 2", "expected a single document in the stream but found another"),
        ("!!python/object/apply:os.system [x]", "stands for an object"),
        ("a: !foo {}", "'!foo' stands for an object"),
        ("? [a]\n: b", "a list or a group"),
        ("a: {<<: 3}", "<< merges groups"),
        ("a: *b", "undefined alias 'b'"),
        ("a: \x00", "unacceptable character"),
        ("a: [", "(line 1, column 5)"),
    ],
)
def test_what_is_no_settings_is_refused_at_once(text: str, message: str) -> None:
    start = time.process_time()
    with pytest.raises(UserError) as caught:
        read_yaml(text, "recipe x")
    assert time.process_time() - start < 5  # a bomb would take hours
    assert message in str(caught.value)
    assert str(caught.value).startswith("recipe x is not readable YAML: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("224", 224),
        ("-3", -3),
        ("0x10", 16),
        ("1e-3", 0.001),
        ("1.0e-05", 1e-5),
        (".5", 0.5),
        ("", None),
        ("~", None),
        ("true", True),
        ("no", False),
        ("On", True),
        # YAML 1.1 makes 90, 8, 1000, 3 and a date of these, 1.2 does not.
        ("1:30", "1:30"),
        ("010", "010"),
        ("1_000", "1_000"),
        ("0b11", "0b11"),
        ("2020-01-01", "2020-01-01"),
        ("１２", "１２"),
        ("y", "y"),
    ],
)
def test_unquoted_texts_that_need_not_be_texts(text: str, value: object) -> None:
    read = read_yaml(f"[{text or 'null'}]", "x")[0]
    assert isinstance(read, Plain)
    assert (type(scalar(text)), scalar(text)) == (type(value), value)


def test_numbers_of_thousands_of_digits_are_not_read() -> None:
    for digits in ("9" * 5000, "-" + "9" * 5000):
        with pytest.raises(UserError, match="at most 20 are read"):
            scalar(digits)
    assert number("9" * 20) == float("9" * 20)
    assert number("1_0") is number("nan") is number("１") is None


def test_each_use_of_an_alias_is_a_copy() -> None:
    found = read_yaml("a: &x {p: 1, q: 2}\nb: *x\nc: {<<: *x, q: 3}\nd: {<<: [{q: 4}, *x]}", "x")
    assert found["b"] == found["a"] == {"p": "1", "q": "2"}
    assert found["b"] is not found["a"]
    assert (found["c"], found["d"]) == ({"p": "1", "q": "3"}, {"p": "1", "q": "4"})


def test_quoted_texts_stay_texts() -> None:
    values = read_yaml("['1', \"no\", plain, !!str 5, !!int 5]", "x")
    assert values == ["1", "no", "plain", "5", "5"]
    assert [isinstance(value, Plain) for value in values] == [False, False, True, False, True]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"# " + b"x" * MAX_BYTES, "is larger than 256 KiB"),
        ("data: {}".encode("utf-16"), "UTF-16 text; save the file as UTF-8"),
        (b"a: 1\nb: caf\xe9\n", "not UTF-8 text (line 2); save the file as UTF-8"),
    ],
)
def test_files_of_other_kinds(data: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(data)
    with pytest.raises(UserError) as caught:
        read_yaml_file(path, "recipe x")
    assert message in str(caught.value)
    path.write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert read_yaml_file(path, "recipe x") == {"a": "1"}


def test_fields_read_unquoted_texts_as_what_they_are(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        "model: {weights: 007, overrides: {a: no, b: 1e-3, c: [on, 'on'], d: 1:30}}\n"
        "ema: {enabled: no}\nrun: {out: 2020-01-01, seed: 18446744073709551615}\noptimizer: {lr: 1e-3}\n",
        encoding="utf-8",
    )
    config = load_config(recipe, ["model.overrides.e=yes"])
    assert (config.model.weights, config.run.out, config.ema.enabled) == ("007", "2020-01-01", False)
    assert config.model.overrides == {"a": False, "b": 0.001, "c": [True, "on"], "d": "1:30", "e": True}
    assert (config.run.seed, config.optimizer.lr) == (2**64 - 1, 0.001)
    (tmp_path / "config.yaml").write_text(config.to_yaml(), encoding="utf-8")
    assert load_config(tmp_path / "config.yaml") == config


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("run.seed=" + "9" * 5000, "cannot be read: a whole number of 5000 digits"),
        ("run.seed=99999999999999999999", "has a number of 67 bits"),
        ("optimizer.lr=1:30", "optimizer.lr='1:30' is not a number"),
        ("data.size=010", "data.size='010' is not a whole number"),
        ("model.overrides=" + "[" * 5000, "nested more than 20 levels"),
        ("model.overrides={a: 1, a: 2}", "'a' is given twice"),
        ("model.overrides" + ".a" * 2000 + "=1", "goes through 2002 groups"),
        ("data.size=" + "x" * 100_000, "is not a whole number"),
        ("x" * 100_000 + "=1", "unknown setting"),
        ("loss.mix_mode=" + "x" * 100_000, "is not one of batch, pair, elem"),
    ],
)
def test_overrides_are_bounded_too(override: str, message: str) -> None:
    start = time.process_time()
    with pytest.raises(UserError) as caught:
        load_config("finetune", [override])
    assert time.process_time() - start < 1
    assert message in str(caught.value)
    assert len(str(caught.value)) < 1000
