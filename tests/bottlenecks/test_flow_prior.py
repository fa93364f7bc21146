"""The flow prior: its density integrates to one and is that of its draws."""

import pytest
import torch

from narrows.audit.evidence.annealing import _is_real
from narrows.audit.evidence.posterior import posterior_of
from narrows.bottlenecks.gaussian.diagonal import Gaussian
from narrows.bottlenecks.priors.flow import FlowPrior
from narrows.core.check import RequestError

pytest.importorskip("zuko")


@pytest.mark.parametrize("kind", ["maf", "nsf"])
def test_the_density_is_a_density_of_its_draws(kind: str) -> None:
    torch.manual_seed(0)
    prior = FlowPrior(2, kind, transforms=2, width=8).double()
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        axis = torch.linspace(-9, 9, 400, dtype=torch.float64)
        grid = torch.cartesian_prod(axis, axis)
        density = prior().log_prob(grid).exp() * (axis[1] - axis[0]) ** 2
        assert float(density.sum()) == pytest.approx(1, abs=0.01)
        drawn = prior().sample((20_000,))
        mean = (grid * density[:, None]).sum(0)
    torch.testing.assert_close(drawn.mean(0), mean, atol=0.05, rtol=0)


@pytest.mark.parametrize("kind", ["maf", "nsf"])
def test_a_gaussian_posterior_has_a_divergence_from_a_flow(kind: str) -> None:
    torch.manual_seed(0)
    bottleneck = Gaussian(2, FlowPrior(2, kind, width=8)).double()
    h = 0.3 * torch.randn(5, 4, dtype=torch.float64)
    bottleneck.train()(h).costs["kl"].sum().backward()
    assert all(p.grad is not None for p in bottleneck.parameters())
    bottleneck.eval()
    with torch.no_grad():
        code, many = bottleneck(h), bottleneck(h, samples=(20_000,)).costs["kl"]
        assert ((code.costs["kl"] - many.mean(0)).abs() < many.std(0)).all()
        found = posterior_of(code)
    assert found.kl is None
    assert found.ratio is None
    assert _is_real(bottleneck.prior())
    assert bottleneck.sample(3).z.shape == (3, 2)


def test_bad_flows_are_refused() -> None:
    for options in ({"latent": 1}, {"latent": 2, "kind": "iaf"}, {"latent": 2, "transforms": 0}):
        with pytest.raises(RequestError):
            FlowPrior(**options)  # type: ignore[arg-type]
