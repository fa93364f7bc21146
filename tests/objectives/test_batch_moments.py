"""Moments of a batch, variances and the critic's term, written out."""

import math

import pytest
import torch

from narrows.core import Batch, seeded
from narrows.core.check import RequestError
from narrows.methods.variational.gamix_vae import gamix_vae
from narrows.objectives.batch_moments import moments_kl
from narrows.runs.fit import fit


def test_the_loss_is_that_of_the_paper():
    torch.manual_seed(0)
    model = gamix_vae((6,), latent=3, reconstruction=30.0, variance=0.2, adversary=7.0).double().train()
    batch = Batch(torch.randn(5, 6).double())
    with seeded(1):
        found = model.loss(batch)
    with seeded(1):
        code = model.encode(batch)
    mean, variance = code.q.mean.tolist(), code.q.variance.tolist()
    made = model.decode(code.z)
    expected = 30.0 * float((made - batch.x).abs().mean())
    for j in range(3):
        column = [row[j] for row in mean]
        m = sum(column) / 5
        v = sum((c - m) ** 2 for c in column) / 5
        expected += 0.5 * (v + m * m - 1 - math.log(v))
        expected += 0.2 * sum(row[j] - 1 - math.log(row[j]) for row in variance) / 5
    scores = torch.sigmoid(model.objective.critic(made))
    expected -= 7.0 * float(scores.log().mean())
    assert float(found.total) == pytest.approx(expected)
    real = torch.sigmoid(model.objective.critic(batch.x))
    judged = model.objective.judge(model, found.passed).total
    fresh = torch.sigmoid(model.objective.critic(model.likelihood.mean(found.passed.output)))
    assert float(judged) == pytest.approx(float(-real.log().mean() - (1 - fresh).log().mean()))


def test_the_moments_are_those_of_a_gaussian():
    """Against torch's KL divergence of Gaussians; codes of a wrong batch axis would differ."""
    torch.manual_seed(0)
    z = 2 + 0.5 * torch.randn(50, 3)
    q = torch.distributions.Normal(z.mean(0), z.std(0, correction=0))
    expected = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).sum()
    assert float(moments_kl(z)) == pytest.approx(float(expected), rel=1e-5)
    assert moments_kl(z[:1]).isfinite()


def test_a_batch_needs_four_examples_per_latent(tmp_path):
    x = torch.randn(100, 6).numpy()
    with pytest.raises(RequestError, match=r"`batch_size` must be at least 20.* but got 12"):
        fit(x, "gamix-vae", tmp_path / "run", batch_size=12, latent=5, net="mlp:8", steps=1, progress=False)
