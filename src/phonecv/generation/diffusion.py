"""Gaussian diffusion with a learned variance: schedule, closed forms and loss.

Ho et al., "Denoising Diffusion Probabilistic Models", arXiv 2006.11239; Nichol and Dhariwal, "Improved Denoising
Diffusion Probabilistic Models", arXiv 2102.09672, sections 3.1 (variance) and 4 (fewer steps). DiT takes both as they
are, with the linear schedule. A step's number counts from 0, the least noise.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

#: Steps of a training, and how much noise the first and the last adds.
STEPS, FIRST, LAST = 1000, 1e-4, 2e-2

#: Per step how much of the picture is left, as a share of its variance.
ALPHA_PRODUCTS = np.cumprod(1 - np.linspace(FIRST, LAST, STEPS))


@dataclass(frozen=True, eq=False)
class Schedule:
    """Some of the steps of a training, in rising order, as a diffusion of its own. Arrays are float64.

    Attributes:
        timesteps: their numbers, which the network is told.
        kept: share of the picture's variance that is left.
        before: the same one step earlier; 1 before the first.
    """

    timesteps: np.ndarray
    kept: np.ndarray
    before: np.ndarray

    @property
    def betas(self) -> np.ndarray:
        """Variance that each step adds, the upper bound of the learned variance."""
        return 1 - self.kept / self.before

    @property
    def posterior_variance(self) -> np.ndarray:
        """Of a step back when the picture is known, the lower bound; for the first step, where it is 0, that of the
        second."""
        variance = self.betas * (1 - self.before) / (1 - self.kept)
        if len(variance) > 1:
            variance[0] = variance[1]
        else:
            variance[0] = self.betas[0]
        return variance

    @property
    def mean_weights(self) -> tuple[np.ndarray, np.ndarray]:
        """Shares of the clean and of the noisy picture in the mean of a step back."""
        spread = 1 - self.kept
        clean = self.before**0.5 * self.betas / spread
        return clean, (1 - self.betas) ** 0.5 * (1 - self.before) / spread


@functools.cache
def schedule(steps: int = STEPS) -> Schedule:
    """So many of the training's steps, evenly spread, the first and the last among them."""
    timesteps = np.linspace(0, STEPS - 1, steps).round().astype(np.int64) if steps > 1 else np.array([STEPS - 1])
    kept = ALPHA_PRODUCTS[timesteps]
    return Schedule(timesteps, kept, np.concatenate([[1.0], kept[:-1]]))


def at(values: np.ndarray, index: Tensor, like: Tensor) -> Tensor:
    """Values of each picture's step, ``B 1 1 1`` in float32."""
    return torch.from_numpy(values).float().to(like.device)[index][:, None, None, None]


def noised(clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """Pictures at their noise levels, ``B C H W``."""
    kept = schedule().kept
    return at(kept**0.5, timesteps, clean) * clean + at((1 - kept) ** 0.5, timesteps, clean) * noise


def hybrid_loss(
    prediction: Tensor, clean: Tensor, noisy: Tensor, noise: Tensor, timesteps: Tensor
) -> dict[str, Tensor]:
    """Per picture ``B``: squared error of the noise, and the variational bound of the step in bits.

    The bound trains the variance alone: its mean is taken without gradient (Nichol and Dhariwal, section 3.1). As in
    DiT's code it has weight 1. The network's prediction is ``B 2C H W``, pictures (-1..1) or latents are ``B C H W``.
    """
    predicted, share = prediction.float().chunk(2, 1)
    known = schedule()
    log_variance = between(share, known, timesteps)
    mean = step_mean(predicted_clean(noisy, predicted.detach(), timesteps), noisy, timesteps)
    true_mean = step_mean(clean, noisy, timesteps)
    true_log = at(np.log(known.posterior_variance), timesteps, clean)
    divergence = 0.5 * (
        log_variance - true_log + (true_log - log_variance).exp() + (true_mean - mean).square() / log_variance.exp() - 1
    )
    likelihood = -pixel_log_likelihood(clean, mean, log_variance)
    bound = torch.where((timesteps == 0)[:, None, None, None], likelihood, divergence)
    axes = (1, 2, 3)
    return {"mse": (predicted - noise).square().mean(axes), "bound": bound.mean(axes) / math.log(2)}


def between(share: Tensor, known: Schedule, index: Tensor) -> Tensor:
    """Logarithm of the variance between its two bounds: -1 the lower, 1 the upper."""
    low, high = (at(np.log(values), index, share) for values in (known.posterior_variance, known.betas))
    return low + (share + 1) / 2 * (high - low)


def predicted_clean(noisy: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """The picture that is left when this noise is taken away."""
    kept = schedule().kept
    return at(kept**-0.5, timesteps, noisy) * noisy - at((1 / kept - 1) ** 0.5, timesteps, noisy) * noise


def step_mean(clean: Tensor, noisy: Tensor, timesteps: Tensor) -> Tensor:
    """Mean of a step back from `noisy` when the picture is `clean`."""
    first, second = schedule().mean_weights
    return at(first, timesteps, noisy) * clean + at(second, timesteps, noisy) * noisy


def pixel_log_likelihood(values: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Of bytes scaled to -1..1 under a Gaussian cut into their 256 bins; the outer bins reach to infinity."""
    half = 1 / 255
    scale = (-0.5 * log_variance).exp()
    above, below = (torch.special.ndtr((values - mean + side) * scale) for side in (half, -half))
    inside = torch.where(values < -0.999, above, torch.where(values > 0.999, 1 - below, above - below))
    return inside.clamp(min=1e-12).log()
