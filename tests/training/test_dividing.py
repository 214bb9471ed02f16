"""Data without a validation split: what is held out, by which lists, and that nothing is on both sides."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import phonecv
from data.label_folders import save_map, squares
from data.picture_files import noise
from phonecv.classify.quantizing_data import split_data
from phonecv.data.audit import audit
from phonecv.data.clips.listing import surely_clips
from phonecv.data.samples import write_scenes
from phonecv.data.splitting.lists import list_of, own_lists, read_names
from phonecv.dense.quantizing_data import split_pictures
from phonecv.errors import UserError
from phonecv.training import checks, load_config, train
from phonecv.training.setup import open_setup
from training.conftest import SMALL_DENSE, Configure

COUNTS = {"cat": 12, "dog": 8, "lynx": 2}


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    """Class folders without splits; 2.png of every class is 0.png again, saved anew."""
    root = tmp_path / "pets"
    for kind, (name, count) in enumerate(COUNTS.items()):
        (root / name).mkdir(parents=True)
        for number in range(count):
            image = noise((48, 48), seed=100 * kind + number)
            image.save(root / name / f"{number}.png")
        if count > 2:
            noise((48, 48), seed=100 * kind).save(root / name / "2.jpg", quality=90)
            (root / name / "2.png").unlink()
    return root


def sides(setup: Any) -> tuple[set[str], set[str]]:
    train, val = (set(split.names) for split in (setup.train, setup.val))
    return train, val


def test_class_folders(flat: Path, configure: Configure, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Trained, gone on with, evaluated: always by the same lists."""
    config = configure(f"data.path={flat}", "schedule.epochs=1", "run.audit=true")
    result = train(config)
    said = capsys.readouterr().out
    train_names, val_names = (set(read_names(list_of(result.run_dir, split))) for split in ("train", "val"))
    assert not train_names & val_names
    assert len(train_names | val_names) == sum(COUNTS.values())
    assert Counter(name.split("/")[0] for name in val_names) == {"cat": 2, "dog": 2, "lynx": 1}
    for name in ("cat", "dog"):
        assert len({f"{name}/0.png", f"{name}/2.jpg"} & val_names) in (0, 2), "a picture on both sides"
    assert "held out for validation are 5 of 22 pictures of" in said
    assert "--val SHARE" in said
    assert "no validation split" not in said

    # A run that goes on keeps to its lists; what came since is trained on.
    noise(seed=999).save(flat / "cat" / "new.png")
    setup: Any = open_setup(config)
    assert sides(setup) == (train_names | {"cat/new.png"}, val_names)
    assert setup.divided.told(result.run_dir)[0].startswith("held out for validation are those in")

    best = result.run_dir / "best.safetensors"
    report = phonecv.evaluate(best, flat)
    assert report.count == len(val_names)
    assert any("held out of its training" in note for note in report.notes)
    everything = phonecv.evaluate(best, flat, split="all")
    assert everything.count == 23
    assert everything.notes == ("those that the network was trained on are among these",)
    assert phonecv.evaluate(best, flat, split="train").count == len(train_names)
    # Away from its lists nobody knows which were trained on, and that is said.
    shutil.copy(best, tmp_path / "away.safetensors")
    report = phonecv.evaluate(tmp_path / "away.safetensors", flat)
    assert report.count == 23
    assert any("--list-file" in note for note in report.notes)
    # The lists are lists like any others.
    lists = [f"data.{split}_list={list_of(result.run_dir, split).absolute()}" for split in ("train", "val")]
    setup: Any = open_setup(configure(f"data.path={flat}", *lists, out="again"))
    assert sides(setup) == (train_names, val_names)
    assert setup.classes == tuple(COUNTS)

    # What they say finds ranges and chooses; without them no run goes on, as other pictures would be held out.
    lists_of_run = own_lists(best, flat)
    assert lists_of_run == tuple(list_of(result.run_dir, split) for split in ("train", "val"))
    network: Any = phonecv.load_checkpoint(None, best)
    with pytest.raises(UserError, match=r"split/val\.txt has 5 pictures to choose by"):
        split_data(flat, network, lists=lists_of_run)
    with pytest.raises(UserError, match=r"val\.txt has 5 pictures to choose by"):
        split_pictures(flat, (32, 32), lists=lists_of_run)
    list_of(result.run_dir, "val").unlink()
    with pytest.raises(UserError, match=r"not the lists of what it trained on and held out .*split/train\.txt"):
        open_setup(config)


def test_seed_and_share(flat: Path, configure: Configure) -> None:
    first = sides(open_setup(configure(f"data.path={flat}", out="a")))
    assert sides(open_setup(configure(f"data.path={flat}", out="b"))) == first
    assert sides(open_setup(configure(f"data.path={flat}", "run.seed=1", out="c"))) != first
    half = sides(open_setup(configure(f"data.path={flat}", "data.val=0.5", out="d")))
    assert 9 <= len(half[1]) <= 13


