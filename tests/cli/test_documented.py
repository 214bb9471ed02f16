"""Every command of the README and the guides is run as it is written, on small data and without a network.

The catalog's networks are shrunk to a few layers and their public files are made here in the published layouts;
the folders that a page speaks of (`photos`, `cells`, ...) hold a dozen small pictures. What takes minutes by
nature is left out by `LEFT_OUT`, each with its reason, or shortened by `CHANGED`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

import phonecv
from cli.conftest import CLASSES, Run
from cli.test_docs import PAGES, commands
from conftest import TINY
from data.foreign.test_trained import yolo as write_yolo
from data.label_folders import save_map, squares, write_labels
from data.picture_files import noise
from detect.scenes import write_scenes
from detect.test_predict import write_film
from phonecv.data import samples as embedded
from phonecv.data.samples import DIGITS
from phonecv.files import cache_dir
from phonecv.models.catalog import MODELS
from phonecv.preprocessing import Preprocessing
from phonecv.weights import download
from settle import settle
from video import conftest as video

#: Start of a command -> why it is not run here.
LEFT_OUT = {
    "push": "needs the hub; tests/weights/test_hub.py has a stand-in",
    "predict hf://": "needs the hub; tests/weights/test_hub.py has a stand-in",
    "compare": "wants two finished runs; tests/test_compare.py writes some",
    "bench": "measures for minutes; test_bench.py runs it shortened",
    "predict runs/cells/best.safetensors --camera": "needs a camera",
    "predict runs/videos/best.safetensors --camera": "needs a camera",
    "train emov2_224 --data /data": "tests/training/test_devices_page.py runs it, by several processes",
    "eval /shared": "likewise",
    "predict /shared": "likewise",
    "train runs/photos schedule.epochs=40": "tests/training/test_going_on.py goes on with a run",
    "train runs/photos --data /mnt/photos": "likewise, with data that were moved",
    "convert-data": "tests/data/shards/test_rewriting.py writes each kind",
    "distill emov2_224_kd": "timm fetches the teacher",
    "distill detect_small": "wants a teacher with the same anchors; tests/training/test_distill_dense.py has one",
    "distill segment_small": "tests/training/test_distill_dense.py has one",
    "distill finetune --teacher timm:resnet50 --teacher-weights pretrained": "timm fetches the teacher",
    "export runs/cells/best.safetensors cells-final.onnx": "the slowest export; tests/dense/test_opening.py has one",
    "quantize runs/cells/best.safetensors": "wants a detector sure of something, as test_dense.py has",
    "samples clips": "draws thousands of clips; test_samples.py writes a few",
    "samples plain": "draws thousands of pictures; test_samples.py writes a few",
    "samples scenes": "draws hundreds of pictures; test_samples.py writes a few",
    "samples digits": "draws thousands of pictures; test_samples.py writes a few",
}

#: Text in a command -> what stands in its place here.
CHANGED = {
    "--to onnx,litert,coreml": "--to onnx",  # the other converters take half a minute each; tests/exporting runs them
    "--to litert,coreml,executorch": "--to onnx,pt2",
    "--to litert,coreml,onnx": "--to onnx",
    "--to litert,coreml": "--to onnx",
    "--to litert --images": "--to onnx --images",
    "--to onnx,litert": "--to onnx",
    "--to openvino --data": "--to onnx --data",
    "--include int8/photos.tflite": "--include int8/photos.onnx",
    "generate_digits": 'generate_digits model.overrides={"width":32,"depth":1} generate.samples=0',
    "--features runs/reader/best.safetensors": "--features runs/reader/best.safetensors --steps 2",
    "--count 16": "--count 2 --steps 2",
    "--devices 8": "",  # tests/training/test_processes.py starts several
    "--max-drop 0.5": "",
    "--epochs 40": "",
    "data.size=400 data.longest=666": "data.size=64 data.longest=96",
}

_ONE_STEP = (
    "schedule.epochs=1 schedule.warmup_epochs=0 data.passes=1 schedule.epoch_steps=1 data.batch_size=3 data.workers=0"
)

#: Recipes whose pictures are made smaller.
SIZED = [[name] for name in ("detect_small", "segment_small", "clips")]

#: Verb -> what is added, to make it short.
ADDED = {
    "train": f"{_ONE_STEP} run.eval_every=1",
    "distill": _ONE_STEP,
    "quantize": "--no-fine-tune --max-drop 99",
}


@pytest.fixture(scope="module", autouse=True)
def small_catalog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The catalog with a few layers a network, and a cache that holds a public file of each."""
    cache = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PHONECV_CACHE", str(cache))
        patch.setattr(download, "check_file", lambda path, record: None)  # of the published file
        for place, (name, record) in enumerate(list(MODELS.items())):
            family = {"emo": "emo_1m", "emov2": "emov2_1m", "mobileone": "mobileone_s0"}[record.family]
            config = {**record.config, **TINY[family]}
            config["widths"] = (*config["widths"][:3], config["widths"][3] + 16 * place)  # told apart by their shapes
            if "se_pairs" in config:
                config["se_pairs"] = (0, 0, 1, 1)
            size = {224: 64, 256: 64, 512: 96}.get(record.preprocessing.size, 64)
            patch.setitem(
                MODELS, name, replace(record, config=config, preprocessing=replace(record.preprocessing, size=size))
            )
        for name in ("emov2_1m", "emov2_2m", "emov2_5m", "emo_5m", "mobileone_s0", "mobileone_s1"):
            for record in MODELS[name].weights:
                model = settle(phonecv.create_model(name), size=64)
                model = phonecv.fuse(model) if record.form == "deploy" else model
                phonecv.save_checkpoint(model, cache / record.filename, layout=record.layout)
        yield


