"""Training a generator: what is kept, exact resume, several processes, samples, and latents of a tiny autoencoder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import phonecv
from phonecv.data.folders.listing import read_split
from phonecv.errors import UserError
from phonecv.generation.config import GenerateConfig
from phonecv.generation.kept import KeptPictures
from phonecv.generation.network import Generator
from phonecv.generation.training import GenerateData, GenerateMeter, open_setup
from phonecv.training import load_config, train
from phonecv.training.config import TrainConfig
from phonecv.training.world import World
from phonecv.weights import load_checkpoint

TINY: dict[str, Any] = {
    "width": 8, "depth": 1, "head_dim": 8, "size": 8, "patch": 2, "window": 2, "channels": 3,
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of 8 x 8 pictures: dark left and dark right; one file is damaged."""
    root, random = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for split, count in (("train", 24), ("val", 10)):
        for label, name in enumerate(("left", "right")):
            (root / split / name).mkdir(parents=True)
            for number in range(count // 2):
                pixels = random.integers(120, 255, (8, 8, 3), dtype=np.uint8)
                pixels[:, 4 * label : 4 * label + 4] //= 8
                Image.fromarray(pixels).save(root / split / name / f"{number}.png")
    (root / "train" / "left" / "3.png").write_bytes(b"nothing")
    return root


def config(data: Path, out: Path, *more: str) -> TrainConfig:
    settings = (
        f"data.path={data}", f"run.out={out}", f"generate.cache={out.parent / 'kept'}",
        f"model.overrides={json.dumps(TINY)}", "data.batch_size=4", "data.eval_batch_size=4", "data.workers=0",
        "schedule.epochs=2", "schedule.epoch_steps=null", "schedule.warmup_steps=0",
        "generate.samples=4", "generate.sample_steps=2",
        "generate.hflip=0.5", "data.max_bad=0.5", "run.eval_every=1", "run.audit=false", "run.threads=1",
        "run.device=cpu",
    )  # fmt: skip
    return load_config("generate_digits", [*settings, *more])


def weights(run: Path) -> dict[str, Tensor]:
    return load_checkpoint(None, run / "last.safetensors").state_dict()


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "whole"
    train(config(data, out))
    return out


def test_a_run_shows_figures_and_samples(trained: Path, data: Path) -> None:
    net = load_checkpoint(None, trained / "last_ema.safetensors")
    assert isinstance(net, Generator)
    assert (net.name, net.class_names, net.size, net.training) == ("d_emov2_digits", ("left", "right"), 8, False)
    assert sorted(path.name for path in (trained / "samples").iterdir()) == ["epoch-0001.png", "epoch-0002.png"]
    assert (trained / "samples.png").read_bytes() == (trained / "samples" / "epoch-0002.png").read_bytes()
    rows = (trained / "metrics.csv").read_text().splitlines()
    assert {"train_mse", "train_bound", "val_db", "ema_mse"} <= set(rows[0].split(","))
    assert "3.png" in (trained / "bad_images.csv").read_text()


def test_resume_is_exact(trained: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped within the second epoch, gone on with in another process' place: the same weights to the bit."""
    out = trained.with_name("broken")
    from phonecv.training import engine

    step = engine.train_step

    def dying(run: engine.Run, parts: Any, lr: float) -> Any:
        if run.at.step == 8:
            raise KeyboardInterrupt
        return step(run, parts, lr)

    monkeypatch.setattr(engine, "train_step", dying)
    with pytest.raises(KeyboardInterrupt):
        train(config(data, out, "run.save_every=2"))
    monkeypatch.setattr(engine, "train_step", step)
    assert train(config(data, out, "run.save_every=2")).finished
    for name, value in weights(trained).items():
        assert torch.equal(value, weights(out)[name]), name


@pytest.mark.long
@pytest.mark.slow
def test_two_processes_draw_what_one_does(trained: Path, data: Path) -> None:
    out = trained.with_name("two")
    train(config(data, out), devices=2)
    for name, value in weights(trained).items():
        torch.testing.assert_close(weights(out)[name], value, rtol=1e-3, atol=1e-5)


def loaders(wanted: TrainConfig, world: World = World()) -> tuple[GenerateData, Generator]:  # noqa: B008
    assert isinstance(wanted, GenerateConfig)
    setup = open_setup(wanted)
    net = setup.network()
    loaded = setup.data(net, world, 0)
    loaded.prepare(_Quiet())  # type: ignore[arg-type]
    return loaded, net


class _Quiet:
    """As much of a run as the data's preparing needs."""

    class log:
        @staticmethod
        def bar_for(title: str, total: int) -> Any:
            return lambda count: None

    class interrupts:
        requested = ""


def test_batches_hold_the_pictures(trained: Path, data: Path) -> None:
    wanted = config(data, trained)
    loaded, _ = loaders(wanted)
    listing = read_split(data, "train")
    dropped = flipped = 0
    for batch in loaded.train_loader(0, 0):
        for place, index in enumerate(batch.indices.tolist()):
            other = index if not batch.errors[place] else index + 1
            pixels = np.asarray(Image.open(listing.samples[other].path)).astype(np.float32) / 127.5 - 1
            image = batch.images[place].permute(1, 2, 0).numpy()
            turned = not np.allclose(image, pixels, atol=1e-6)
            np.testing.assert_allclose(image, pixels[:, ::-1] if turned else pixels, atol=1e-6)
            flipped += turned
            label = int(batch.classes[place])
            dropped += label == 2
            assert label in (2, listing.samples[other].label)
    assert 3 < flipped < 21
    assert dropped < 8
    first, second = (next(iter(loaded.train_loader(epoch, 0))) for epoch in (1, 1))
    assert torch.equal(first.noise, second.noise)
    assert not torch.equal(first.noise, next(iter(loaded.train_loader(2, 0))).noise)


def test_validation_is_the_same_every_time_and_spreads_its_steps(trained: Path, data: Path) -> None:
    one, other = (loaders(config(data, trained, f"run.seed={seed}"))[0] for seed in (1, 2))
    batches: Sequence[Any] = list(one.eval_loader())
    assert torch.equal(batches[0].noise, next(iter(other.eval_loader())).noise)
    steps = sorted(torch.cat([batch.timesteps for batch in batches]).tolist())
    assert all(abs(step - 100 * place) < 150 for place, step in enumerate(steps))


def test_what_is_kept_follows_the_pictures(trained: Path, data: Path, tmp_path: Path) -> None:
    loaded, net = loaders(config(data, tmp_path / "run"))
    kept = loaded.train_set
    assert kept.folder.parent == tmp_path / "kept"
    (bad,) = kept.errors
    assert kept.listing.samples[bad].path.name == "3.png"
    assert (kept.readable(bad), kept.readable(bad + 1)) == (bad + 1, bad + 1)
    cropped = replace(net.preprocessing, crop=0.5)
    other = KeptPictures(kept.listing, cropped, None, gray=False, flips=False, folder=tmp_path)
    assert other.folder.name != kept.folder.name


def test_gray_networks_see_gray(trained: Path, data: Path, tmp_path: Path) -> None:
    overrides = json.dumps(TINY | {"channels": 1})
    loaded, _ = loaders(config(data, tmp_path / "run", f"model.overrides={overrides}"))
    sample = loaded.val_set.listing.samples[7]
    gray = np.asarray(Image.open(sample.path).convert("L")).astype(int)
    assert loaded.val_set[7].shape == (1, 8, 8)
    assert abs(loaded.val_set[7][0].astype(int) - gray).max() <= 1


@pytest.fixture(scope="module")
def autoencoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("autoencoder")
    made: Any = AutoencoderKL(
        block_out_channels=(8, 8), down_block_types=("DownEncoderBlock2D",) * 2, layers_per_block=1,
        up_block_types=("UpDecoderBlock2D",) * 2, norm_num_groups=4, latent_channels=4,
    )  # fmt: skip
    made.save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_latents_are_those_of_the_autoencoder(
    trained: Path, data: Path, autoencoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from phonecv.generation import autoencoder as room
    from phonecv.generation.catalog import GENERATORS

    small = GENERATORS["d_emov2_s"]
    monkeypatch.setitem(GENERATORS, "d_emov2_s", replace(small, picture=16))
    overrides = json.dumps(TINY | {"window": 4, "channels": 4})
    latent = ("model.name=d_emov2_s", f"model.overrides={overrides}", f"generate.autoencoder={autoencoder}")
    wanted = config(data, tmp_path / "run", *latent)
    loaded, net = loaders(wanted)
    assert (net.latent, net.channels, net.preprocessing.size) == (True, 4, 16)
    opened = room.open_autoencoder(autoencoder)
    image = Image.open(read_split(data, "train").samples[0].path).resize((16, 16), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.asarray(image).astype(np.float32) / 127.5 - 1).permute(2, 0, 1)[None]
    for view, picture in enumerate((pixels, pixels.flip(3))):
        mean, deviation = opened.moments(picture)
        np.testing.assert_allclose(loaded.train_set[0][view][0], mean[0], rtol=1e-2, atol=1e-3)
        np.testing.assert_allclose(loaded.train_set[0][view][1], deviation[0], rtol=1e-2, atol=1e-3)
    assert train(wanted).finished
    assert (tmp_path / "run" / "samples.png").is_file()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("model.name=d_emov2_s", "works on latents: set generate.autoencoder"),
        ("generate.autoencoder=x", "works on pixels and needs no generate.autoencoder"),
        ("model.name=d_emov2_digit", "did you mean 'd_emov2_digits'"),
        ("data.size=64", "data.size"),
        ("data.path=nowhere", "no such folder"),
    ],
)
def test_mistakes(data: Path, tmp_path: Path, setting: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        train(config(data, tmp_path / "run", setting))


def test_the_published_recipe() -> None:
    wanted = load_config("d_emov2_latent")
    assert (wanted.model.name, wanted.data.batch_size, wanted.schedule.epochs) == ("d_emov2_s", 256, 80)
    assert phonecv.list_generators()[:4] == ["d_emov2_s", "d_emov2_b", "d_emov2_l", "d_emov2_xl"]


def test_figures_add_up_in_main_memory_where_a_device_has_no_float64() -> None:
    assert GenerateMeter(torch.device("mps")).sums.device.type == "cpu"
