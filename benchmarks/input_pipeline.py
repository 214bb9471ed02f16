"""Training input from JPEG files: phonecv's loader against timm's default loader, doing equal work.

    python benchmarks/input_pipeline.py --data DIR

DIR holds JPEG files anywhere below it; ImageNet's own (500 x 375 px, 110 kB in the middle) are the case that counts.
They are linked into a temporary folder often enough for an epoch. Both loaders crop at random, resize to 224 px with
bilinear or bicubic filters, flip, augment as the recipe says, and end in normalised float32 batches, with the same
batch size and as many workers. They take turns, epoch by epoch, in one process; what counts is processor time of that
process and its workers together, per picture, because wall time depends on what else the machine does.

It runs as a script that sets nothing ("plain"); with one torch thread in the main process, which is kinder to timm: no
OpenMP threads then spin while they wait ("quiet"); and so without TurboJPEG, which the extra "jpeg" brings.

Writes this kind of processor's part of benchmarks/results/input_pipeline.json after every setting. Takes about six
minutes on two cores; `--only SETTING` renews one.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "input_pipeline.json"
SIDE, BATCH, EPOCHS = 224, 32, 2

#: Name -> RandAugment. The first are crops and flips only, as MobileOne's plain recipe; the second is EMO's recipe.
RECIPES = {"crop and flip": None, "emo_224": "rand-m9-mstd0.5-inc1"}

#: Environment of the settings; see above.
SETTINGS: dict[str, dict[str, str]] = {
    "plain": {},
    "quiet": {"OMP_NUM_THREADS": "1"},
    "without TurboJPEG": {"OMP_NUM_THREADS": "1", "PHONECV_TURBOJPEG": ""},
}


def main() -> None:
    """Run all settings, each in a process of its own, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with JPEG files")
    parser.add_argument("--images", type=int, default=1600, help="pictures in an epoch (default 1600)")
    parser.add_argument("--workers", type=int, default=2, help="of both loaders (default 2)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each candidate (default 3)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="result file")
    parser.add_argument("--only", choices=SETTINGS, help="one setting, renewed in the file")
    parser.add_argument("--setting", choices=SETTINGS, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.setting:
        print(json.dumps(compare(chosen.data, chosen.workers, chosen.rounds)))
        return

    from kinds import kind_here, kinds_of, write_kind
    from phonecv.benchmarking.machine import disturbances
    from phonecv.data.pictures import turbojpeg as turbo

    files = sorted(path for path in chosen.data.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    if not files:
        parser.error(f"no JPEG files below {chosen.data}")
    common = {
        "what": "training input from JPEG files at 224 px: milliseconds of processor time per picture",
        "method": f"{EPOCHS} epochs a turn, {chosen.rounds} rounds, candidates in turns; processor time of the process"
        f" and its {chosen.workers} workers; batch {BATCH}; medians; ratio = timm / phonecv, median of the rounds' own",
        "timm": "create_dataset and create_loader (PrefetchLoader, persistent workers); its posterize mended for"
        " Pillow 13, which refuses its 0 bits",
    }
    part: dict[str, Any] = {
        "disturbances": disturbances(),
        "data": describe(files),
        "turbojpeg": turbo.load() is not None,
    }
    part |= {"parts": parts(files), "pixels": pixel_differences(files)}
    print(json.dumps({"parts": part["parts"], "pixels": part["pixels"]}, indent=1))
    settings = kinds_of(chosen.out).get(kind_here(), {}).get("settings", {})
    with tempfile.TemporaryDirectory() as temporary:
        link(files, Path(temporary) / "train", chosen.images)
        for setting in [chosen.only] if chosen.only else SETTINGS:
            command = [sys.executable, __file__, "--data", temporary, "--setting", setting]
            command += ["--workers", str(chosen.workers), "--rounds", str(chosen.rounds)]
            done = subprocess.run(
                command, env=os.environ | SETTINGS[setting], check=True, capture_output=True, text=True
            )
            settings[setting] = json.loads(done.stdout.splitlines()[-1])
            show(setting, settings[setting])
            write_kind(chosen.out, common, {**part, "settings": settings})


def compare(root: Path, workers: int, rounds: int) -> dict[str, Any]:
    """All candidates on all recipes, in turns."""
    import torch

    from phonecv.benchmarking.timing import Timing, ratios

    candidates: dict[tuple[str, str], Callable[[], Iterable[Any]]] = {}
    for recipe, policy in RECIPES.items():
        candidates[recipe, "timm"] = lambda policy=policy: timm_batches(root / "train", policy, workers)
        candidates[recipe, "phonecv"] = lambda policy=policy: phonecv_batches(root, policy, workers, "fast")
        candidates[recipe, "phonecv, exact"] = lambda policy=policy: phonecv_batches(root, policy, workers, "exact")
    seconds: dict[tuple[str, str], list[tuple[float, float]]] = {key: [] for key in candidates}
    for number in range(rounds + 1):
        for key in list(candidates)[:: -1 if number % 2 else 1]:
            before, started, count = processor_time(), time.perf_counter(), 0
            for images in candidates[key]():
                assert images.shape[1:] == (3, SIDE, SIDE)
                assert images.dtype == torch.float32
                count += len(images)
            taken = (time.perf_counter() - started) / count, (processor_time() - before) / count
            if number:  # the first round warms up
                seconds[key].append(taken)
    found: dict[str, Any] = {"torch_threads": torch.get_num_threads()}
    for recipe in RECIPES:
        table = {name: values for (one, name), values in seconds.items() if one == recipe}
        cpu = {name: Timing(tuple(cpu for _, cpu in values)) for name, values in table.items()}
        wall = {name: Timing(tuple(wall for wall, _ in values)) for name, values in table.items()}
        ratio = ratios(cpu, "timm")
        wall_ratio = ratios(wall, "timm")
        found[recipe] = {
            name: {
                "cpu_ms": round(1000 * cpu[name].median, 3),
                "spread": round(cpu[name].spread, 3),
                "images_per_core_second": round(1 / cpu[name].median),
                "images_per_second": round(1 / wall[name].median),
                "ratio": {key: round(value, 3) for key, value in asdict(ratio[name]).items()},
                "wall_ratio": round(wall_ratio[name].median, 3),
            }
            for name in table
        }
    return found


def timm_batches(folder: Path, policy: str | None, workers: int) -> Iterable[Any]:
    """Epochs of timm's loader."""
    import timm.data.auto_augment
    import torch
    from timm.data import create_dataset, create_loader

    from phonecv.data.folders.transforms import posterize

    timm.data.auto_augment.NAME_TO_OP["PosterizeIncreasing"] = posterize
    loader = create_loader(
        create_dataset("folder", str(folder)),
        (3, SIDE, SIDE),
        BATCH,
        is_training=True,
        num_workers=workers,
        auto_augment=policy,
        color_jitter=None,
        interpolation="random",
        device=torch.device("cpu"),
    )
    for _ in range(EPOCHS):
        for images, _labels in loader:
            yield images


def phonecv_batches(root: Path, policy: str | None, workers: int, reading: str) -> Iterable[Any]:
    """Epochs of our loader."""
    from phonecv.data.folders.augment import AugmentConfig
    from phonecv.data.folders.listing import read_split
    from phonecv.data.folders.transforms import train_transform
    from phonecv.data.loading.loader import ClassificationDataset, TrainBatches, make_loader
    from phonecv.preprocessing import Preprocessing

    listing = read_split(root, "train")
    augment = AugmentConfig(auto_augment=policy, reading=reading)
    dataset = ClassificationDataset(listing, train_transform(augment, SIDE, Preprocessing()))
    epoch = TrainBatches(len(listing), BATCH, seed=0).epoch(0)
    loader = make_loader(dataset, epoch, workers, persistent=True)
    for number in range(EPOCHS):
        epoch.move_to(number)
        for batch in loader:
            yield batch.images  # pyrefly: ignore[missing-attribute]


def processor_time() -> float:
    """Seconds of this process and of its workers that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def parts(files: list[Path], rounds: int = 5) -> dict[str, Any]:
    """Where the time goes, in this process, in milliseconds per picture; the least that decoding can take."""
    import torch
    from PIL import Image
    from timm.data.transforms import RandomResizedCropAndInterpolation

    from phonecv.benchmarking.timing import interleave
    from phonecv.data.folders.transforms import resized_part
    from phonecv.data.pictures.crops import open_part

    torch.set_num_threads(1)
    crop = RandomResizedCropAndInterpolation(SIDE, interpolation="random")
    data = [path.read_bytes() for path in files]

    def choose(size: tuple[int, int]) -> tuple[int, int, int, int]:
        stand_in: Any = torch.empty(()).expand(3, size[1], size[0])
        top, left, height, width = crop.get_params(stand_in, crop.scale, crop.ratio)
        return left, top, left + width, top + height

    whole = [Image.open(io.BytesIO(one)).convert("RGB") for one in data]
    pieces = [open_part(path, choose, side=SIDE) for path in files]

    def entropy() -> None:
        for one in data:
            image = Image.open(io.BytesIO(one))
            image.draft("L", (1, 1))  # one grey pixel of 64: next to nothing but entropy decoding is left
            image.load()

    steps: dict[str, Callable[[], object]] = {
        "Pillow: decode all": lambda: [Image.open(io.BytesIO(one)).convert("RGB") for one in data],
        "Pillow: entropy decoding alone (at 1/8, grey)": entropy,
        "timm: crop and resize": lambda: [crop(image) for image in whole],
        "phonecv: decode down to the crop": lambda: [open_part(path, choose, side=SIDE) for path in files],
        "phonecv: resize": lambda: [
            resized_part(part, SIDE, random.choice(("bilinear", "bicubic"))) for part in pieces
        ],
    }
    times = interleave(steps, rounds=rounds, warmup=1)
    return {name: round(1000 * timing.median / len(files), 3) for name, timing in times.items()}


def pixel_differences(files: list[Path], repeats: int = 5) -> dict[str, Any]:
    """How far the fast reading's pixels are from timm's, with the same random decisions, in levels of 255."""
    import torch

    from phonecv.data.folders.augment import AugmentConfig
    from phonecv.data.folders.transforms import Reader, train_transform
    from phonecv.data.loading.loader import seeded
    from phonecv.data.pictures.opening import open_image
    from phonecv.preprocessing import Preprocessing

    found = {}
    for recipe, policy in RECIPES.items():
        plain = Preprocessing(mean=(0, 0, 0), std=(1, 1, 1))
        transform = train_transform(AugmentConfig(auto_augment=policy), SIDE, plain)
        assert isinstance(transform, Reader)
        errors, absolute, worst = [], [], 0.0
        for number, path in enumerate(files * repeats):
            with seeded(number):
                ours = transform.read(path).image.double()
            with seeded(number):
                theirs = transform(open_image(path)).double() * 255
            difference = (ours - theirs.round()).abs()
            errors.append(float(difference.square().mean()))
            absolute.append(float(difference.mean()))
            worst = max(worst, errors[-1])
        found[recipe] = {
            "mean_absolute_difference": round(statistics.mean(absolute), 4),
            "psnr_db": round(float(10 * torch.tensor(255**2 / statistics.mean(errors)).log10()), 1),
            "psnr_db_of_worst_picture": round(float(10 * torch.tensor(255**2 / worst).log10()), 1),
        }
    return found


def describe(files: list[Path]) -> dict[str, Any]:
    """What the pictures are like."""
    from phonecv.data.pictures.opening import probe_image

    sizes = [probe_image(path)[1:] for path in files]
    return {
        "pictures": len(files),
        "median_width": statistics.median(width for width, _ in sizes),
        "median_height": statistics.median(height for _, height in sizes),
        "mean_megapixels": round(statistics.mean(width * height for width, height in sizes) / 1e6, 3),
        "mean_kilobytes": round(statistics.mean(path.stat().st_size for path in files) / 1e3, 1),
    }


def link(files: list[Path], folder: Path, count: int) -> None:
    """A class folder each for eight classes, with links to the files, over and over until there are `count`."""
    for number in range(count):
        path = folder / f"class{number % 8}" / f"{number:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(files[number % len(files)].resolve())


def show(setting: str, found: dict[str, Any]) -> None:
    """A table on the screen."""
    print(f"{setting} ({found['torch_threads']} torch threads)")
    for recipe in RECIPES:
        for name, row in found[recipe].items():
            ratio = row["ratio"]
            print(
                f"  {recipe:14} {name:15} {row['cpu_ms']:6.3f} ms  {row['images_per_second']:5d} images/s  "
                f"x{ratio['median']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f}), wall x{row['wall_ratio']:.2f}"
            )


if __name__ == "__main__":
    main()
