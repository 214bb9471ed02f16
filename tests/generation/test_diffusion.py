"""Schedule, loss and samplers against closed forms and against diffusers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from phonecv.generation import diffusion
from phonecv.generation.diffusion import between, hybrid_loss, noised, pixel_log_likelihood, schedule, step_mean
from phonecv.generation.sampling import Denoise, draw, sample
from phonecv.generation.verbs import Sampling

SHAPE = (2, 4, 4)


def knows(picture: Callable[[Tensor], Tensor], share: float = 0.0) -> Denoise:
    """A network that sees the true noise: it knows the picture of each class."""

    def denoise(noisy: Tensor, timesteps: Tensor, classes: Tensor) -> Tensor:
        kept = torch.from_numpy(schedule().kept)[timesteps][:, None, None, None]
        noise = (noisy - kept**0.5 * picture(classes)) / (1 - kept) ** 0.5
        return torch.cat([noise, torch.full_like(noise, share)], 1).float()

    return denoise


def flat(classes: Tensor) -> Tensor:
    """Of class c the picture that is c / 10 everywhere."""
    return (classes.double() / 10)[:, None, None, None].expand(-1, *SHAPE)


def test_noise_levels_and_posterior_by_sampling() -> None:
    """Moments of a chain of single steps, and of its posterior by regression, against the closed forms."""
    known, random = schedule(), np.random.default_rng(0)
    step, count, picture = 40, 400_000, 0.7
    x = np.full(count, picture)
    for beta in known.betas[:step]:
        x = (1 - beta) ** 0.5 * x + beta**0.5 * random.standard_normal(count)
    before, beta = x, known.betas[step]
    x = (1 - beta) ** 0.5 * x + beta**0.5 * random.standard_normal(count)
    assert x.mean() == pytest.approx(known.kept[step] ** 0.5 * picture, rel=1e-2)
    assert x.var() == pytest.approx(1 - known.kept[step], rel=1e-2)
    slope, base = np.polyfit(x, before, 1)
    clean, noisy = (weights[step] for weights in known.mean_weights)
    assert slope == pytest.approx(noisy, rel=1e-2)
    assert base == pytest.approx(clean * picture, rel=0.2, abs=1e-3)
    assert (before - slope * x - base).var() == pytest.approx(known.posterior_variance[step], rel=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("steps", [1000, 250, 10])
def test_ddpm_is_that_of_diffusers(steps: int) -> None:
    from diffusers import DDPMScheduler

    theirs: Any = DDPMScheduler(
        variance_type="learned_range", clip_sample=False, timestep_spacing="linspace", beta_schedule="linear"
    )
    theirs.set_timesteps(steps)
    known = schedule(steps)
    assert theirs.timesteps.tolist() == known.timesteps[::-1].tolist()
    torch.manual_seed(0)
    x, output = torch.randn(1, *SHAPE), torch.randn(1, 4, 4, 4).tanh()
    noise, share = output.chunk(2, 1)
    for step in (steps - 1, steps // 2, 1):
        index = torch.tensor([step])
        kept = known.kept[step]
        clean = (x - (1 - kept) ** 0.5 * noise) / kept**0.5
        first, second = (weights[step] for weights in known.mean_weights)
        generator = torch.Generator().manual_seed(3)
        wanted = theirs.step(output, int(known.timesteps[step]), x, generator=generator).prev_sample
        drawn = torch.randn(x.shape, generator=torch.Generator().manual_seed(3))
        mine = first * clean + second * x + (0.5 * between(share, known, index)).exp() * drawn
        torch.testing.assert_close(mine.float(), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_ddim_is_that_of_diffusers() -> None:
    from diffusers import DDIMScheduler

    theirs: Any = DDIMScheduler(clip_sample=True, set_alpha_to_one=True)
    theirs.set_timesteps(1000)  # with fewer, its steps do not end at the last one
    denoise = knows(lambda classes: flat(classes).sin(), share=0.3)
    classes = torch.tensor([2, 5])
    mine = sample(denoise, classes, shape=SHAPE, no_class=9, sampling=Sampling("ddim", 1000), clip=True)
    x = draw([np.random.default_rng((0, place)) for place in range(2)], SHAPE)
    for timestep in theirs.timesteps:
        noise = denoise(x, timestep.expand(2), classes).chunk(2, 1)[0]
        x = theirs.step(noise, int(timestep), x, use_clipped_model_output=True).prev_sample
    torch.testing.assert_close(mine, x, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("sampler", ["ddpm", "ddim"])
@pytest.mark.parametrize("steps", [1, 7, 250])
def test_the_true_noise_returns_the_picture(sampler: str, steps: int) -> None:
    classes = torch.tensor([1, 8, 3])
    sampling = Sampling(sampler, steps)  # type: ignore[arg-type]
    found = sample(knows(flat), classes, shape=SHAPE, no_class=9, sampling=sampling, clip=False)
    torch.testing.assert_close(found.double(), flat(classes), rtol=1e-4, atol=1e-4)


def test_a_picture_is_the_same_in_any_batch() -> None:
    def denoise(x: Tensor, timesteps: Tensor, classes: Tensor) -> Tensor:
        return torch.cat([x.tanh(), x.sin()], 1)

    def some(classes: list[int], first: int = 0, seed: int = 0) -> Tensor:
        given = torch.tensor(classes)
        return sample(
            denoise, given, shape=SHAPE, no_class=9, sampling=Sampling(steps=5), clip=True, seed=seed, first=first
        )

    whole = some([1, 2, 3])
    torch.testing.assert_close(some([3], first=2), whole[2:])
    assert not torch.allclose(some([3], first=2, seed=1), whole[2:])


def test_guidance_goes_beyond_the_class() -> None:
    """From no class (0.9) past class 5 (0.5)."""
    classes = torch.tensor([5])
    sampling = Sampling("ddim", 20, guidance=2.0)
    found = sample(knows(flat), classes, shape=SHAPE, no_class=9, sampling=sampling, clip=False)
    torch.testing.assert_close(found.mean(), torch.tensor(0.1), rtol=0, atol=1e-3)


def test_loss_of_the_truth() -> None:
    """The true noise has no error; at the lower bound of the variance the bound is then 0 from step 1 on."""
    torch.manual_seed(0)
    clean, noise = torch.rand(3, *SHAPE) * 2 - 1, torch.randn(3, *SHAPE)
    timesteps = torch.tensor([2, 500, 999])
    noisy = noised(clean, noise, timesteps)
    low = torch.cat([noise, torch.full_like(noise, -1)], 1)
    losses = hybrid_loss(low, clean, noisy, noise, timesteps)
    assert losses["mse"].abs().max() < 1e-12
    assert losses["bound"].abs().max() < 1e-5
    high = hybrid_loss(torch.cat([noise, torch.ones_like(noise)], 1), clean, noisy, noise, timesteps)
    ratio = schedule().betas[timesteps] / schedule().posterior_variance[timesteps]
    wanted = 0.5 * (np.log(ratio) + 1 / ratio - 1) / math.log(2)
    np.testing.assert_allclose(high["bound"].numpy(), wanted, rtol=1e-3, atol=1e-7)


def test_bound_against_torch_distributions() -> None:
    torch.manual_seed(0)
    clean, noise, output = torch.rand(2, *SHAPE) * 2 - 1, torch.randn(2, *SHAPE), torch.randn(2, 4, 4, 4)
    timesteps = torch.tensor([30, 700])
    noisy = noised(clean, noise, timesteps)
    predicted, share = output.chunk(2, 1)
    known = schedule()
    mine = torch.distributions.Normal(
        step_mean(diffusion.predicted_clean(noisy, predicted, timesteps), noisy, timesteps),
        (0.5 * between(share, known, timesteps)).exp(),
    )
    true = torch.distributions.Normal(
        step_mean(clean, noisy, timesteps), diffusion.at(known.posterior_variance**0.5, timesteps, clean)
    )
    wanted = torch.distributions.kl_divergence(true, mine).mean((1, 2, 3)) / math.log(2)
    bound = hybrid_loss(output, clean, noisy, noise, timesteps)["bound"]
    torch.testing.assert_close(bound, wanted, rtol=1e-3, atol=1e-4)


def test_the_bound_moves_the_variance_alone() -> None:
    torch.manual_seed(0)
    clean, noise = torch.rand(2, *SHAPE) * 2 - 1, torch.randn(2, *SHAPE)
    timesteps = torch.tensor([0, 40])
    output = torch.randn(2, 4, 4, 4, requires_grad=True)
    hybrid_loss(output, clean, noised(clean, noise, timesteps), noise, timesteps)["bound"].sum().backward()
    assert output.grad is not None
    predicted, share = output.grad.chunk(2, 1)
    assert not predicted.any()
    assert share.abs().min() > 0


def test_bytes_have_probability_one_together() -> None:
    values = torch.linspace(-1, 1, 256)[:, None, None, None]
    logs = pixel_log_likelihood(values, torch.full_like(values, 0.3), torch.full_like(values, -5.0))
    assert float(logs.exp().sum()) == pytest.approx(1, abs=1e-5)
