"""A person's AutoencoderKL is read safely from every layout it is passed around in."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from phonecv.errors import UserError
from phonecv.generation.autoencoder import STABLE_DIFFUSION, open_autoencoder

pytest.importorskip("diffusers")

TINY = {
    "block_out_channels": (8, 8),
    "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2,
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "scaling_factor": 0.5,
}


@pytest.fixture(scope="module")
def network() -> Any:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    torch.manual_seed(0)
    return AutoencoderKL(**TINY).eval()


@pytest.fixture(scope="module")
def folder(network: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("autoencoder") / "vae"
    network.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def pictures() -> Tensor:
    return torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1


def first_publications_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """diffusers' names -> those of the first publication, written down from its code, for two levels."""
    found = {}
    for name, value in state.items():
        for new, old in (
            ("down_blocks.", "down."),
            ("up_blocks.0.", "up.1."),
            ("up_blocks.1.", "up.0."),
            ("up_blocks.", "up."),
            (".resnets.", ".block."),
            (".downsamplers.0.", ".downsample."),
            (".upsamplers.0.", ".upsample."),
            ("mid_block.block.0", "mid.block_1"),
            ("mid_block.block.1", "mid.block_2"),
            ("mid_block.attentions.0.group_norm", "mid.attn_1.norm"),
            ("mid_block.attentions.0.to_q", "mid.attn_1.q"),
            ("mid_block.attentions.0.to_k", "mid.attn_1.k"),
            ("mid_block.attentions.0.to_v", "mid.attn_1.v"),
            ("mid_block.attentions.0.to_out.0", "mid.attn_1.proj_out"),
            ("conv_norm_out", "norm_out"),
            ("conv_shortcut", "nin_shortcut"),
        ):
            if new != "up_blocks." and (new != "up_blocks.1." or "up.1." not in name):
                name = name.replace(new, old)
        if "attn_1" in name and name.endswith("weight") and "norm" not in name:
            value = value[:, :, None, None]
        found[name] = value
    return found


def test_a_folder_of_diffusers(network: Any, folder: Path, pictures: Tensor) -> None:
    opened = open_autoencoder(folder, "cpu")
    assert (opened.channels, opened.factor, opened.scale) == (4, 2, 0.5)
    latents, deviation = opened.moments(pictures)
    with torch.no_grad():
        found = network.encode(pictures).latent_dist
        wanted = found.mean * 0.5
        back = network.decode(wanted / 0.5).sample
    torch.testing.assert_close(latents, wanted)
    torch.testing.assert_close(deviation, found.std * 0.5)
    torch.testing.assert_close(opened.decode(latents), back)
    assert open_autoencoder(folder.parent, "cpu").identity == opened.identity  # the folder of a pipeline


def test_old_names_and_those_of_the_first_publication(folder: Path, pictures: Tensor, tmp_path: Path) -> None:
    state = load_file(folder / "diffusion_pytorch_model.safetensors")
    wanted = open_autoencoder(folder, "cpu").moments(pictures)[0]
    old = {
        name.replace("to_q", "query")
        .replace("to_k", "key")
        .replace("to_v", "value")
        .replace("to_out.0", "proj_attn"): v
        for name, v in state.items()
    }
    for place, content in (("old", old), ("first", first_publications_names(state))):
        (tmp_path / place).mkdir()
        (tmp_path / place / "config.json").write_text((folder / "config.json").read_text())
        save_file(
            {name: v.contiguous() for name, v in content.items()},
            tmp_path / place / "diffusion_pytorch_model.safetensors",
        )
        torch.testing.assert_close(open_autoencoder(tmp_path / place, "cpu").moments(pictures)[0], wanted)


def test_a_single_file_is_stable_diffusions(
    folder: Path, pictures: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = load_file(folder / "diffusion_pytorch_model.safetensors")
    assert STABLE_DIFFUSION["scaling_factor"] == 0.18215
    monkeypatch.setattr("phonecv.generation.autoencoder.STABLE_DIFFUSION", TINY)
    whole = {f"first_stage_model.{name}": value for name, value in first_publications_names(state).items()}
    torch.save({"state_dict": whole | {"model.diffusion_model.x": torch.ones(1)}}, tmp_path / "model.ckpt")
    torch.testing.assert_close(
        open_autoencoder(tmp_path / "model.ckpt", "cpu").moments(pictures)[0],
        open_autoencoder(folder, "cpu").moments(pictures)[0],
    )


def test_the_published_one_has_its_size() -> None:
    """83,653,863 parameters: https://huggingface.co/stabilityai/sd-vae-ft-mse."""
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    with torch.device("meta"):
        network: Any = AutoencoderKL.from_config(STABLE_DIFFUSION)
    assert sum(math.prod(one.shape) for one in network.parameters()) == 83_653_863


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"_class_name": "UNet2DModel"}, "'UNet2DModel', not of an AutoencoderKL"),
        ({"layers_per_block": 10**9}, "layers_per_block is 1000000000, more than any"),
        ({"layers_per_block": 2}, "does not fit the settings"),
        ({"down_block_types": ["Nonsense"] * 2}, "no AutoencoderKL can be made"),
    ],
)
def test_settings_that_do_not_fit(folder: Path, tmp_path: Path, change: dict[str, Any], words: str) -> None:
    config = json.loads((folder / "config.json").read_text()) | change
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "diffusion_pytorch_model.safetensors").hardlink_to(folder / "diffusion_pytorch_model.safetensors")
    with pytest.raises(UserError, match=words):
        open_autoencoder(tmp_path)


def test_no_autoencoder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no .*nothing"):
        open_autoencoder(tmp_path / "nothing")
    with pytest.raises(UserError, match=r"has no config\.json"):
        open_autoencoder(tmp_path)


def test_pictures_that_do_not_divide(folder: Path) -> None:
    opened = open_autoencoder(folder, "cpu")
    with pytest.raises(UserError, match="15 x 16 do not divide by the autoencoder's 2"):
        opened.moments(torch.zeros(1, 3, 15, 16))
    with pytest.raises(UserError, match="latents of 4 channels, these have 3"):
        opened.decode(torch.zeros(1, 3, 8, 8))
