"""Penalties on moments of a batch of codes against loops over examples and latents."""

import pytest
import torch

from narrows.core import Batch, seeded
from narrows.core.check import RequestError
from narrows.methods.variational.dip_vae import dip_vae


def penalties(mean, variance=None):
    """Sums over latents of squared differences of the covariance from the identity, written out."""
    rows, width = len(mean), len(mean[0])
    centre = [sum(row[j] for row in mean) / rows for j in range(width)]
    off = on = 0.0
    for i in range(width):
        for j in range(width):
            c = sum((row[i] - centre[i]) * (row[j] - centre[j]) for row in mean) / rows
            if i == j:
                c += 0.0 if variance is None else sum(row[i] for row in variance) / rows
                on += (c - 1) ** 2
            else:
                off += c**2
    return off, on


@pytest.mark.parametrize("kind", ["i", "ii"])
def test_the_loss_is_that_of_the_paper(kind):
    torch.manual_seed(0)
    model = dip_vae((5,), latent=3, type=kind, weight=0.7, beta=0.5, likelihood="squared").double().train()
    batch = Batch(torch.randn(6, 5).double())
    with seeded(3):
        found = model.loss(batch)
    with seeded(3):
        code = model.encode(batch)
    mean, variance = code.q.mean.tolist(), code.q.variance.tolist()
    off, on = penalties(mean, variance if kind == "ii" else None)
    distortion = (model.decode(code.z) - batch.x).square().sum(1).mean()
    expected = distortion + 0.5 * code.costs["kl"].mean() + 0.7 * off + (7.0 if kind == "i" else 0.7) * on
    assert float(found.total) == pytest.approx(float(expected))


def test_the_covariance_of_draws_is_that_of_many_draws():
    """Type ii is the covariance of q(z), which the law of total covariance divides in two."""
    torch.manual_seed(0)
    model = dip_vae((5,), latent=2, type="ii")
    q = model.encode(Batch(torch.randn(40, 5))).q
    drawn = torch.cov(q.sample((20_000,)).flatten(0, 1).T)
    off, on = penalties(q.mean.tolist(), q.variance.tolist())
    assert off == pytest.approx(2 * float(drawn[0, 1]) ** 2, abs=1e-3)
    assert on == pytest.approx(float((drawn.diagonal() - 1).square().sum()), abs=0.02)


def test_a_weight_that_changes_needs_both_weights():
    with pytest.raises(RequestError, match="diagonal"):
        dip_vae((5,), weight="linear:0:1:10")
    assert dip_vae((5,), weight="linear:0:1:10", diagonal=2.0).objective.weight("diagonal", 5) == 2.0
    with pytest.raises(RequestError, match="type"):
        dip_vae((5,), type="iii")
