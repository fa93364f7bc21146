"""scVI and DCA against their equations, computed with scipy, and what they refuse."""

import numpy as np
import pytest
import torch
from scipy import stats

import narrows as nr
from narrows.audit.evidence.likelihood import importance_nll
from narrows.core import Batch, Spec
from narrows.core.check import RequestError
from narrows.data.opening import open as open_data
from narrows.likelihoods.counts import GivenTotal, NegativeBinomial, ZeroInflated, _log_rising
from narrows.methods.tabular.dca import dca
from narrows.methods.tabular.scvi import scvi
from narrows.nets.totals import TOTAL
from narrows.train import optimise


def _probability(x, log_mean, log_dispersion, logit=None):
    """p(x) by scipy: negative binomial, with zeros of probability sigmoid(logit)."""
    t, m = np.exp(log_dispersion), np.exp(log_mean)
    p = stats.nbinom(t, t / (t + m)).pmf(x)
    share = 0 if logit is None else 1 / (1 + np.exp(-logit))
    return (1 - share) * p + share * (x == 0)


@pytest.mark.parametrize("log_dispersion", [-1.0, 1.0, 4.0])
@pytest.mark.parametrize("log_mean", [-3.0, 2.0, 5.0])
def test_the_mass_of_20000_counts_is_1_and_moments_are_exact(log_mean, log_dispersion):
    model, x = ZeroInflated((1,)).double(), np.arange(20_001)
    torch.nn.init.constant_(model.log_dispersion, log_dispersion)
    parameters = torch.tensor([[log_mean, -1.0]], dtype=torch.float64)
    nll = model.nll(parameters.expand(len(x), -1), torch.from_numpy(x).double()[:, None]).detach().numpy()
    p, share = np.exp(-nll), 1 / (1 + np.e)
    np.testing.assert_allclose(p, _probability(x, log_mean, log_dispersion, -1.0), rtol=1e-3, atol=1e-12)
    assert p.sum() == pytest.approx(1, abs=1e-6)
    mean, kept = float(model.mean(parameters)), 1 - share
    m, t = np.exp(log_mean), np.exp(log_dispersion)
    variance = kept * (m + m**2 / t) + kept * share * m**2
    assert (p * x).sum() == pytest.approx(mean, rel=1e-4)
    assert mean == pytest.approx(kept * m, rel=1e-4)
    assert (p * (x - mean) ** 2).sum() == pytest.approx(variance, rel=1e-3)


@pytest.mark.parametrize("dispersion", [1e-6, 0.3, 99.0, 101.0, 1e6])
def test_ratios_of_gamma_functions_are_those_of_scipy_in_float32(dispersion):
    from scipy.special import gammaln

    x = np.array([1.0, 2.0, 17.0, 300.0, 65535.0])
    exact = gammaln(x + dispersion) - gammaln(dispersion)
    found = _log_rising(torch.from_numpy(x).float(), torch.tensor(dispersion).expand(5)).double().numpy()
    np.testing.assert_allclose(found, exact, rtol=3e-6)


def test_the_likelihood_is_that_of_scipy_given_the_total_of_the_cell():
    torch.manual_seed(0)
    model = GivenTotal(ZeroInflated((4,))).double()
    model.counts.log_dispersion.data = torch.randn(4).double()
    parameters = torch.randn(3, 9).double()
    x = torch.tensor([[0, 3, 1, 0], [7, 0, 0, 0], [2, 2, 30, 1]]).double()
    log_mean = parameters[:, :4].log_softmax(1) + x.sum(1, keepdim=True).log()
    expected = [
        -np.log(
            _probability(x[i].numpy(), m.numpy(), model.counts.log_dispersion.detach().numpy(), pi.numpy())
        ).sum()
        for i, (m, pi) in enumerate(zip(log_mean, parameters[:, 4:8], strict=True))
    ]
    np.testing.assert_allclose(model.nll(parameters, x).detach(), expected, rtol=1e-5)
    told = torch.cat(
        [parameters[:, :8], x.sum(1, keepdim=True).log()], 1
    )  # only means read what the decoder is told
    torch.testing.assert_close(model.nll(told, x), model.nll(parameters, x))
    torch.testing.assert_close(model.rates(told).sum(1), x.sum(1), rtol=1e-4, atol=1e-4)


def test_the_bound_is_the_sum_of_both_terms_by_hand():
    torch.manual_seed(0)
    model = scvi(Spec((5,), "counts"), latent=2, dropout=0.0, beta=1.0, net="mlp:4").eval()
    x = torch.tensor([[1.0, 0.0, 4.0, 0.0, 2.0], [0.0, 9.0, 0.0, 1.0, 1.0]])
    loss, passed = model.loss(Batch(x)), model(Batch(x))
    q = model.encoder(x.clone(), {})
    assert torch.equal(q, model.encoder.net(x.log1p(), {}))
    mean, variance = passed.code.q.mean, passed.code.q.variance
    kl = 0.5 * (mean**2 + variance - variance.log() - 1).sum(1)
    output = model.decoder.net(mean, {})
    log_mean = output[:, :5].log_softmax(1) + x.sum(1, keepdim=True).log()
    nll = [
        -np.log(_probability(x[i].numpy(), m.detach().numpy(), 0.0, pi.detach().numpy())).sum()
        for i, (m, pi) in enumerate(zip(log_mean, output[:, 5:] - 3, strict=True))
    ]
    torch.testing.assert_close(loss.terms["kl"], kl.mean())
    assert float(loss.total) == pytest.approx(float(kl.mean()) + np.mean(nll), rel=1e-4)


