"""Paths against loops over their definitions; laws of times against their quantiles."""

import math

import pytest
import torch

from narrows.core.check import RequestError
from narrows.diffusion.paths import DDPM, EDM, Linear, make_path
from narrows.diffusion.times import draw_times, shifted


def test_the_chain_is_the_product_of_its_betas():
    path, left = DDPM(), 1.0
    found = path.level(torch.arange(1001, dtype=torch.float64) / 1000)
    for i in range(1000):
        left *= 1 - (1e-4 + (0.02 - 1e-4) * i / 999)
        assert float(found.alpha[i + 1]) == pytest.approx(math.sqrt(left), rel=1e-9)
        assert float(found.sigma[i + 1]) == pytest.approx(math.sqrt(1 - left), rel=1e-9)
    assert path.levels(1000).times.tolist() == pytest.approx([i / 1000 for i in range(1000, -1, -1)])
    assert (path.levels(7).times * 1000).tolist() == pytest.approx([1000, 857, 714, 571, 429, 286, 143, 0])
    with pytest.raises(RequestError, match="trained with 1000 steps"):
        path.levels(1001)


def test_the_levels_of_karras_and_the_end():
    levels = EDM().levels(18)
    expected = [(80 ** (1 / 7) + i / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7 for i in range(18)] + [0]
    assert levels.sigma.tolist() == pytest.approx(expected, rel=1e-9)
    assert set(levels.alpha.tolist()) == {1.0}
    assert EDM().levels(1).sigma.tolist() == pytest.approx([80, 0])


@pytest.mark.parametrize("law", ["uniform", "logit-normal", "lognormal"])
def test_times_have_the_quantiles_of_their_law(law):
    torch.manual_seed(0)
    t = draw_times(law, 4000, Linear(), torch.zeros((), dtype=torch.float64)).sort().values
    for share in (0.1, 0.5, 0.8):
        normal = float(torch.special.ndtri(torch.tensor(share, dtype=torch.float64)))
        expected = {
            "uniform": share,
            "logit-normal": 1 / (1 + math.exp(-normal)),
            "lognormal": 1 / (1 + math.exp(1.2 - 1.2 * normal)),
        }[law]
        assert float(t[int(share * 4000)]) == pytest.approx(expected, abs=2e-3)


def test_times_of_the_chain_are_its_steps_and_a_shift_moves_towards_noise():
    torch.manual_seed(0)
    places = 1000 * draw_times("uniform", 5000, make_path("ddpm"), torch.zeros((), dtype=torch.float64))
    assert torch.allclose(places, places.round())
    assert (places.min(), places.max()) == (1, 1000)
    counts = places.round().long().bincount(minlength=1001)[1:]
    assert (counts == 5).all()
    t = torch.linspace(0, 1, 5, dtype=torch.float64)
    assert torch.allclose(shifted(shifted(t, 3.0), 1 / 3.0), t)
    moved = draw_times("uniform", 5000, Linear(), torch.zeros((), dtype=torch.float64), shift=3.0)
    assert float(moved.median()) == pytest.approx(0.75, abs=1e-3)
    with pytest.raises(RequestError, match="times"):
        draw_times("normal", 3, Linear(), torch.zeros(()))
