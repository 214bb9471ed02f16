"""`phonecv generate` and `phonecv.generate`: pictures of the classes asked for, whatever runs the generator."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import phonecv
from cli.conftest import Run
from generation.exact import COLOURS, exact_runner
from generation.test_autoencoder import TINY
from phonecv.errors import UserError
from phonecv.generation.autoencoder import open_autoencoder
from phonecv.generation.create import create_generator
from phonecv.generation.sampling import sample
from phonecv.generation.verbs import Sampling


@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
def test_the_class_asked_for_is_what_comes(sampler: Any) -> None:
    made = phonecv.generate(exact_runner(), classes="blue,0", count=5, sampler=sampler, steps=20)
    assert made.classes == (2, 0, 2, 0, 2)
    wanted = ((COLOURS[list(made.classes)] + 1) * 127.5).round()
    off = made.pictures.float() - wanted[:, :, None, None]
    assert off.abs().max() <= (1 if sampler == "ddim" else 3)
    assert "5 pictures of 16 x 16 by an exact generator" in str(made)


def test_guidance_goes_beyond_the_class() -> None:
    near, far = (phonecv.generate(exact_runner(), classes="red", count=1, sampler="ddim", steps=20, guidance=g)
                 for g in (1.0, 1.5))  # fmt: skip
    mean = [float(made.pictures[0, 0].float().mean() - made.pictures[0, 1].float().mean()) for made in (near, far)]
    assert mean[1] > mean[0] + 20


def test_a_picture_depends_on_seed_and_number_alone(checkpoint: Path) -> None:
    options = {"sampler": "ddpm", "steps": 3, "device": "cpu"}
    one, other = (phonecv.generate(checkpoint, count=5, batch_size=size, seed=7, **options) for size in (1, 5))
    assert (one.pictures.int() - other.pictures.int()).abs().max() <= 1
    assert (one.pictures != phonecv.generate(checkpoint, count=5, seed=8, **options).pictures).any()


def test_the_command_leaves_pictures_and_how_each_was_made(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "made"
    options = ["--sampler", "ddim", "--steps", "2", "--seed", "3", "--device", "cpu"]
    assert run("generate", checkpoint, out, "--count", "4", *options).status == 0
    shown = run("generate", checkpoint, out, "--classes", "green,2", "--count", "3", *options)
    assert shown.status == 0
    assert "3 pictures of 24 x 24" in shown.out
    assert sorted(path.name for path in out.iterdir()) == [
        "000000.png", "000001.png", "000002.png", "grid.png", "samples.json",
    ]  # fmt: skip
    record = json.loads((out / "samples.json").read_text())
    assert [picture["name"] for picture in record["pictures"]] == ["green", "blue", "green"]
    assert (record["seed"], record["sampler"], record["steps"], record["guidance"]) == (3, "ddim", 2, 1.0)
    made = phonecv.generate(checkpoint, classes=["green", 2], count=3, sampler="ddim", steps=2, seed=3, device="cpu")
    saved = np.stack([np.asarray(Image.open(out / f"{number:06d}.png")) for number in range(3)])
    np.testing.assert_array_equal(saved, made.pictures.permute(0, 2, 3, 1).numpy())
    assert made.to_dict()["pictures"] == record["pictures"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--classes", "yellow"], ["no class 'yellow'", "red, green, blue"]),
        (["--classes", "3"], ["no class '3'", "0 to 2"]),
        (["--count", "0"], ["count=0"]),
        (["--steps", "1001"], ["steps=1001"]),
        (["--sampler", "euler"], ["euler", "ddpm"]),
        (["--autoencoder", "vae"], ["works on pixels", "vae"]),
        (["--topk", "3"], ["--topk"]),
    ],
)
def test_mistakes(run: Run, checkpoint: Path, tmp_path: Path, options: list[str], words: list[str]) -> None:
    done = run("generate", checkpoint, tmp_path / "out", *options)
    assert done.status == 2
    assert all(word in done.err for word in words), done.err
    assert not (tmp_path / "out").exists()


def test_verbs_of_others_name_the_right_one(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    done = run("predict", checkpoint, tmp_path)
    assert done.status == 2
    assert "is a generator, which predict does not take; for a generator there is `phonecv generate`" in done.err
    done = run("generate", "emo_1m", tmp_path / "out")
    assert "'emo_1m' is a classifier, which generate does not take" in done.err
    assert "`phonecv predict`" in done.err


def test_latents_go_through_an_autoencoder(tmp_path: Path) -> None:
    net = create_generator("d_emov2_s", num_classes=2, width=32, depth=1, size=8)
    with pytest.raises(UserError, match=r"makes latents \(4 x 8 x 8\), which an autoencoder .*--autoencoder"):
        phonecv.generate(net, count=1, steps=1)
    kind = pytest.importorskip("diffusers.models.autoencoders.autoencoder_kl").AutoencoderKL
    kind(**TINY).save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"latents of 4 channels with one for 2 pixels; .* needs 4, and one for 32"):
        phonecv.generate(net, count=1, steps=1, autoencoder=tmp_path)
    net.preprocessing = replace(net.preprocessing, size=16)
    made = phonecv.generate(net, count=1, steps=2, autoencoder=tmp_path, device="cpu")
    assert made.pictures.shape == (1, 3, 16, 16)
    latents = sample(net.eval(), torch.tensor([0]), shape=(4, 8, 8), no_class=2, sampling=Sampling(steps=2), clip=False)
    wanted = open_autoencoder(tmp_path, "cpu").decode(latents)
    torch.testing.assert_close(made.pictures, ((wanted + 1) * 127.5).round().clamp(0, 255).byte())
