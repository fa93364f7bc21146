"""TimeVAE against a computation by loops."""

import math

import pytest
import torch

from narrows.core import Batch, Spec
from narrows.core.check import RequestError
from narrows.methods.structured.timevae import timevae
from narrows.nets.time_decoder import TimeDecoder


def test_the_loss_is_the_published_one_up_to_a_constant():
    torch.manual_seed(0)
    model = timevae((6, 3), latent=2, weight=3.0, trend=1)
    x = torch.randn(4, 6, 3)
    loss = model.loss(Batch(x))
    out, q = loss.passed.output, loss.passed.code.q
    total = 0.0
    for n in range(4):
        errors = sum(float(x[n, t, c] - out[n, t, c]) ** 2 for t in range(6) for c in range(3))
        means = sum(float(x[n, t].mean() - out[n, t].mean()) ** 2 for t in range(6))
        mean, variance = q.mean[n], q.variance[n]
        kl = -0.5 * sum(
            1 + math.log(v) - float(m) ** 2 - float(v) for m, v in zip(mean, variance, strict=True)
        )
        total += 3 * (errors + means) + kl
    constant = 18 * 0.5 * math.log(math.pi / 3)  # of N(m, 1/6)
    assert float(loss.total) == pytest.approx(total / 4 + constant, rel=1e-5)


def test_missing_values_have_no_part_in_the_means_over_channels():
    torch.manual_seed(0)
    model = timevae(Spec((4, 3), kind="series", conditions={"observed": (4, 3)}), latent=2)
    x, seen = torch.randn(2, 4, 3), torch.rand(2, 4, 3) < 0.6
    seen[0, 1] = False
    loss = model.loss(Batch(torch.where(seen, x, torch.nan), None, {"observed": seen}, seen.float()))
    by_hand = 0.0
    for n in range(2):
        for t in range(4):
            there = [float(x[n, t, c] - loss.passed.output[n, t, c]) for c in range(3) if seen[n, t, c]]
            by_hand += (sum(there) / len(there)) ** 2 / 2 if there else 0
    assert float(loss.terms["channel_means"]) == pytest.approx(by_hand, rel=1e-5)


def test_parts_of_the_decoder():
    torch.manual_seed(0)
    decoder = TimeDecoder(2, (7, 2), trend=2, seasons=((3, 1), (2, 3)))
    z = torch.randn(5, 2)
    parts = decoder.parts(z)
    coefficients = decoder.trend(z).reshape(5, 2, 2)
    values = decoder.season[1](z).reshape(5, 2, 2)
    for t in range(7):
        trend = coefficients[:, 0] * (t / 7) + coefficients[:, 1] * (t / 7) ** 2
        assert torch.allclose(parts["trend"][:, t], trend, atol=1e-6)
        assert torch.allclose(parts["season-2x3"][:, t], values[:, [0, 0, 0, 1, 1, 1, 0][t]])
    assert torch.allclose(parts["season-3x1"][:, 1], parts["season-3x1"][:, 4])
    assert torch.allclose(decoder(z), sum(parts.values()), atol=1e-6)
    assert decoder(z[None].expand(3, 5, 2)).shape == (3, 5, 7, 2)


def test_what_is_wrong_is_said():
    for options, said in (
        ({"seasons": "1"}, "at least 2, and their steps"),
        ({"seasons": "day"}, "at least 2, and their steps"),
        ({"trend": -1}, "trend"),
        ({"weight": 0.0}, "a number above 0"),
    ):
        with pytest.raises(RequestError, match=said):
            timevae((6, 3), **options)
    with pytest.raises(RequestError, match="reads series; these are arrays"):
        timevae((6,))
