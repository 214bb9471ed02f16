"""Generators in a bundle: what a denoiser takes and gives, sampled pictures, and a page that samples in a browser."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from PIL import Image
from safetensors.numpy import load_file

from phonecv.bundles.expected import save_drawing
from phonecv.bundles.room import Found, OutputMeaning, no_class_files, no_sources
from phonecv.exporting.fields import FileRecord
from phonecv.generation.diffusion import FIRST, LAST, STEPS
from phonecv.generation.opening import GenerateRunner
from phonecv.generation.pictures import to_bytes, to_images
from phonecv.generation.sampling import sample
from phonecv.generation.sampling_page import why_no_page, write_page
from phonecv.generation.verbs import Sampling
from phonecv.opening import open_runner

NEEDED_FIELDS = ("inputs",)
READERS_TESTED = ""
WHY_NO_APPS = "a bundle with --to onnx has sample.html already, a page that makes pictures in any browser"

reader_files = app_sources = no_sources
write_class_files = no_class_files

#: How the test picture is made: few steps, so that phones are done soon.
TEST = Sampling(sampler="ddim", steps=20, guidance=2.0)
#: Side that the test picture is drawn at, at least, pixels.
SHOWN = 256


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


def find(file: Path, given: Path, record: FileRecord, folder: Path) -> Found | None:
    """The picture that comes of the noise and the class among the test inputs, and the page that makes it again."""
    runner: GenerateRunner = open_runner(file, record["task"])
    inputs = load_file(given)
    noise, classes = (torch.from_numpy(inputs[one["name"]][:1]) for one in (record["inputs"][0], record["inputs"][2]))
    made = sample(
        runner.denoise,
        classes.long(),
        shape=(runner.channels, runner.size, runner.size),
        no_class=runner.num_classes,
        sampling=TEST,
        clip=not runner.latent,
        begin=noise,
    )
    files: Mapping[str, str] = {}
    no_page = why_no_page(runner, record["format"])
    if not runner.latent:
        (image,) = to_images(to_bytes(made))
        times = max(1, SHOWN // image.width)
        save_drawing(image.resize((times * image.width, times * image.height), Image.Resampling.NEAREST), folder)
        if not no_page:
            files = write_page(folder, file, runner, int(classes), noise[0], to_bytes(made)[0], TEST)
    name = "none" if int(classes) == runner.num_classes else runner.classes[int(classes)]
    how = {"sampler": TEST.sampler, "steps": TEST.steps, "guidance": TEST.guidance}
    figures = {"mean": round(float(made.mean()), 6), "deviation": round(float(made.std()), 6)}
    return Found(
        how | {"class": int(classes)} | figures,
        what=f"this, by {TEST.sampler} in {TEST.steps} steps with guidance {TEST.guidance:g} from its noise and class",
        header=("class", *figures),
        rows=[(name, *(f"{value:.4f}" for value in figures.values()))],
        note=no_page and f"No page samples in the browser: {no_page}.",
        files=files,
    )
