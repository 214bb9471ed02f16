"""Generators in a bundle: what a denoiser takes and gives, sampled pictures, and a page that samples in a browser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from phonecv.bundles.expected import save_drawing
from phonecv.bundles.room import Found, OutputMeaning
from phonecv.exporting.fields import FileRecord
from phonecv.generation.diffusion import FIRST, LAST, STEPS
from phonecv.generation.opening import GenerateRunner
from phonecv.generation.pictures import to_bytes, to_images
from phonecv.generation.sampling import draw, sample
from phonecv.generation.sampling_page import why_no_page, write_page
from phonecv.generation.verbs import Sampling
from phonecv.opening import open_runner

NEEDED_FIELDS = ("inputs",)
READERS_TESTED = ""

#: How the test pictures are made: few steps, so that phones are done soon.
TEST = Sampling(sampler="ddim", steps=20, guidance=2.0)
#: Of its noise.
SEED = 0
#: Most test pictures, one for each of the first classes.
MOST = 10


def preparation(record: FileRecord) -> list[tuple[str, str]]:
    """What goes in."""
    return [
        ("noisy", "at first normal noise (mean 0, deviation 1); then what the step before has left"),
        ("timesteps", f"how much noise there is: {STEPS - 1} (most) to 0, as many numbers between as there are steps"),
        ("classes", f"the line of labels.txt, from 0; {record['num_classes']} stands for no class"),
    ]


def reading(record: FileRecord) -> list[str]:
    """How outputs become a picture, by DDIM without noise at the steps."""
    return [
        "The first half of the channels is the noise e in the picture x; the second half is for DDPM alone.",
        "For guidance g above 1 run it again without class: e = e_none + g (e_class - e_none).",
        f"k(t) is the product of 1 - b for all steps up to t, b rising evenly from {FIRST:g} to {LAST:g} over {STEPS}"
        " steps.",
        "The clean picture is c = (x - sqrt(1 - k) e) / sqrt(k); for pixels cut it to -1..1, and take"
        " e = (x - sqrt(k) c) / sqrt(1 - k) anew.",
        "The next x is sqrt(k') c + sqrt(1 - k') e, k' of the next smaller step, 1 after the last.",
        "At the end bytes are (x + 1) 127.5, rounded; latents go through the autoencoder first.",
    ]


def output_meanings(record: FileRecord) -> Mapping[str, OutputMeaning]:
    """Of the prediction."""
    return {"prediction": OutputMeaning("the noise; then, -1..1, where its variance lies between its two bounds")}


def why_no_readers(record: FileRecord) -> str:
    """Sampling is a loop around the file, not a reader."""
    return "sampling is a loop around the network, which the steps above say; sample/sample.js has it in JavaScript"


def reader_files(record: FileRecord, name: str) -> dict[str, str]:
    """None, see `why_no_readers`."""
    return {}


def find(file: Path, given: Path, record: FileRecord, folder: Path) -> Found | None:
    """A picture of each of the first classes, and the page that makes the first again in the browser."""
    runner: GenerateRunner = open_runner(file, record["task"])
    labels = torch.arange(min(MOST, runner.num_classes))
    shape = (runner.channels, runner.size, runner.size)
    made = sample(
        runner.denoise, labels, shape=shape, no_class=runner.num_classes, sampling=TEST, clip=not runner.latent,
        seed=SEED,
    )  # fmt: skip
    noise = draw([np.random.default_rng((SEED, 0))], shape)[0]
    files: Mapping[str, str] = {}
    no_page = why_no_page(runner, record["format"])
    if not runner.latent:
        pictures = to_bytes(made)
        row = to_images(torch.cat(list(pictures), 2)[None])[0]
        save_drawing(row, folder)
        if not no_page:
            files = write_page(folder, file, runner, label=0, noise=noise, picture=pictures[0], sampling=TEST)
    means = made.mean((1, 2, 3)).tolist()
    rows = [(runner.classes[label], f"{mean:.4f}") for label, mean in zip(labels.tolist(), means, strict=True)]
    return Found(
        {"sampler": TEST.sampler, "steps": TEST.steps, "guidance": TEST.guidance, "seed": SEED, "means": means},
        what=f"pictures of these classes, by {TEST.sampler} in {TEST.steps} steps with guidance"
        f" {TEST.guidance:g} from phonecv's noise of seed {SEED}",
        header=("class", "mean of the values"),
        rows=rows,
        note=no_page and f"No page samples in the browser: {no_page}.",
        files=files,
    )


def write_class_files(names: Sequence[str], folder: Path) -> Mapping[str, str]:
    """Nothing: classes have names alone."""
    return {}
