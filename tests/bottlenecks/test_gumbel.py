"""The relaxed categorical code: its divergence, its draws and its limit."""

import math

import pytest
import torch

from narrows.bottlenecks.discrete.gumbel import GumbelQuantizer
from narrows.core import seeded
from narrows.core.evidence import Indices


def quantizer(temperature=1.0, codes=6):
    with seeded(0):
        return GumbelQuantizer(4, codes=codes, tokens=3, temperature=temperature)


def test_the_divergence_from_uniform_codes():
    gumbel = quantizer()
    h = torch.randn(5, 3, 4)
    q = torch.distributions.Categorical(logits=gumbel.logits(h))
    uniform = torch.distributions.Categorical(probs=torch.full((6,), 1 / 6))
    expected = torch.distributions.kl_divergence(q, uniform.expand((5, 3))).sum(-1)
    assert torch.allclose(gumbel(h).costs["kl"], expected, atol=1e-5)
    with torch.no_grad():
        gumbel.logits.weight.zero_()
        gumbel.logits.bias.zero_()
    assert torch.allclose(gumbel(h).costs["kl"], torch.zeros(5), atol=1e-6)


def test_in_eval_the_most_probable_code_is_decoded():
    gumbel = quantizer().eval()
    h = torch.randn(5, 3, 4)
    code = gumbel(h)
    assert torch.equal(code[Indices].indices, gumbel.logits(h).argmax(-1))
    assert torch.equal(code.z, gumbel.codebook[code[Indices].indices])


def test_at_a_low_temperature_draws_are_codes_with_their_probabilities():
    gumbel = quantizer(temperature=1e-3, codes=4)
    h = torch.randn(1, 1, 4).expand(20_000, 1, 4)
    with seeded(1):
        z = gumbel(h).z[:, 0]
    distance = torch.cdist(z, gumbel.codebook)
    assert float((distance.min(-1).values < 1e-3).double().mean()) > 0.99
    share = torch.bincount(distance.argmin(-1), minlength=4) / len(z)
    assert torch.allclose(share, gumbel.logits(h[0, 0]).softmax(-1), atol=0.015)


def test_at_a_high_temperature_the_mean_of_the_codebook_is_decoded():
    gumbel = quantizer(temperature=1e4)
    z = gumbel(torch.randn(5, 3, 4)).z
    assert torch.allclose(z, gumbel.codebook.mean(0).expand_as(z), atol=1e-2)


def test_the_temperature_follows_its_schedule():
    gumbel = quantizer(temperature="cosine:1:0.0625:100")
    assert gumbel.temperature == 1
    for step, expected in ((50, (1 + 0.0625) / 2), (100, 0.0625), (1000, 0.0625)):
        gumbel.before_step(step)
        assert gumbel.temperature == pytest.approx(expected)
    assert math.isfinite(float(gumbel(torch.randn(2, 3, 4)).z.sum()))
