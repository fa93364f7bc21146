"""Samplers against independent loops, written as in diffusers' schedulers, on the betas of Ho et al."""

import math

import pytest
import torch
from diffusion_worlds import MEANS, SPREADS, WEIGHTS, posterior_mean

from narrows.core import seeded
from narrows.core.check import RequestError
from narrows.diffusion.paths import PATHS, make_path
from narrows.diffusion.predictions import Denoised
from narrows.diffusion.samplers import draw

PATH = make_path("ddpm")
KEPT = [1.0]
for _i in range(1000):
    KEPT.append(KEPT[-1] * (1 - (1e-4 + (0.02 - 1e-4) * _i / 999)))


def denoise(x, t, path=PATH):
    alpha, sigma = path.level(t.double())
    mean = posterior_mean(x, alpha, sigma)
    return Denoised(mean, (x - alpha * mean) / sigma)


def noise_at(x, place):
    """The expected noise of the mixture at a step of the chain."""
    return denoise(x, torch.tensor(place / 1000, dtype=torch.float64)).e


def start(n=40):
    return torch.randn(n, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim_is_the_loop_over_products_of_betas(eta):
    with seeded(3):
        found = draw(denoise, start(), PATH, PATH.levels(20), sampler="ddim", eta=eta)
    x = start() * math.sqrt(1 - KEPT[1000])
    with seeded(3):
        for place in range(1000, 0, -50):
            now, after = KEPT[place], KEPT[place - 50]
            e = noise_at(x, place)
            data = (x - math.sqrt(1 - now) * e) / math.sqrt(now)
            spread = eta * math.sqrt((1 - after) / (1 - now) * (1 - now / after))
            x = math.sqrt(after) * data + math.sqrt(1 - after - spread**2) * e
            if spread:
                x = x + spread * torch.randn_like(x)
    assert torch.allclose(found, x, atol=1e-9)


def test_ancestral_sampling_is_the_loop_over_betas():
    """mean = (x - beta e / sqrt(1 - abar)) / sqrt(1 - beta), variance beta (1 - abar') / (1 - abar)."""
    with seeded(3):
        found = draw(denoise, start(), PATH, PATH.levels(1000), sampler="ddpm")
    x = start() * math.sqrt(1 - KEPT[1000])
    with seeded(3):
        for place in range(1000, 0, -1):
            beta = 1 - KEPT[place] / KEPT[place - 1]
            x = (x - beta * noise_at(x, place) / math.sqrt(1 - KEPT[place])) / math.sqrt(1 - beta)
            if place > 1:
                x = x + math.sqrt(beta * (1 - KEPT[place - 1]) / (1 - KEPT[place])) * torch.randn_like(x)
    assert torch.allclose(found, x, atol=1e-6)


def test_heun_is_the_loop_over_sigmas():
    """In x / sqrt(abar) over sqrt((1 - abar) / abar), with an Euler step at the end."""
    found = draw(denoise, start(), PATH, PATH.levels(10), sampler="heun")
    places = [*range(1000, 0, -100), 0]
    sigmas = [math.sqrt((1 - KEPT[place]) / KEPT[place]) for place in places]
    y = start() * math.sqrt(1 - KEPT[1000]) / math.sqrt(KEPT[1000])
    for i in range(10):
        h = sigmas[i + 1] - sigmas[i]
        slope = noise_at(y * math.sqrt(KEPT[places[i]]), places[i])
        end = y + h * slope
        if places[i + 1]:
            slope = 0.5 * (slope + noise_at(end * math.sqrt(KEPT[places[i + 1]]), places[i + 1]))
            end = y + h * slope
        y = end
    assert torch.allclose(found, y, atol=1e-6)


@pytest.mark.parametrize("name", PATHS)
def test_on_every_path_all_samplers_draw_the_mixture(name):
    path = make_path(name)
    mean = (WEIGHTS[:, None] * MEANS).sum(0)
    variance = (WEIGHTS[:, None] * (SPREADS[:, None] ** 2 + MEANS**2)).sum(0) - mean**2
    for sampler, steps in (("ddpm", 150), ("ddim", 150), ("heun", 40), ("ab2", 60), ("rk4", 30)):
        with seeded(0):
            noise = torch.randn(4000, 2, dtype=torch.float64)
            z = draw(lambda x, t: denoise(x, t, path), noise, path, path.levels(steps), sampler=sampler)
        assert torch.allclose(z.mean(0), mean, atol=0.08), sampler
        assert torch.allclose(z.var(0), variance, atol=0.12), sampler


def test_wrong_samplers_and_etas_are_refused():
    for wrong in ({"sampler": "plms"}, {"eta": 1.5}, {"eta": -0.1}):
        with pytest.raises(RequestError, match=next(iter(wrong))):
            draw(denoise, start(), PATH, PATH.levels(2), **wrong)
