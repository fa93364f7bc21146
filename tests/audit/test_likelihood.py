import pytest
import torch
from audit_models import gaussian_model, plain_model
from torch.distributions import MultivariateNormal

from narrows.audit.evidence.likelihood import importance_nll
from narrows.core import Batch
from narrows.core.check import RequestError


@pytest.fixture
def model():
    """A linear-Gaussian model whose q is the exact posterior, so that one sample gives log p(x) exactly."""
    model = gaussian_model(shape=(4,), latent=2, variance=0.3)
    w, b = model.decoder.linear.weight.detach(), model.decoder.linear.bias.detach()
    precision = torch.eye(2) + w.T @ w / 0.3
    values, vectors = torch.linalg.eigh(precision)
    turned = w @ vectors  # rotate the latent space: the posterior becomes diagonal
    with torch.no_grad():
        model.decoder.linear.weight.copy_(turned)
        model.encoder.linear.weight[:2] = (turned / values).T / 0.3
        model.encoder.linear.bias[:2] = -(turned / values).T @ b / 0.3
        model.encoder.linear.weight[2:] = 0
        model.encoder.linear.bias[2:] = -values.log()
    return model


def exact_nll(model, x):
    w, b = model.decoder.linear.weight.detach().double(), model.decoder.linear.bias.detach().double()
    return -MultivariateNormal(b, w @ w.T + 0.3 * torch.eye(4, dtype=torch.double)).log_prob(x.double())


def test_with_the_exact_posterior_any_number_of_samples_gives_the_exact_likelihood(model):
    x = torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
    for samples in (1, 7):
        estimate = importance_nll(model, Batch(x), samples)
        assert estimate.shape == (9,)
        assert estimate.tolist() == pytest.approx(exact_nll(model, x).tolist(), abs=1e-4)


def test_with_a_poor_posterior_the_bound_tightens_to_the_exact_likelihood(model):
    with torch.no_grad():
        model.encoder.linear.bias[:2] += 0.3
        model.encoder.linear.bias[2:] += 1.0
    x = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    exact = float(exact_nll(model, x).mean())
    bounds = [float(importance_nll(model, Batch(x), k).mean()) for k in (1, 8, 2000)]
    assert bounds[0] > bounds[1] > bounds[2] > exact - 0.01
    assert bounds[2] == pytest.approx(exact, abs=0.02)


def test_chunks_are_one_estimate(model):
    """Against the definition: all K draws of the same seed at once."""
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    model.encoder.linear.bias.data[2:] += 1.0
    model.eval()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(3)
        logs = []
        for count in (4, 4, 2):
            code = model.encode(Batch(x), (count,))
            logs.append(-model.likelihood.nll(model.decode(code.z), x) - code.rate)
        direct = -(torch.cat(logs).double().exp().mean(0)).log()
    estimate = importance_nll(model, Batch(x), 10, seed=3, chunk=4)
    assert estimate.tolist() == pytest.approx(direct.tolist(), rel=1e-5)
    assert torch.equal(estimate, importance_nll(model, Batch(x), 10, seed=3, chunk=4))
    assert not torch.equal(estimate, importance_nll(model, Batch(x), 10, seed=4, chunk=4))


def test_mode_and_generator_are_left_as_they_were(model):
    model.train()
    before = torch.random.get_rng_state()
    importance_nll(model, Batch(torch.zeros(2, 4)), 3)
    assert model.training
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_code_without_a_posterior_is_refused():
    with pytest.raises(RequestError, match="no posterior"):
        importance_nll(plain_model((4,)), Batch(torch.zeros(2, 4)), 3)
    with pytest.raises(RequestError, match="samples"):
        importance_nll(gaussian_model((4,)), Batch(torch.zeros(2, 4)), 0)
