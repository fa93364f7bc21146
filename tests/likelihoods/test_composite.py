"""The composite likelihood of anomalies: given the code, and of each element by itself."""

import numpy as np
import pytest
import torch
from scipy import stats

import narrows.data as nd
from narrows.audit.evidence.scores import score_terms
from narrows.core import Batch
from narrows.core.check import RequestError
from narrows.likelihoods import Composite, likelihood
from narrows.likelihoods.composite import quantiles, student_t_scale
from narrows.methods.variational.vae import vae
from narrows.train import optimise


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.standard_t(3, (400, 4)) * [1, 2, 5, 0.1] + [0, 1, -3, 7]).float()


def test_the_scale_of_a_column_is_that_of_scipy(rows):
    found = student_t_scale(rows, torch.ones_like(rows), 3.0, torch.full((4,), 1e-3))
    for d in range(4):
        _, _, s = stats.t.fit(rows[:, d].double().numpy(), fdf=3, floc=0)
        assert float(found[d]) == pytest.approx(s, rel=3e-3)


def test_missing_cells_have_no_part_in_the_fit(rows):
    seen = (torch.rand(rows.shape, generator=torch.Generator().manual_seed(0)) > 0.3).float()
    holed = torch.where(seen == 1, rows, 1e6)
    scale = student_t_scale(torch.where(seen == 1, rows, 0), seen, 3.0, torch.full((4,), 1e-3))
    levels = quantiles(holed, seen, [0.1, 0.5, 0.9])
    for d in range(4):
        alone = rows[seen[:, d] == 1, d : d + 1]
        one = student_t_scale(alone, torch.ones_like(alone), 3.0, torch.full((1,), 1e-3))
        assert float(scale[d]) == pytest.approx(float(one[0]), rel=1e-3)
        ordered = np.sort(alone[:, 0].numpy())
        assert levels[:, d].tolist() == [float(ordered[int(q * len(ordered))]) for q in (0.1, 0.5, 0.9)]
    assert quantiles(holed, torch.zeros_like(seen), [0.5]).abs().max() == 0


def prepared(rows, **options):
    torch.manual_seed(0)
    model = vae(
        (rows.shape[1],), latent=1, likelihood="composite:" + ",".join(f"{k}={v}" for k, v in options.items())
    )
    model.eval().bottleneck.prepare(model, Batch(rows))
    model.likelihood.prepare(model, Batch(rows))
    return model.likelihood


def test_terms_are_a_density_given_the_code_and_one_by_itself(rows):
    p, outputs = prepared(rows, df=3), torch.randn(5, 400, 4)
    x, deviation = rows.double().numpy(), rows.double().std(0, correction=0).numpy()
    first = deviation * (0.02 + p.log_scale.detach().exp().double().numpy())
    ordered = np.sort(x, 0)
    iqr = ordered[300] - ordered[100]
    width = np.maximum(0.9 * np.minimum(deviation, iqr / 1.34) * 400**-0.2, 0.02 * deviation)
    centres = ordered[((np.arange(32) + 0.5) / 32 * 400).astype(int)]
    expected = -stats.t.logpdf(x, 3, outputs.numpy(), first)
    expected = expected - np.log(np.mean([stats.t.pdf(x, 3, c, width) for c in centres], 0))
    found = p.elements_nll(outputs, rows).detach().numpy()
    assert np.allclose(found, expected, atol=2e-4)
    assert np.allclose(p.nll(outputs, rows).detach().numpy(), found.sum(-1), rtol=1e-5)


def test_the_density_of_an_element_by_itself_has_a_mass_of_1_and_a_gap_between_two_modes():
    x = torch.from_numpy(
        np.random.default_rng(0).normal([[-4.0], [4.0]], 0.5, (2, 300)).reshape(600, 1)
    ).float()
    p = prepared(x, df=3)
    grid = torch.linspace(-400, 400, 400_001)[:, None]
    first = -stats.t.logpdf(grid.numpy(), 3, 0, p.given_code.detach().numpy())
    alone = p.elements_nll(torch.zeros_like(grid), grid).detach().numpy() - first
    assert np.exp(-alone).sum() * 0.002 == pytest.approx(1, abs=1e-3)
    at = {v: alone[np.abs(grid.numpy() - v).argmin(), 0] for v in (-4, 0, 4)}
    assert at[0] > max(at[-4], at[4]) + 2


def test_the_second_part_does_not_change_in_training(rows):
    source = nd.open({"x_train": rows.numpy(), "x_test": rows.numpy()})
    torch.manual_seed(0)
    model = vae(source.spec, latent=2, likelihood="composite")
    optimise(model, source.train, steps=1, seed=0, validation=0)
    before = {name: value.clone() for name, value in model.likelihood.named_buffers()}
    optimise(model, source.train, steps=5, seed=0, validation=0)
    assert all(torch.allclose(value, before[name]) for name, value in model.likelihood.named_buffers())
    assert float(model.likelihood.centres.abs().max()) > 0


def test_deviations_that_fit_the_code_are_unusual():
    rng = np.random.default_rng(0)
    common = rng.standard_normal((1000, 1))
    x = (common + 0.3 * rng.standard_normal((1000, 6))).astype(np.float32)
    odd = np.full((1, 6), 6.0, np.float32)  # far, along the direction that the code follows
    excess = {}
    for name in ("gaussian", "composite"):
        source = nd.open({"x_train": x, "x_test": np.concatenate([x[:200], odd])}, scale="none")
        torch.manual_seed(0)
        model = vae(source.spec, latent=1, likelihood=name)
        optimise(model, source.train, steps=100, seed=0, validation=0)
        batch = source.test.batch(slice(0, 201))
        distortion = score_terms(model, batch)["distortion"]
        excess[name] = float((distortion[-1] - distortion[:200].mean()) / distortion[:200].std())
    assert excess["gaussian"] < 3 < excess["composite"]


def test_a_constant_column_that_moves_a_little_has_a_small_score():
    x = torch.cat([torch.randn(200, 2, generator=torch.Generator().manual_seed(0)), torch.ones(200, 1)], 1)
    torch.manual_seed(0)
    model = vae((3,), latent=1, likelihood="composite").eval()
    model.bottleneck.prepare(model, Batch(x))
    model.likelihood.prepare(model, Batch(x))
    moved = x.clone()
    moved[:, 2] += 1e-4
    found = [score_terms(model, Batch(rows))["nll"] for rows in (x, moved)]
    assert float((found[1] - found[0]).abs().max()) < 1e-2


def test_refusals():
    with pytest.raises(RequestError, match="`floor`"):
        Composite((2,), floor=0.0)
    with pytest.raises(RequestError, match="`df`"):
        likelihood("composite:df=0", (2,))
