"""From noise to pictures, by whatever denoises: a network of ours or an exported file.

DDPM: Ho et al., arXiv 2006.11239, with the learned variance of arXiv 2102.09672. DDIM: Song et al., arXiv 2010.02502,
without noise (eta 0). Classifier-free guidance, Ho and Salimans, arXiv 2207.12598, acts on the noise of all channels
(DiT's code: of the first three); the variance is that of the class asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from phonecv.generation.diffusion import schedule
from phonecv.generation.verbs import Sampling

#: ``noisy B C S S, timesteps B, classes B -> B 2C S S``, see `Generator.forward`.
Denoise = Callable[[Tensor, Tensor, Tensor], Tensor]


@torch.inference_mode()
def sample(
    denoise: Denoise,
    classes: Tensor,
    *,
    shape: tuple[int, int, int],
    no_class: int,
    sampling: Sampling,
    clip: bool,
    seed: int = 0,
    first: int = 0,
    begin: Tensor | None = None,
) -> Tensor:
    """Pictures or latents of classes.

    Picture number `first` + i has the noise of (`seed`, that number) alone: the same one comes out in any batch.

    Args:
        denoise: the network.
        classes: ``B``, whole numbers, on the device of the network.
        shape: C S S of one picture.
        no_class: the number that stands for no class.
        sampling: how.
        clip: keep the picture that a step sees within -1..1; for pixels, not for latents.
        seed: of the noise.
        first: number of the first picture.
        begin: the noise to begin with, ``B C S S``; None draws it.

    Returns:
        ``B C S S`` float32, in the range that the network was trained on.
    """
    streams = [np.random.default_rng((seed, first + place)) for place in range(len(classes))]
    known, device, last = schedule(sampling.steps), classes.device, sampling.steps - 1
    clean_weights, noisy_weights = known.mean_weights
    x = (draw(streams, shape) if begin is None else begin).to(device)
    for step in range(last, -1, -1):
        noise, share = _predict(denoise, x, int(known.timesteps[step]), classes, no_class, sampling.guidance)
        kept, before = float(known.kept[step]), float(known.before[step])
        clean = (x - (1 - kept) ** 0.5 * noise) / kept**0.5
        if clip:
            clean = clean.clamp(-1, 1)
        if sampling.sampler == "ddim":
            # The noise anew: clipping has moved the picture.
            noise = (x - kept**0.5 * clean) / (1 - kept) ** 0.5
            x = before**0.5 * clean + (1 - before) ** 0.5 * noise
        else:
            x = float(clean_weights[step]) * clean + float(noisy_weights[step]) * x
            if step:
                low, high = (float(np.log(v[step])) for v in (known.posterior_variance, known.betas))
                x = x + (0.5 * (low + (share + 1) / 2 * (high - low))).exp() * draw(streams, shape).to(device)
    return x


def draw(streams: Sequence[np.random.Generator], shape: tuple[int, int, int]) -> Tensor:
    """Normal noise, of each picture from its own stream, ``B C S S`` float32."""
    return torch.from_numpy(np.stack([stream.standard_normal(shape, np.float32) for stream in streams]))


def _predict(
    denoise: Denoise, x: Tensor, timestep: int, classes: Tensor, no_class: int, guidance: float
) -> tuple[Tensor, Tensor]:
    """The noise, guided, and where the variance lies between its bounds."""
    if guidance == 1:
        noise, share = denoise(x, torch.full_like(classes, timestep), classes).chunk(2, 1)
        return noise, share
    both = torch.cat([classes, torch.full_like(classes, no_class)])
    noise, share = denoise(torch.cat([x, x]), torch.full_like(both, timestep), both).chunk(2, 1)
    asked, free = noise.chunk(2)
    return free + guidance * (asked - free), share[: len(x)]
