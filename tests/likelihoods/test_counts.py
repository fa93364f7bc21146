"""Likelihoods of counts, the continuous Bernoulli and Laplace, against sums, integrals and independent libraries."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats

import narrows as nr
from narrows.core import Spec
from narrows.core.check import RequestError
from narrows.data.opening import open as open_data
from narrows.likelihoods import (
    ContinuousBernoulli,
    Laplace,
    NegativeBinomial,
    Poisson,
    ZeroInflated,
    likelihood,
)
from narrows.methods.index import builder
from narrows.methods.variational.vae import vae
from narrows.nets.logarithm import Logarithm

LOG_MEANS = (-3.0, 0.0, 1.5, 4.0)


def _nll(model, parameters, x):
    """-log p of each of several values under the same parameters, by the model's own sum."""
    rows = torch.tensor(parameters, dtype=torch.float64).expand(len(x), -1)
    return model.nll(rows, torch.as_tensor(x, dtype=torch.float64)[:, None]).detach()


@pytest.mark.parametrize("log_mean", LOG_MEANS)
def test_poisson_is_that_of_scipy(log_mean):
    x = np.arange(60)
    expected = -stats.poisson(math.exp(log_mean)).logpmf(x)
    # the smooth bounds move a log-mean of 4 by 5e-5
    torch.testing.assert_close(
        _nll(Poisson((1,)), [log_mean], x), torch.tensor(expected), rtol=1e-4, atol=3e-3
    )


@pytest.mark.parametrize("log_mean", LOG_MEANS)
@pytest.mark.parametrize("log_dispersion", [-2.0, 0.0, 3.0])
def test_the_negative_binomial_is_that_of_scipy(log_mean, log_dispersion):
    model, x = NegativeBinomial((1,)).double(), np.arange(60)
    torch.nn.init.constant_(model.log_dispersion, log_dispersion)
    t, m = math.exp(log_dispersion), math.exp(log_mean)
    expected = -stats.nbinom(t, t / (t + m)).logpmf(x)
    torch.testing.assert_close(_nll(model, [log_mean], x), torch.tensor(expected), rtol=1e-4, atol=1e-4)


def test_a_negative_binomial_of_large_dispersion_is_a_poisson_variable():
    model, x = NegativeBinomial((1,)).double(), np.arange(10)
    torch.nn.init.constant_(model.log_dispersion, 13.0)
    torch.testing.assert_close(_nll(model, [0.5], x), _nll(Poisson((1,)), [0.5], x), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("logit", [-4.0, 0.0, 3.0])
def test_additional_zeros_mix_a_zero_and_a_negative_binomial(logit):
    model, x = ZeroInflated((1,)).double(), np.arange(400)
    share, one = 1 / (1 + math.exp(-logit)), stats.nbinom(1.0, 1 / (1 + math.exp(1.0))).pmf(x)
    expected = (1 - share) * one + share * (x == 0)
    found = (-_nll(model, [1.0, logit], x)).exp()
    torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-4, atol=1e-9)
    assert found.sum().item() == pytest.approx(1, abs=1e-6)
    mean = model.mean(torch.tensor([[1.0, logit]], dtype=torch.float64)).item()
    assert mean == pytest.approx(float((x * expected).sum()), rel=1e-4)


@pytest.mark.parametrize("name", ["poisson", "negative-binomial", "zinb"])
def test_draws_have_the_mean_and_are_counts(name):
    torch.manual_seed(0)
    model = likelihood(name, (2,), "counts")
    parameters = torch.tensor([[0.7, -0.5, 0.2, 0.4][: model.parameter_shape[0]]]).expand(40000, -1)
    drawn = model.sample(parameters).detach()
    assert (drawn == drawn.round()).all()
    assert drawn.min() == 0
    torch.testing.assert_close(drawn.mean(0), model.mean(parameters)[0].detach(), rtol=0.05, atol=0.02)


@pytest.mark.parametrize("name", ["poisson", "negative-binomial", "zinb"])
def test_extreme_parameters_and_counts_have_finite_gradients(name):
    model = likelihood(name, (4,), "counts")
    parameters = torch.tensor([[-1e4, -80.0, 80.0, 1e4] * model.channels], requires_grad=True)
    nll = model.nll(parameters, torch.tensor([[0.0, 3.0, 1e6, 0.0]]))
    nll.sum().backward()
    assert nll.isfinite().all()
    assert parameters.grad.isfinite().all()


@pytest.mark.parametrize("logit", [-40.0, -6.0, -0.6, -0.3, 0.0, 1e-3, 2.0, 9.0, 25.0])
def test_the_continuous_bernoulli_is_a_density_with_its_mean(logit):
    model = ContinuousBernoulli((1,)).double()

    def density(x):
        return math.exp(-float(_nll(model, [logit], [x])))

    assert integrate.quad(density, 0, 1)[0] == pytest.approx(1, abs=1e-5)
    mean = model.mean(torch.tensor([[logit]], dtype=torch.float64)).item()
    assert mean == pytest.approx(integrate.quad(lambda x: x * density(x), 0, 1)[0], abs=1e-4)