@pytest.mark.parametrize("builder", [scvi, dca])
def test_reconstructions_have_the_total_of_their_cell(builder):
    model = builder(Spec((6,), "counts"), latent=2, likelihood="negative-binomial").eval()
    x = torch.randint(1, 30, (4, 6)).float()
    torch.testing.assert_close(model.reconstruct(Batch(x)).sum(1), x.sum(1), rtol=1e-3, atol=0)


@pytest.mark.parametrize("likelihood", ["zinb", "negative-binomial", "poisson"])
def test_training_on_counts_of_0_and_65535_stays_finite(likelihood):
    generator = torch.Generator().manual_seed(0)
    x = torch.where(torch.rand(64, 10, generator=generator) < 0.5, 0.0, 65535.0)
    x[:, 0] = 1.0
    data = open_data(x.numpy(), scale="counts").train
    torch.manual_seed(0)
    model = scvi(Spec((10,), "counts"), latent=2, net="mlp:16,batch_norm=yes", likelihood=likelihood)
    optimise(model, data, steps=60, lr=0.03)
    assert all(bool(p.isfinite().all()) for p in model.parameters())
    assert bool(importance_nll(model.eval(), data.all(), 3).isfinite().all())


def test_a_batch_is_told_to_the_decoder_and_not_to_the_encoder():
    source = open_data("cells", n=40, tests=5, genes=12, batches=3)
    model = scvi(source.spec, latent=2).eval()
    assert model.conditions == ("batch",)
    batch = source.test.all(conditions=("batch",))
    other = Batch(batch.x, condition={"batch": batch.condition["batch"].roll(1, 1)})
    assert torch.equal(model.encode(batch).z, model.encode(other).z)
    assert not torch.equal(model(batch).output, model(other).output)


def test_the_decoder_starts_at_the_shares_and_the_median_total_of_the_data():
    source = open_data("cells", n=400, genes=12, tests=5)
    model = scvi(source.spec, latent=2)
    x = source.train.all()
    model.decoder.prepare(model, x)
    expected = x.x.sum(0) / x.x.sum()
    torch.testing.assert_close(model.decoder.log_share.exp(), expected, rtol=1e-2, atol=1e-5)
    assert float(model.decoder.log_total.exp()) == pytest.approx(float(x.x.sum(1).median()), rel=1e-4)
    assert model(x).batch.condition[TOTAL].shape == (400, 1)


def test_cells_without_counts_are_refused_before_anything_is_written(tmp_path):
    x = np.random.default_rng(0).poisson(1.0, (50, 6))
    x[[3, 7, 8]] = 0
    some = (
        r"All counts are 0 in 3 of the rows of the training part \(3, 7, 8\).*as they were given.*min_counts"
    )
    with pytest.raises(RequestError, match=some):
        nr.fit(x, "scvi", steps=2, out=tmp_path / "run", data_options={"scale": "counts"})
    x[[3, 7, 8]] = 1
    for row, part in ((45, "training"), (35, "test")):  # as rows of the array, not of the part
        x[[45, 35]], x[row] = 1, 0
        with pytest.raises(RequestError, match=rf"of the rows of the {part} part \({row}\)"):
            nr.fit(x, "scvi", steps=2, out=tmp_path / "run", data_options={"scale": "counts"})
    assert not (tmp_path / "run").exists()
    with pytest.raises(RequestError, match=r"All counts are 0 in 1 of the rows of a batch \(1\)"):
        scvi(Spec((3,), "counts")).eval()(Batch(torch.tensor([[1.0, 0.0, 2.0], [0.0, 0.0, 0.0]])))


@pytest.mark.parametrize("name", ["scvi", "dca"])
def test_other_data_than_rows_of_counts_are_refused(name):
    with pytest.raises(RequestError, match=r"`spec` must be rows of counts.*--scale counts"):
        nr.fit(np.random.default_rng(0).random((20, 4)), name, steps=1)


def test_an_importance_estimate_of_a_linear_code_is_below_its_bound():
    source = open_data("cells", n=200, genes=20, tests=30)
    torch.manual_seed(0)
    model = optimise_few(scvi(source.spec, latent=2, beta=1.0), source.train)
    one, many = (importance_nll(model, source.test.all(), k).mean() for k in (1, 200))
    assert many < one
    assert isinstance(model.likelihood.counts, NegativeBinomial)


def optimise_few(model, data):
    optimise(model, data, steps=50)
    return model.eval()
