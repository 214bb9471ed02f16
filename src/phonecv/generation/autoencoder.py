"""The autoencoder of latents: a person's own Stable-Diffusion AutoencoderKL, by path.

Rombach et al., High-Resolution Image Synthesis with Latent Diffusion Models (2022): a picture of 8 x 8 pixels is one
latent of four numbers, scaled to a deviation near 1. Only tensors are read; nothing in the files is run.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from phonecv.data.json_file import read_json_file
from phonecv.devices import pick_device
from phonecv.errors import UserError
from phonecv.text import brief, some_names
from phonecv.weights.reader import read_file

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

WHAT = (
    "an autoencoder is a folder of diffusers (config.json and diffusion_pytorch_model.safetensors), or one file with"
    " the weights of Stable Diffusion's, such as vae-ft-mse-840000-ema-pruned.safetensors"
)
_CONFIG = "config.json"
_WEIGHTS = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")

#: Stable Diffusion's own, for files that say nothing of themselves.
STABLE_DIFFUSION = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
    "sample_size": 512,
    "scaling_factor": 0.18215,
}

#: Names of attention layers in files from before diffusers 0.12 -> now.
_RENAMED = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
#: More than any setting of an autoencoder has, so that a hostile one cannot make a network that fills the memory.
_MOST = 4096


@dataclass(frozen=True, slots=True)
class Autoencoder:
    """Pictures to latents and back, on one device, in float32.

    Attributes:
        network: of diffusers, in evaluation mode.
        device: where it is.
        scale: what a latent is multiplied with after `shift` is taken off.
        shift: of the latents.
        identity: a digest of weights and settings, for the names of what was encoded with it.
        source: the path, for people.
    """

    network: AutoencoderKL
    device: torch.device
    scale: float
    shift: float
    identity: str
    source: str

    @property
    def channels(self) -> int:
        """Of a latent."""
        return self.network.config["latent_channels"]

    @property
    def factor(self) -> int:
        """Pixels along a side of a latent."""
        return 2 ** (len(self.network.config["block_out_channels"]) - 1)

    @torch.inference_mode()
    def moments(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the latents of pictures ``B 3 H W`` (-1..1), scaled.

        Each is ``B channels H/factor W/factor``, in main memory. Sides that don't divide by the factor are refused.
        """
        height, width = pictures.shape[-2:]
        if height % self.factor or width % self.factor:
            raise UserError(f"pictures of {height} x {width} do not divide by the autoencoder's {self.factor}")
        found = self.network.encode(pictures.to(self.device)).latent_dist  # type: ignore[union-attr]
        return ((found.mean - self.shift) * self.scale).cpu(), (found.std * self.scale).cpu()

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> Tensor:
        """Pictures ``B 3 H W`` in main memory, about -1..1, of scaled latents ``B channels H/factor W/factor``."""
        if latents.shape[1] != self.channels:
            raise UserError(f"{self.source} has latents of {self.channels} channels, these have {latents.shape[1]}")
        pictures = self.network.decode(latents.to(self.device) / self.scale + self.shift).sample  # type: ignore[union-attr]
        return pictures.float().cpu()


def open_autoencoder(path: Path | str, device: str | torch.device | None = None) -> Autoencoder:
    """A person's AutoencoderKL.

    Args:
        path: a folder of diffusers, the folder of a pipeline with such a folder ``vae``, or one file with the weights:
            under diffusers' names or those of the first publication, bare or within a whole model.
        device: None for a GPU if there is one.

    Raises:
        UserError: there is none, it is another kind, or settings and weights do not fit; or diffusers is missing.
    """
    if importlib.util.find_spec("diffusers") is None:
        raise UserError("an autoencoder needs diffusers; install it with: pip install 'phonecv[generate]'")
    config_file, weights = _files(Path(path))
    config = _config(config_file) if config_file is not None else dict(STABLE_DIFFUSION)
    raw = read_file(weights)
    network = _filled(config, raw.content, str(weights))
    digest = hashlib.sha256(repr(sorted(config.items())).encode())
    with weights.open("rb") as file:
        digest.update(hashlib.file_digest(file, "sha256").digest())
    place = pick_device(device)
    shift = config.get("shift_factor") or 0.0
    scale = float(config.get("scaling_factor", STABLE_DIFFUSION["scaling_factor"]))
    return Autoencoder(network.to(place), place, scale, float(shift), digest.hexdigest()[:32], str(path))


def _files(path: Path) -> tuple[Path | None, Path]:
    """Settings, where there are any, and weights."""
    if not path.exists():
        raise UserError(f"there is no {str(path)!r}; {WHAT}")
    if path.is_file():
        beside = path.with_name(_CONFIG)
        return (beside if path.name in _WEIGHTS and beside.is_file() else None), path
    folder = path / "vae" if (path / "vae" / _CONFIG).is_file() else path
    weights = next((folder / name for name in _WEIGHTS if (folder / name).is_file()), None)
    if weights is None or not (folder / _CONFIG).is_file():
        raise UserError(f"{str(path)!r} has no {_CONFIG} with {_WEIGHTS[0]} beside it; {WHAT}")
    return folder / _CONFIG, weights


def _config(file: Path) -> dict[str, Any]:
    """Settings as `AutoencoderKL` takes them."""
    values = read_json_file(file)
    if not isinstance(values, dict) or values.get("_class_name") != "AutoencoderKL":
        kind = values.get("_class_name") if isinstance(values, dict) else values
        raise UserError(f"{file} is of {brief(kind)}, not of an AutoencoderKL; {WHAT}")
    config = {key: value for key, value in values.items() if not key.startswith("_")}
    for key, value in config.items():
        numbers = value if isinstance(value, list) else [value]
        if len(numbers) > 64 or any(isinstance(one, int | float) and not abs(one) <= _MOST for one in numbers):
            raise UserError(f"{file}: {key} is {brief(value)}, more than any autoencoder has")
    return config


def _filled(config: dict[str, Any], content: Mapping[str, Any], source: str) -> Any:
    """The network of these settings with these tensors."""
    from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    content = content.get("state_dict", content)
    state = {name: value for name, value in content.items() if isinstance(value, Tensor)}
    try:
        with torch.device("meta"):
            network: Any = AutoencoderKL.from_config(config)
        if any("encoder.mid." in name for name in state):  # the first publication's names
            state = convert_ldm_vae_checkpoint(state, config)
    except (TypeError, ValueError, KeyError, IndexError, RuntimeError, ZeroDivisionError) as error:
        raise UserError(f"{source}: no AutoencoderKL can be made of its settings ({brief(str(error), 200)})") from error
    state = {_renamed(name): value.float() for name, value in state.items()}
    own = network.state_dict()
    # Attention was written as 1 x 1 convolutions once.
    state = {
        name: value[..., 0, 0] if name in own and value.ndim == own[name].ndim + 2 else value
        for name, value in state.items()
    }
    lacking = [name for name, value in own.items() if name not in state or state[name].shape != value.shape]
    if lacking or not own.keys() >= state.keys():
        strange = sorted(state.keys() - own.keys())
        what = f"lacks {some_names(lacking, 3)}" if lacking else f"has {some_names(strange, 3)}"
        raise UserError(f"{source} does not fit the settings of its AutoencoderKL: it {what}; {WHAT}")
    network.load_state_dict(state, assign=True)
    return network.requires_grad_(False).eval()


def _renamed(name: str) -> str:
    first, _, last = name.rpartition(".")
    before, _, layer = first.rpartition(".")
    return f"{before}.{_RENAMED[layer]}.{last}" if layer in _RENAMED and "attentions" in before else name
