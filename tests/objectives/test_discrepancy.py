"""The MMD against a double loop in plain Python, and its expectation."""

import math

import pytest
import torch

from narrows.core import Batch, Pass, seeded
from narrows.core.check import RequestError
from narrows.kernels.pairs import pair_sums
from narrows.methods.regularised.wae import wae
from narrows.methods.variational.infovae import infovae
from narrows.methods.variational.mmd_vae import mmd_vae
from narrows.objectives.discrepancy import SCALES, Discrepancy, imq, mmd


def loops(a, b, width):
    """Sums over pairs i != j, written out."""

    def k(x, y):
        d = sum((p - q) ** 2 for p, q in zip(x, y, strict=True))
        return sum(s * width / (s * width + d) for s in SCALES)

    n, m = len(a), len(b)
    aa = sum(k(a[i], a[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    bb = sum(k(b[i], b[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    ab = sum(k(x, y) for x in a for y in b) / (n * m)
    return aa + bb - 2 * ab


def test_the_statistic_is_the_double_loop():
    torch.manual_seed(0)
    a, b = torch.randn(7, 3, dtype=torch.float64), 2 + torch.randn(5, 3, dtype=torch.float64)
    got = mmd(a, b, lambda d: imq(d, 6.0))
    assert math.isclose(float(got), loops(a.tolist(), b.tolist(), 6.0), rel_tol=1e-10)


def test_the_gradient_of_the_kernel_is_that_of_finite_differences():
    squared = torch.tensor([0.0, 0.3, 5.0, 200.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda d: imq(d, 6.0), squared)


def test_a_large_sample_is_compared_in_chunks():
    torch.manual_seed(0)
    a, b = torch.randn(50, 3, dtype=torch.float64), 1 + torch.randn(40, 3, dtype=torch.float64)
    found = []
    for chunk in (10**6, 90):
        rows, others = a.clone().requires_grad_(), b.clone().requires_grad_()
        sums = pair_sums((rows, others, lambda d: imq(d, 6.0)), chunk=chunk)
        weights = torch.arange(50.0, dtype=torch.float64)
        found.append((sums, *torch.autograd.grad((weights * sums).sum(), (rows, others))))
    for whole, chunked in zip(*found, strict=True):
        assert torch.allclose(whole, chunked, rtol=1e-12)


def test_memory_is_linear_in_the_batch():
    """Of 4096 codes: the largest tensors that are kept for the backward pass are codes, not pairs of them."""
    kept = []
    z = torch.randn(4096, 10).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.nbytes) or t, lambda t: t):
        found = mmd(z, torch.randn(4096, 10), lambda d: imq(d, 20.0))
    found.backward()
    assert z.grad.isfinite().all()
    assert sum(kept) < 50e6  # one table of pairs has 67 MB, for each of seven scales


def test_it_is_unbiased_zero_for_one_distribution_and_not_for_two():
    torch.manual_seed(0)

    def mean(shift):
        draws = [
            mmd(torch.randn(20, 2), shift + torch.randn(20, 2), lambda d: imq(d, 4.0)) for _ in range(400)
        ]
        values = torch.stack(draws)
        return float(values.mean()), float(values.std() / 20)

    same, error = mean(0.0)
    assert abs(same) < 3 * error
    apart, error = mean(0.5)
    assert apart > 10 * error


def test_the_gradient_is_that_of_finite_differences():
    torch.manual_seed(0)
    a = torch.randn(4, 2, dtype=torch.float64, requires_grad=True)
    b = torch.randn(3, 2, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda t: mmd(t, b, lambda d: imq(d, 4.0)), (a,))


@pytest.mark.parametrize("sigma", [1.0, 2.0])
def test_the_term_compares_with_the_prior_at_its_own_width(sigma):
    torch.manual_seed(0)
    model = wae((6,), latent=3, sigma=sigma, weight=7.0).double()
    batch = Batch(torch.randn(5, 6, dtype=torch.float64))
    torch.manual_seed(1)
    loss = model.loss(batch)
    torch.manual_seed(1)
    prior = sigma * torch.randn(5, 3, dtype=torch.float64)
    z = model.encode(batch).z
    expected = loops(z.tolist(), prior.tolist(), 2 * 3 * sigma**2)
    assert math.isclose(float(loss.terms["mmd"]), expected, rel_tol=1e-9)
    squares = ((model.reconstruct(batch) - batch.x) ** 2).sum(1).mean()
    assert torch.allclose(loss.total, squares + 7 * expected)


def test_a_batch_of_one_is_finite():
    model = wae((6,), latent=3)
    assert model.loss(Batch(torch.randn(1, 6))).total.isfinite()


def test_training_on_it_brings_codes_to_the_prior():
    torch.manual_seed(0)
    objective = Discrepancy(weight=1.0)
    model = wae((2,), latent=2)
    z = (2 + 0.1 * torch.randn(100, 2)).requires_grad_()
    optimizer = torch.optim.Adam([z], lr=0.02)
    apart = []
    for _ in range(400):
        optimizer.zero_grad()
        term = objective.extra(model, Pass(Batch(z), model.bottleneck(z)))["mmd"]
        term.backward()
        optimizer.step()
        apart.append(term.item())
    assert sum(apart[-50:]) / 50 < 0.01 * apart[0]
    assert z.median(0).values.abs().max() < 0.25
    assert (z.std(0) - 1).abs().max() < 0.3


def test_the_losses_of_infovae_and_mmd_vae():
    torch.manual_seed(0)
    options = {"latent": 3, "likelihood": "squared"}
    batch = Batch(torch.randn(5, 6, dtype=torch.float64))
    for model, alpha, weight in (
        (infovae((6,), alpha=0.25, weight=2.0, **options), 0.25, 2.0),
        (infovae((6,), alpha=-0.5, **options), -0.5, -0.5 + 6 - 1),
        (mmd_vae((6,), **options), 1.0, 6.0),
    ):
        model.double().train()
        with seeded(1):
            loss = model.loss(batch)
        with seeded(1):
            code, prior = model.encode(batch), torch.randn(5, 3, dtype=torch.float64)
        expected = (model.decode(code.z) - batch.x).square().sum(1).mean()
        expected = expected + (1 - alpha) * code.costs["kl"].mean()
        expected = expected + weight * loops(code.z.tolist(), prior.tolist(), 6.0)
        assert torch.allclose(loss.total, expected)
    with pytest.raises(RequestError, match="alpha"):
        infovae((6,), alpha=1.5)