@pytest.fixture(scope="module")
def networks(small_catalog: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier, a detector and a segmenter of three classes, and the foreign files that the pages name."""
    folder = tmp_path_factory.mktemp("networks")
    torch.manual_seed(0)
    model = phonecv.create_model("mobileone_s0", num_classes=3)  # the family that exports fastest
    model.class_names, model.preprocessing = CLASSES, Preprocessing(size=64, crop=1.0)
    phonecv.save_checkpoint(settle(model, size=64), folder / "classifier.safetensors")
    backbone = folder / "classifier.safetensors"
    detector = phonecv.create_detector(
        "ssdlite320", "mobileone_s0", num_classes=3, weights=backbone, options={"size": 64}
    )
    detector.class_names = ("ball", "box", "cat")
    phonecv.save_checkpoint(detector.eval(), folder / "detector.safetensors")
    segmenter = phonecv.create_segmenter("semantic_fpn", "mobileone_s0", num_classes=3, weights=backbone)
    segmenter.class_names = ("floor", "box", "ball")
    phonecv.save_checkpoint(segmenter.eval(), folder / "segmenter.safetensors")
    generator = phonecv.create_generator("d_emov2_digits", num_classes=10, width=32, depth=1)
    reader = settle(phonecv.create_model("mobileone_s0", num_classes=10), size=64)
    for made, file in ((generator, "generator"), (reader, "reader")):
        made.class_names = DIGITS
        phonecv.save_checkpoint(made.eval(), folder / f"{file}.safetensors")
    watcher = phonecv.create_video_classifier("v_emov2_1m", num_classes=2)
    watcher.class_names = video.CLASSES
    phonecv.save_checkpoint(watcher.eval(), folder / "watcher.safetensors")
    fused = phonecv.fuse(settle(phonecv.create_model("mobileone_s0"), size=64))
    phonecv.save_checkpoint(fused, folder / "mobileone_s0.pth", layout="apple")
    for name, file, layout in (
        ("mobileone_s0", "mobileone_s0.pth.tar", "apple"),
        ("mobileone_s0", "mobileone_s0_unfused.pth.tar", "apple"),
        ("emo_5m", "net.pth", "emo"),
    ):
        phonecv.save_checkpoint(settle(phonecv.create_model(name), size=64), folder / file, layout=layout)
    phonecv.save_checkpoint(settle(phonecv.create_model("mobileone_s1"), size=64), folder / "mobileone_s1.safetensors")
    phonecv.export(model, folder / "photos.onnx")
    phonecv.save_checkpoint(phonecv.create_model("emov2_5m"), folder / "emov2_5m.safetensors")
    live, average = (torch.load(cache_dir() / f"emov2_5m_224{tag}.pth") for tag in ("", "_kd"))
    torch.save({"net": live, "net_E": average, "epoch": 3}, folder / "latest_ckpt.pth")
    return folder


@pytest.fixture
def place(networks: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Enter an empty folder that holds what the commands of a page speak of."""

    def enter(page: str) -> None:
        monkeypatch.chdir(tmp_path)
        for name in ("photos", "signs", "album"):
            shutil.copytree(pictures, name)
        shutil.copytree(pictures / "train", "pets")  # not divided
        write_yolo(Path("yolo-export"))
        for index, file in enumerate(sorted((pictures / "val").rglob("*.png"))):
            path = Path("signs-test", *file.parts[-3:])  # other pictures of the same classes
            path.parent.mkdir(parents=True, exist_ok=True)
            noise(seed=index).save(path)
        for split in ("train", "val"):  # ImageNet's folders
            for name, wnid in zip(CLASSES, ("n01440764", "n01443537", "n01484850"), strict=True):
                shutil.copytree(pictures / split / name, Path("imagenet", split, wnid))
        for number, name in enumerate(2 * DIGITS):
            path = Path("digits", "train" if number < len(DIGITS) else "val", name, "0.png")
            path.parent.mkdir(parents=True)
            noise((32, 32), seed=number).save(path)
        video.write_clips(Path("videos"), train=4, val=2)
        shutil.copytree("videos", "moving")
        video.save_frames(video.bar(0, right=True), Path("frames"))
        picture = next((pictures / "val").rglob("*.png"))
        for folder in ("holiday", "more"):
            Path(folder).mkdir()
            for index in range(2):
                with Image.open(picture) as image:
                    image.convert("RGB").save(f"{folder}/{index}.{'jpg' if folder == 'holiday' else 'png'}")
        shutil.copy("holiday/0.jpg", "photo.jpg")
        write_labels(Path("streets"))
        for folder in ("coco",) if page == "segmentation.md" else ("cells", "coco"):
            for seed, split in enumerate(("train", "val", "test")):
                write_scenes(Path(folder), 8, seed, split=split)
                noise((64, 96), seed).save(f"{folder}/images/{split}/001.png")  # it shows nothing: alike in all
        if page == "segmentation.md":
            write_labels(Path("cells"), images="images/{split}", counts={"training": 4, "validation": 3})
        if page == "data.md":  # of both kinds
            for picture in sorted(Path("cells/images").rglob("*.png")):
                with Image.open(picture) as image:
                    labels = squares(int(picture.stem), size=image.size[::-1])
                save_map(labels, Path("cells/masks", picture.parent.name, picture.name))
        for folder in ("scenes", "crowds") if page == "gallery.md" else ():
            embedded.write_scenes(Path(folder), train=4, val=2, width=96, height=64)
        dense = "segmenter" if page == "segmentation.md" else "detector"
        runs = {
            "generator": "generator",
            "reader": "reader",
            "videos": "watcher",
            "photos": "classifier",
            "signs": "classifier",
            "large": "classifier",
            "emov2": "emov2_5m",
        }
        for run, file in (runs | {"s1": "mobileone_s1", "cells": dense}).items():
            Path("runs", run).mkdir(parents=True)
            for suffix in (".safetensors", ".json"):
                shutil.copy(networks / f"{file}{suffix}", f"runs/{run}/best{suffix}")
        for file in networks.glob("*.pth*"):
            shutil.copy(file, file.name)
        if page != "deploy.md":  # which makes it
            for file in networks.glob("photos.onnx*"):
                shutil.copy(file, file.name)
        Path("my-recipe.yaml").write_text("model:\n  name: emo_1m\nschedule:\n  epochs: 3\n")
        shutil.copytree(networks, "int8")
        write_film(Path("walk.mp4"), 2)
        write_results(Path("detections.json"), Path("coco/annotations/instances_val.json"))

    return enter


def write_results(path: Path, truth: Path) -> None:
    """Detections in COCO's result format: the truth itself."""
    known = json.loads(truth.read_text())["annotations"]
    found = [{key: each[key] for key in ("image_id", "category_id", "bbox")} | {"score": 0.5} for each in known]
    path.write_text(json.dumps(found))


def test_nothing_is_left_out_or_changed_that_no_page_says() -> None:
    lines = [" ".join(tokens) for tokens in commands()]
    for start in LEFT_OUT:
        assert any(line.startswith(start) for line in lines), start
    for text in CHANGED:
        assert any(text in line for line in lines), text


#: Pages whose verbs the README has, too; here are more of their options.
LONG = (
    "bundle.md",
    "deploy.md",
    "deploy-dense.md",
    "detection.md",
    "evaluate-predict.md",
    "gallery.md",
    "generation.md",
    "quantize.md",
    "segmentation.md",
    "train.md",
    "video.md",
)


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=pytest.mark.long if page.name in LONG else ()) for page in PAGES if commands([page])],
    ids=lambda page: page.name,
)
def test_the_commands_of_a_page_run(page: Path, place: Callable[[str], None], run: Run) -> None:
    place(page.name)
    done = set()
    for tokens in commands([page]):
        line = " ".join(tokens)
        if line in done or any(line.startswith(start) for start in LEFT_OUT):
            continue
        done.add(line)
        shortened = _shortened(tokens)
        shown = run(*shortened)
        if shown.status:
            pytest.fail(
                f"`phonecv {' '.join(shortened)}` ended with {shown.status}\n{shown.out}{shown.err}", pytrace=False
            )


def _shortened(tokens: list[str]) -> list[str]:
    line = "\0".join(tokens)
    for text, instead in CHANGED.items():
        line = line.replace(text.replace(" ", "\0"), instead.replace(" ", "\0"))
    words = []
    for word in line.split("\0"):
        found = sorted(map(str, Path().glob(word))) if "*" in word and tokens[0] == "predict" else []  # as a shell does
        words += found or [word] * bool(word)
    added = ADDED.get(tokens[0], "") + (
        " data.size=64" if tokens[1:2] in (["detect_small"], ["segment_small"], ["clips"]) else ""
    )
    return words + added.split() * (len(tokens) > 1 and "--show" not in tokens)
