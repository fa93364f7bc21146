"""Mean and sampled codes, against correlations and determinants by numpy, on a posterior with known passive latents."""

import numpy as np
import pytest
import torch
from audit_models import Flat, StandInGaussian, UnitGaussian

from narrows.audit import audit
from narrows.audit.metrics.dependence import gaussian_total_correlation, mean_correlation
from narrows.core import Autoencoder
from narrows.objectives.elbo import Elbo


def polarised():
    """Latents 0 and 1 copy two inputs; 2 and 3 are passive, and their means follow the first two."""
    model = Autoencoder(Flat(4, (8,)), StandInGaussian(4), Flat(4, (4,)), UnitGaussian((4,)), Elbo())
    weight = torch.zeros(8, 4)
    weight[0, 0] = weight[1, 1] = 1.0
    weight[2, 0] = weight[3, 0] = 1e-3
    bias = torch.tensor([0.0, 0, 0, 0, -6.0, -6.0, 0.0, 0.0])
    with torch.no_grad():
        model.encoder.linear.weight.copy_(weight)
        model.encoder.linear.bias.copy_(bias)
    return model


def test_passive_latents_correlate_means_alone_and_the_gap_is_gone_without_them():
    x = torch.randn(1500, 4, generator=torch.Generator().manual_seed(0))
    found = {check.name: check for check in audit(polarised(), x).checks}
    first, second = x[:, 0].numpy(), x[:, 1].numpy()
    r = abs(np.corrcoef(first, second)[0, 1])
    means = (3 * 1.0 + 3 * r) / 6  # latents 0, 2 and 3 are parallel, latent 1 is not
    assert found["correlation-gap"].value == pytest.approx(means, abs=0.03)
    assert found["correlation-gap"].verdict == "warn"
    assert "--drop passive" in found["correlation-gap"].says
    assert abs(found["correlation-gap/used"].value) < 0.01
    assert found["total-correlation-gap"].value > 10
    assert abs(found["total-correlation-gap/used"].value) < 0.01
    assert "the 2 passive latents" in found["correlation-gap/used"].says


def test_total_correlation_is_the_divergence_of_the_fitted_gaussian():
    a = torch.tensor([[2.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.5, -0.4, 3.0]], dtype=torch.float64)
    z = torch.randn(400, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64) @ a.T
    s = np.cov(z.numpy().T)
    expected = 0.5 * (np.log(np.diag(s)).sum() - np.linalg.slogdet(s)[1])
    assert gaussian_total_correlation(z) == pytest.approx(expected, rel=1e-9)
    r = np.abs(np.corrcoef(z.numpy().T))
    assert mean_correlation(z) == pytest.approx((r.sum() - 3) / 6, rel=1e-9)


def test_a_constant_latent_depends_on_nothing():
    z = torch.tensor([[1.0, 3.0], [2.0, 3.0], [4.0, 3.0]])
    assert mean_correlation(z) == 0
    assert gaussian_total_correlation(z) == pytest.approx(0, abs=1e-12)