def test_lists_of_another_data_set(flat: Path, configure: Configure) -> None:
    config = configure(f"data.path={flat}")
    open_setup(config).divided.write(Path(config.run.out))
    for name in read_names(list_of(Path(config.run.out), "val")):
        (flat / name).unlink()
    with pytest.raises(UserError, match="bring them back"):
        open_setup(config)


@pytest.mark.parametrize(
    ("overrides", "spoil", "message"),
    [
        (("data.val=1.5",), None, r"data\.val=1\.5 is out of range; it must be > 0 and < 1"),
        (("data.val=0.01",), None, "leaves nothing to validate on"),
        ((), lambda root: (root / "lynx/0.png").unlink(), "1 of 3 classes have a single sample.*lynx"),
        (("data.val=0.2",), lambda root: shutil.copytree(root, root / "val"), "there is a validation split already"),
        (("data.val=0.2", "data.val_list=x.txt"), None, r"data\.val_list=x\.txt"),
    ],
)
def test_what_cannot_be_divided(
    overrides: tuple[str, ...], spoil: Any, message: str, flat: Path, configure: Configure, tmp_path: Path
) -> None:
    if spoil is not None:
        whole = tmp_path / "spoilt"
        shutil.copytree(flat, whole / "train" if message.startswith("there") else whole)
        spoil(whole)
        flat = whole
    with pytest.raises(UserError, match=message):
        checks.check_before(configure(f"data.path={flat}", *overrides))
    assert not (tmp_path / "run").exists()


def test_the_audit_says_the_same(flat: Path) -> None:
    report = audit(flat)
    assert report.splits == {"all": {"images": 22, "classes": 3, "smallest": 2, "largest": 12}}
    told = [finding for finding in report.findings if finding.kind == "unsplit"]
    assert [finding.severity for finding in told] == ["note"]
    assert "holds 5 of the 22 pictures out" in told[0].message
    (flat / "lynx/0.png").unlink()
    assert [finding.severity for finding in audit(flat).findings if finding.kind == "unsplit"] == ["error"]


def test_a_training_folder_alone(pictures: Path, configure: Configure, tmp_path: Path) -> None:
    """train/ without val/; and with test/, which is left for the end where a share is asked for."""
    root = tmp_path / "data"
    shutil.copytree(pictures / "train", root / "train")
    setup: Any = open_setup(configure(f"data.path={root}"))
    assert (len(setup.train), len(setup.val)) == (18, 6)
    assert all(name.startswith("train/") for name in sides(setup)[1])
    shutil.copytree(pictures / "val", root / "test")
    setup: Any = open_setup(configure(f"data.path={root}", out="other"))
    assert len(setup.val) == 10
    setup: Any = open_setup(configure(f"data.path={root}", "data.val=0.25", out="third"))
    assert (len(setup.train), len(setup.val)) == (18, 6)


def written(root: Path, lines: list[str], name: str = "labels.csv") -> Path:
    (root / name).write_text("\n".join(lines) + "\n")
    return root


def test_one_list(flat: Path, configure: Configure, tmp_path: Path) -> None:
    """A CSV beside one folder of pictures; with a column of splits, which decides."""
    root = tmp_path / "listed"
    (root / "images").mkdir(parents=True)
    rows = []
    for path in sorted(flat.rglob("*.*")):
        name = f"images/{path.parent.name}{path.name}"
        shutil.copy(path, root / name)
        rows.append((name, path.parent.name))
    written(root, ["file,species", *(f"{name},{word}" for name, word in rows)])
    setup: Any = open_setup(configure(f"data.path={root}"))
    assert setup.classes == tuple(COUNTS)
    assert (len(setup.train), len(setup.val)) == (17, 5)
    assert audit(root, quick=True).splits["all"]["images"] == 22
    setup.divided.write(tmp_path / "run")
    assert "\tlynx\n" in list_of(tmp_path / "run", "val").read_text()

    split = ["val" if place % 4 == 0 else "Training" for place in range(len(rows))]
    written(
        root, ["file,species,split", *(f"{name},{word},{one}" for (name, word), one in zip(rows, split, strict=True))]
    )
    setup: Any = open_setup(configure(f"data.path={root}", out="column"))
    assert sides(setup)[1] == {name for place, (name, _) in enumerate(rows) if place % 4 == 0}
    assert len(setup.train) + len(setup.val) == 22
    assert set(audit(root, quick=True).splits) == {"train", "val"}
    with pytest.raises(UserError, match="there is a validation split already"):
        open_setup(configure(f"data.path={root}", "data.val=0.2", out="both"))


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_the_lists_of_hugging_face(flat: Path, configure: Configure, tmp_path: Path, form: str) -> None:
    """imagefolder: metadata.csv or metadata.jsonl beside the pictures of each split."""
    root = tmp_path / "hub"
    for split, wanted in (("train", range(1, 12)), ("validation", (0,))):
        (root / split).mkdir(parents=True)
        rows = [path for path in sorted(flat.rglob("*.*")) if int(path.stem) in wanted]
        for path in rows:
            shutil.copy(path, root / split / f"{path.parent.name}{path.name}")
        told = [(f"{path.parent.name}{path.name}", path.parent.name) for path in rows]
        lines = ["file_name,label", *map(",".join, told)]
        if form == "jsonl":
            lines = [json.dumps({"label": label, "text": 'a "b", c\n', "file_name": name}) for name, label in told]
        written(root / split, lines, f"metadata.{form}")
    setup = open_setup(configure(f"data.path={root}"))
    assert (setup.classes, *map(len, sides(setup))) == (tuple(COUNTS), 19, 3)


