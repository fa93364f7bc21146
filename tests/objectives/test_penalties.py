"""Penalties of any objective: entropies and divergences against loops, closed forms and brute force."""

import itertools
import math

import pytest
import torch

from narrows.core import Batch, seeded
from narrows.core.check import RequestError
from narrows.methods.regularised.ae import ae
from narrows.methods.variational.vae import vae
from narrows.objectives.cauchy_schwarz import conditional_divergence, dependence
from narrows.objectives.entropy import CodeEntropy, code_entropy


def kernel(a, b, rows, width):
    """The Gaussian kernel of two rows, its variance the mean of the columns'."""
    n, columns = len(rows), len(rows[0])
    variance = 0.0
    for j in range(columns):
        mean = sum(row[j] for row in rows) / n
        variance += sum((row[j] - mean) ** 2 for row in rows) / (n * columns)
    return math.exp(-sum((p - q) ** 2 for p, q in zip(a, b, strict=True)) / (2 * width**2 * variance))


def test_the_entropy_is_that_of_the_eigenvalues():
    torch.manual_seed(0)
    for shape in ((30, 4), (3, 6)):
        z = torch.randn(shape).double()
        unit = z / z.norm(dim=1, keepdim=True)
        values = torch.linalg.eigvalsh(unit.T @ unit / len(z)).clamp_min(0)
        expected = -sum(v * math.log(v) for v in values.tolist() if v > 1e-12)
        assert float(code_entropy(z)) == pytest.approx(expected, abs=1e-8)
        assert float(code_entropy(7 * z)) == pytest.approx(expected, abs=1e-8)
    z = torch.randn(6, 3).double().requires_grad_()
    assert torch.autograd.gradcheck(code_entropy, (z,))


def test_a_gradient_is_finite_where_codes_are_on_a_line():
    z = torch.outer(torch.linspace(1, 2, 5), torch.ones(3)).requires_grad_()
    value = code_entropy(z)
    value.backward()
    assert float(value.detach()) == pytest.approx(0, abs=1e-5)
    assert z.grad.isfinite().all()


def test_the_loss_has_the_entropy_of_the_means():
    torch.manual_seed(0)
    batch = Batch(torch.randn(9, 6))
    for build in (ae, vae):
        plain, model = build((6,), latent=3), build((6,), latent=3, penalty="vne:alpha=-0.3")
        model.load_state_dict(plain.state_dict())
        with seeded(1):
            found = model.loss(batch).total
        with seeded(1):
            expected = plain.loss(batch).total + 0.3 * code_entropy(plain.features(batch))
        assert torch.allclose(found, expected)
    model.objective.add(CodeEntropy("linear:0:1:100"))
    assert (model.objective.weight("vne", 50), model.objective.settled(50)) == (0.5, False)


def test_dependence_is_the_sum_over_all_tuples():
    torch.manual_seed(0)
    x, t = torch.randn(5, 2).double(), torch.randn(5, 3).double()
    xs, ts, rows = x.tolist(), t.tolist(), range(5)
    k = [[kernel(a, b, xs, 0.7) for b in xs] for a in xs]
    q = [[kernel(a, b, ts, 0.7) for b in ts] for a in ts]
    joint = sum(k[i][j] * q[i][j] for i, j in itertools.product(rows, repeat=2)) / 5**2
    apart = sum(k[i][j] * q[m][n] for i, j, m, n in itertools.product(rows, repeat=4)) / 5**4
    crossed = sum(k[i][j] * q[i][n] for i, j, n in itertools.product(rows, repeat=3)) / 5**3
    expected = math.log(joint) + math.log(apart) - 2 * math.log(crossed)
    assert float(dependence(x, t, 0.7)) == pytest.approx(expected)
    assert float(dependence(x, 100 * t, 0.7)) == pytest.approx(expected)


def test_dependence_is_that_of_gaussians():
    r"""Kernel estimates are of densities smoothed by their kernels, so the closed form is of those."""
    torch.manual_seed(0)
    rho, width = 0.9, 0.5
    x = torch.randn(6000, 1).double()
    t = rho * x + math.sqrt(1 - rho**2) * torch.randn(6000, 1).double()
    # A kernel of variance w^2 between two points is one of w^2 / 2 at each: covariances S + w^2 / 2.
    joint = torch.tensor([[1.0, rho], [rho, 1.0]]).double() + width**2 / 2 * torch.eye(2).double()
    product = (1 + width**2 / 2) * torch.eye(2).double()

    def log_overlap(a, b):
        return -0.5 * torch.logdet(a + b)

    expected = log_overlap(joint, joint) + log_overlap(product, product) - 2 * log_overlap(joint, product)
    assert float(dependence(x, t, width)) == pytest.approx(float(expected), rel=0.05)
    assert float(dependence(x, torch.randn(6000, 1).double(), width)) == pytest.approx(0, abs=0.01)


def test_the_divergence_is_its_sums_and_0_for_the_targets():
    torch.manual_seed(0)
    x, y, made = (torch.randn(5, d).double() for d in (3, 2, 2))
    xs, ys, ms, rows = x.tolist(), y.tolist(), made.tolist(), range(5)
    k = [[kernel(a, b, xs, 1.0) for b in xs] for a in xs]

    def term(a, b):
        found = 0.0
        for j in rows:
            near = sum(k[j])
            found += sum(k[j][i] * kernel(a[j], b[i], ys, 1.0) for i in rows) / near**2
        return math.log(found)

    expected = term(ys, ys) + term(ms, ms) - term(ys, ms) - term(ms, ys)
    assert float(conditional_divergence(x, y, made)) == pytest.approx(expected)
    assert float(conditional_divergence(x, y, y.clone())) == pytest.approx(0, abs=1e-9)
    assert float(conditional_divergence(x, y, y + 0.1)) > 1e-3


def test_the_loss_of_an_information_bottleneck():
    torch.manual_seed(0)
    options = {"latent": 2, "likelihood": "squared"}
    plain = vae((4,), **options)
    model = vae((4,), penalty="cs-ib:beta=0.2,prediction=3,distortion=0.5,width=2", **options)
    model.load_state_dict(plain.state_dict())
    batch = Batch(torch.randn(7, 4))
    with seeded(1):
        found = model.loss(batch).total
    with seeded(1):
        passed = plain.loss(batch).passed
    z, made = passed.code.z, passed.output
    expected = 0.5 * (made - batch.x).square().sum(1).mean() + passed.code.costs["kl"].mean()
    expected = expected + 0.2 * dependence(batch.x, z, 2)
    expected = expected + 3 * conditional_divergence(batch.x, batch.x, made, 2)
    assert torch.allclose(found, expected)
    assert model.loss(Batch(torch.randn(1, 4))).total.isfinite()
    assert model.loss(Batch(torch.zeros(3, 4))).total.isfinite()


def test_what_cannot_be_is_refused():
    with pytest.raises(RequestError, match="vne"):
        ae((4,), penalty="vna")
    with pytest.raises(RequestError, match="width"):
        ae((4,), penalty="cs-ib:width=0")
