"""Damaged data sets and recipes."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import yaml

from data.coco_files import content
from fuzz.mutations import CASES, ODD, damaged, mutated, survive
from phonecv.data.audit import audit
from phonecv.data.coco.paths import CocoPaths
from phonecv.data.coco.reader import read_coco, read_results
from phonecv.data.folders.class_names import read_class_file
from phonecv.data.folders.list_file import read_list
from phonecv.data.labelmaps.classes import read_label_classes
from phonecv.training.recipe import find_recipe, load_config


def written(rng: random.Random, value: Any) -> bytes:
    """JSON of a value, at times damaged blindly."""
    data = json.dumps(value).encode()
    return damaged(rng, data) if rng.random() < 0.25 else data


def test_coco_annotations(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    original = content()

    def case(rng: random.Random) -> None:
        path.write_bytes(written(rng, mutated(rng, original)))
        read_coco(CocoPaths(path, None), masks=rng.random() < 0.5)

    assert 0 < survive("COCO", case) < CASES  # some are refused, some read


def test_coco_audits(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    original = content()

    def case(rng: random.Random) -> None:
        path.write_bytes(written(rng, mutated(rng, original)))
        report = audit(path, quick=True)
        assert all(line.isprintable() for line in str(report).splitlines())

    survive("COCO audit", case, 100)


def test_lists(tmp_path: Path) -> None:
    path = tmp_path / "train.txt"
    for name in ("a.jpg", "B b.PNG", "é.jpg"):
        (tmp_path / name).touch()
    original = "# list\na.jpg 0\nB b.PNG 1\né.jpg 2\n\ntrain\\a.jpg 1\n./a.jpg\t2\nfile,label\n".encode()

    def case(rng: random.Random) -> None:
        path.write_bytes(damaged(rng, original * rng.randint(1, 3), 8))
        listing = read_list(path, tmp_path, "train", classes=rng.choice([None, 3]))
        assert listing.describe(listing.problems).replace("\n", "").isprintable()

    survive("list", case)


def test_class_files(tmp_path: Path) -> None:
    path = tmp_path / "classes.txt"
    originals = (
        b"a\nb\nc\n", b"0 a\n1 b\n2 c\n", b"n01440764 tench\nn01443537 goldfish\n", b"0\tn01440764\ttench\n",
        b"name,r,g,b\nroad,1,2,3\nsky,4,5,6\n", b"road:128,64,128::\nsky:1,2,3::\n",
    )  # fmt: skip

    def case(rng: random.Random) -> None:
        path.write_bytes(damaged(rng, rng.choice(originals), 6))
        rng.choice([read_class_file, read_label_classes])(path)

    survive("class file", case)


def test_recipes(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    texts = [find_recipe(name).read_bytes() for name in ("finetune", "detect_small", "segment_small")]
    odd = tuple(value for value in ODD if not (isinstance(value, str) and ("\ud800" in value or "\x00" in value)))

    def case(rng: random.Random) -> None:
        text = rng.choice(texts)
        if rng.random() < 0.5:
            path.write_text(yaml.safe_dump(mutated(rng, yaml.safe_load(text), odd)), encoding="utf-8")
        else:
            path.write_bytes(damaged(rng, text))
        overrides = [f"{rng.choice(['model.name', 'optim.lr', 'data.path', 'a.b', ''])}={rng.choice(odd)!s:.50}"]
        load_config(path, overrides if rng.random() < 0.5 else ())

    survive("recipe", case)


def test_results_files(tmp_path: Path) -> None:
    annotations, path = tmp_path / "a.json", tmp_path / "results.json"
    annotations.write_text(json.dumps(content()))
    split = read_coco(CocoPaths(annotations, None), masks=True)
    original = [
        {"image_id": 10, "category_id": 7, "bbox": [1, 2, 3, 4], "score": 0.5},
        {"image_id": 20, "category_id": 2, "score": 0.25, "segmentation": {"size": [64, 48], "counts": "a0b"}},
    ]

    def case(rng: random.Random) -> None:
        path.write_bytes(written(rng, mutated(rng, original)))
        read_results(path, split)

    survive("results", case)