def test_a_list_of_boxes_is_no_list_of_classes(flat: Path, configure: Configure, tmp_path: Path) -> None:
    root = tmp_path / "boxes"
    shutil.copytree(flat / "cat", root / "images")
    written(
        root, ["filename,width,height,class,xmin,ymin,xmax,ymax", *(f"images/{n}.png,9,9,a,1,1,2,2" for n in (0, 1, 3))]
    )
    with pytest.raises(UserError):
        open_setup(configure(f"data.path={root}"))


def dense(recipe: str, root: Path, out: Path, *overrides: str) -> Any:
    return load_config(recipe, [*SMALL_DENSE, f"data.path={root}", f"run.out={out}", *overrides])


def test_label_maps(tmp_path: Path) -> None:
    """One pair of folders; a class that two maps have alone is on both sides."""
    root = tmp_path / "streets"
    for number in range(10):
        path = root / "images" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise((32, 24), seed=number).save(path)
        save_map(squares(number, values=(0, 1, 2) if number < 2 else (0, 1)), root / "masks" / f"{number}.png")
    (root / "classes.txt").write_text("sky\nroad\nsign\n")
    report = audit(root, quick=True)
    assert [finding.severity for finding in report.findings if finding.kind == "unsplit"] == ["note"]
    setup: Any = open_setup(dense("segment_small", root, tmp_path / "run", "data.size=32"))
    assert (len(setup.train), len(setup.val)) == (8, 2)
    assert len({"0.png", "1.png"} & {path.name for path in setup.val.images}) == 1
    setup.divided.write(tmp_path / "run")
    lists = f"data.val_list={list_of(tmp_path / 'run', 'val').absolute()}"
    again: Any = open_setup(dense("segment_small", root, tmp_path / "again", "data.size=32", lists))
    assert again.val.images == setup.val.images
    assert again.train.images == setup.train.images
    checks.check_before(dense("segment_small", root, tmp_path / "checked"))
    with pytest.raises(UserError, match="leaves nothing"):
        checks.check_before(dense("segment_small", root, tmp_path / "checked", "data.val=0.01"))


def test_one_coco_file(tmp_path: Path) -> None:
    write_scenes(tmp_path / "scenes", train=20, val=0)
    root = tmp_path / "one"
    shutil.copytree(tmp_path / "scenes" / "images" / "training", root / "images")
    content = json.loads((tmp_path / "scenes" / "annotations" / "instances_train.json").read_text())
    for image in content["images"]:
        image["file_name"] = f"images/{Path(image['file_name']).name}"
    (root / "result.json").write_text(json.dumps(content))
    checks.check_before(dense("detect_small", root, tmp_path / "run"))
    setup: Any = open_setup(dense("detect_small", root, tmp_path / "run", "data.size=64", "data.val=0.25"))
    assert 4 <= len(setup.val) <= 7
    held = {image.path.name for image in setup.val.images}
    assert not held & {image.path.name for image in setup.whole.images}
    seen = {label for one in setup.whole.class_sets for label in one}
    assert {label for one in setup.val.class_sets for label in one} <= seen
    setup.divided.write(tmp_path / "run")
    assert set(read_names(list_of(tmp_path / "run", "val"))) == {f"images/{name}" for name in held}
    assert [finding.severity for finding in audit(root).findings if finding.kind == "unsplit"] == ["note"]


def test_clips(tmp_path: Path) -> None:
    """Folders of frames in class folders; the middle frame tells copies."""
    root = tmp_path / "clips"
    for name in ("jump", "run"):
        for clip in range(6):
            folder = root / name / f"{clip}"
            folder.mkdir(parents=True)
            for frame in range(4):
                seed = 1000 * (name == "run") + 10 * max(clip, 1) + frame
                noise((40, 40), seed=seed).save(folder / f"{frame}.jpg")
    report = audit(root)
    assert report.layouts == ("class folders of clips (video)",)
    assert [finding.severity for finding in report.findings if finding.kind == "unsplit"] == ["note"]
    config = load_config("clips", [f"data.path={root}", f"run.out={tmp_path / 'run'}", "data.val=0.34"])
    setup: Any = open_setup(config)
    held = sides(setup)[1]
    assert Counter(name.split("/")[0] for name in held) == {"jump": 2, "run": 2}
    for name in ("jump", "run"):
        assert len({f"{name}/0", f"{name}/1"} & held) in (0, 2)
    noise((50, 40), seed=1).save(root / "jump" / "0" / "2.jpg")  # photographs that are numbered have other sizes
    assert not surely_clips(root)