def test_the_continuous_bernoulli_draws_at_its_mean():
    torch.manual_seed(0)
    model, logits = ContinuousBernoulli((4,)), torch.tensor([-3.0, 0.0, 1.0, 30.0]).expand(20000, 4)
    drawn = model.sample(logits)
    torch.testing.assert_close(drawn.mean(0), model.mean(logits)[0], atol=0.01, rtol=0)
    second = stats.truncexpon(b=3.0, scale=1 / 3).moment(2)  # of the logit -3
    assert float(drawn[:, 0].square().mean()) == pytest.approx(second, abs=0.01)


def test_the_continuous_bernoulli_has_finite_gradients_at_all_logits():
    logits = torch.tensor([[-1e4, -0.5, 0.0, 1e-8, 0.5, 1e12]], requires_grad=True)
    model = ContinuousBernoulli((6,))
    (model.nll(logits, torch.rand(1, 6)).sum() + model.mean(logits).sum()).backward()
    assert logits.grad.isfinite().all()


def test_laplace_is_that_of_torch_and_learns_the_mean_deviation():
    generator = torch.Generator().manual_seed(1)
    m, x = (torch.randn(5, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    model = Laplace((3,), scale=0.7).double()
    expected = -torch.distributions.Laplace(m, 0.7).log_prob(x).sum(1)
    torch.testing.assert_close(model.nll(m, x).detach(), expected, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        model.log_scale.copy_((x - m).abs().mean().log())
    model.nll(m, x).mean().backward()
    assert abs(model.log_scale.grad.item()) < 1e-3


def test_counts_are_asked_for_and_checked():
    counts = np.random.default_rng(0).poisson(3.0, (40, 6))
    with pytest.raises(RequestError, match=r"`likelihood` must be one for real values.*--scale counts"):
        likelihood("poisson", (6,), "real")
    with pytest.raises(RequestError, match="`likelihood` must be one for counts"):
        likelihood("bernoulli", (6,), "counts")
    for wrong in (counts - 1, counts + 0.5):
        with pytest.raises(RequestError, match="whole numbers from 0"):
            open_data(wrong, scale="counts")
    source = open_data(counts, scale="counts")
    assert source.spec.values == "counts"
    assert source.train.all().x.max() == counts.max()


def test_a_vae_of_counts_learns_what_poisson_variables_of_one_mean_cannot(tmp_path):
    rng = np.random.default_rng(0)
    group = rng.integers(0, 2, 400)
    counts = rng.poisson(np.where(group[:, None] == np.arange(8) % 2, 20.0, 0.5))
    run = nr.fit(
        counts,
        "vae",
        latent=2,
        likelihood="poisson",
        steps=300,
        lr=0.01,
        out=tmp_path / "run",
        data_options={"scale": "counts"},
    )
    distortion = run.audit(write=False)["distortion"].value
    one = -stats.poisson(counts.mean(0)).logpmf(counts).sum(1).mean()
    two = -stats.poisson(np.where(group[:, None] == np.arange(8) % 2, 20.0, 0.5)).logpmf(counts).sum(1).mean()
    assert distortion < two + 0.2 * (one - two)


def test_encoders_of_counts_read_their_logarithm():
    model = vae(Spec((5,), "counts"), net="skip")
    assert isinstance(model.encoder, Logarithm)
    assert isinstance(model.likelihood, NegativeBinomial)


@pytest.mark.parametrize(
    "name",
    [
        "flow-vae",
        "hvae",
        "rhvae",
        "uae",
        "multiscale-vae",
        "ladder-vae",
        "vib",
        "contractive-ae",
        "factor-vae",
        "jointvae",
    ],
)
def test_encoders_of_counts_read_their_logarithm_in_other_methods(name):
    model = builder(name)(Spec((5,), "counts", classes=3), latent=2).eval()
    x = torch.tensor([[0.0, 1.0, 10.0, 100.0, 10000.0]])
    seen, logarithms = [], [part for part in model.encoder.modules() if isinstance(part, Logarithm)]
    assert len(logarithms) == 1
    logarithms[0].net.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model.encoder(x, {})
    assert torch.equal(seen[0], x.log1p())


@pytest.mark.parametrize("name", ["cvae", "vq-vae", "fsq", "rq-vae", "vqgan"])
def test_encoders_of_grids_and_of_pairs_read_the_logarithm_too(name):
    model = builder(name)(Spec((1, 8, 8), "counts", classes=3))
    assert len([part for part in model.encoder.modules() if isinstance(part, Logarithm)]) == 1


@pytest.mark.parametrize("name", ["alae", "vae-gan", "dfc-vae", "msssim-vae"])
def test_methods_that_compare_pixels_refuse_counts(name):
    """Their outputs would lie between 0 and 1."""
    with pytest.raises(RequestError, match=r"`spec` must be values from 0 to 1.*Scale the data"):
        builder(name)(Spec((1, 8, 8), "counts"), latent=2)
