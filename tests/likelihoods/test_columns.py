"""The heads of a table's columns against sums over their grids and formulas in float64."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from narrows.core import Column, Spec
from narrows.core.check import RequestError
from narrows.likelihoods.columns import COUNTS, heads_of
from narrows.likelihoods.columns.levels import CategoricalHead, OrdinalHead
from narrows.likelihoods.columns.logistic import Logistic, LogLogistic, log_interval
from narrows.likelihoods.table import MixedTable


def number(values="integer", step=1.0, low=0.0, high=100.0):
    return Spec((), values, column=Column("int64", step, low, high))


def grid(head, points, parameters):
    """The probabilities of points (G,) of one column."""
    return (-head.nll(parameters.expand(len(points), -1), points[:, None])).exp()[:, 0]


def mixture(head, parameters):
    """Weights, means and scales of one column in float64."""
    log_weights, means, log_scales = (part[:, 0].double().numpy() for part in head.split(parameters))
    return np.exp(log_weights), means, np.exp(log_scales)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_the_log_of_an_interval_of_sigmoids_is_exact_in_both_tails_and_for_narrow_intervals():
    low = torch.tensor([-80.0, -30.0, -0.5, 0.0, 3.0, 60.0])
    for width in (1e-6, 1e-3, 1.0, 40.0):
        found = log_interval(low + width, low, torch.full_like(low, width))
        b = low.double().numpy()
        a = b + width
        # sigmoid(a) - sigmoid(b) = (e^a - e^b) / ((1 + e^a)(1 + e^b)), whose terms are all positive
        wanted = b + np.log(np.expm1(width)) - np.logaddexp(0, a) - np.logaddexp(0, b)
        assert np.allclose(found.numpy(), wanted, rtol=2e-6, atol=1e-6)


def test_the_mass_of_a_mixture_over_its_grid_is_one():
    torch.manual_seed(0)
    head = Logistic([number(step=0.5)])
    for _ in range(5):
        mass = grid(head, torch.arange(-2000, 2000) * 0.5, 2 * torch.randn(head.width))
        assert mass.sum().item() == pytest.approx(1, abs=1e-4)
        assert (mass <= 1 + 1e-6).all()


def test_the_mass_of_a_log_mixture_over_numbers_from_zero_is_one():
    torch.manual_seed(0)
    head = LogLogistic([number("positive", step=3.0)])
    for _ in range(5):
        parameters = torch.randn(head.width) - 1
        points = torch.arange(0, 2_000_000) * 3.0
        tail = mixture(head, parameters)
        beyond = float((tail[0] * (1 - sigmoid((math.log1p(6e6) - tail[1]) / tail[2]))).sum())
        assert grid(head, points, parameters).sum().item() + beyond == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(("kind", "values"), [(Logistic, "real"), (LogLogistic, "positive")])
def test_the_probability_of_a_cell_is_the_difference_at_its_edges(kind, values):
    torch.manual_seed(1)
    head = kind([number(values, step=2.0)], components=2)
    parameters, points = torch.randn(head.width), torch.tensor([0.0, 2.0, 4.0, 10.0])
    weights, means, scales = mixture(head, parameters)
    wanted = []
    for x in points.tolist():
        low, high = x - 1, x + 1
        if kind is LogLogistic:
            low, high = (-math.inf if x == 0 else math.log1p(low)), math.log1p(high)
        cell = sigmoid((high - means) / scales) - sigmoid((low - means) / scales)
        wanted.append(float((weights * cell).sum()))
    assert np.allclose(grid(head, points, parameters), wanted, rtol=1e-4)


def test_a_constant_column_costs_nothing_and_no_column_less():
    spec = Spec((1,), kind="table", parts={"a": Spec((), "real", column=Column("double", 1.0, 3.0, 3.0))})
    p, x = MixedTable(spec), torch.full((50, 1), 3.0)
    from narrows.core import Batch

    p.prepare(None, Batch(x))
    nll = p.nll(torch.zeros(50, *p.parameter_shape), x)
    assert nll.abs().max() < 1e-5
    raw = torch.zeros(1, p.parameter_shape[0])
    raw[0, -3:] = -1e6  # however small the scale is to be
    assert p.nll(raw, x[:1]).item() > -1e-6


def test_repeated_values_cannot_run_to_minus_infinity():
    x = torch.zeros(200, 1)
    x[:10, 0] = torch.arange(10).float()
    head = Logistic([number()])
    raw = head.prepare(x, torch.ones_like(x, dtype=torch.bool)).requires_grad_()
    optimiser = torch.optim.Adam([raw], lr=0.3)
    for _ in range(300):
        loss = head.nll(raw.expand(200, -1), x).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    counts = np.unique(x.numpy(), return_counts=True)[1] / 200
    assert loss.item() > -(counts * np.log(counts)).sum() - 1e-3  # no code is shorter than the entropy


def test_gradients_are_finite_far_from_the_data():
    head = Logistic([number(step=1e-4)])
    raw = torch.full((1, head.width), -50.0, requires_grad=True)
    head.nll(raw, torch.tensor([[1e4]])).sum().backward()
    assert torch.isfinite(raw.grad).all()


@pytest.mark.parametrize("head", [Logistic, LogLogistic])
def test_scales_of_any_size_have_a_finite_nll_and_gradient_that_make_them_smaller(head):
    one = head([Spec(())])
    for raw in (30.0, 85.0, 500.0):
        parameters = torch.zeros(1, 9)
        parameters[:, 6:] = raw
        parameters.requires_grad_()
        nll = one.nll(parameters, torch.tensor([[40.0]]))
        nll.sum().backward()
        assert float(nll) < 60
        assert parameters.grad.isfinite().all()
        assert (
            parameters.grad[:, 6:] > 0.3
        ).all()  # a third each: -log p rises with the logarithm of the scale


@pytest.mark.parametrize("kind", [Logistic, LogLogistic])
def test_the_gradient_is_that_of_finite_differences(kind):
    torch.manual_seed(0)
    head = kind([number(step=0.5), number(step=2.0)]).double()
    parameters = torch.randn(2, 3, head.width, dtype=torch.float64, requires_grad=True)
    x = torch.tensor([[0.0, 2.0], [1.5, 40.0], [3.0, 0.0]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda p: head.nll(p, x), parameters)


@pytest.mark.parametrize("spread", [1.0, 10.0, 80.0])
def test_nll_and_gradient_are_those_of_a_sum_in_float64_far_into_the_tails(spread):
    torch.manual_seed(3)
    head = Logistic([number(step=0.5)] * 2)
    x, wide = 0.5 * torch.randint(-9, 9, (50, 2)), torch.tensor([spread] * 12 + [5.0] * 6)
    raw = wide * torch.randn(50, head.width)  # of scales up to e^15

    def plain(parameters):
        log_weights, means, log_scales = head.split(parameters)
        high = (x.double().unsqueeze(-2) + 0.25 - means) / log_scales.exp()
        width = 0.5 / log_scales.exp()
        return -(log_weights + log_interval(high, high - width, width)).logsumexp(-2)

    exact, found = raw.double().requires_grad_(), raw.clone().requires_grad_()
    wanted, nll = plain(exact), head.nll(found, x)
    torch.testing.assert_close(nll.double(), wanted, rtol=1e-5, atol=1e-5)
    wanted.sum().backward()
    nll.sum().backward()
    torch.testing.assert_close(found.grad.double(), exact.grad, rtol=1e-3, atol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(head.nll(raw, x), nll, rtol=0, atol=0)


def test_means_and_draws_of_mixtures_agree_and_draws_lie_on_the_grid():
    torch.manual_seed(0)
    for head in (Logistic([number(step=0.25, low=0.1)]), LogLogistic([number("positive", step=0.5)])):
        raw = torch.zeros(head.width)
        raw[3:6], raw[6:] = torch.tensor([0.5, 1.0, 2.0]), -2.0
        x = head.sample(raw.expand(100_000, -1))
        steps = (x - head.origin) / head.step
        assert torch.allclose(steps, steps.round(), atol=1e-3)
        assert x.mean().item() == pytest.approx(head.expected(raw[None]).item(), rel=0.02)


def test_a_start_from_data_is_near_the_entropy_of_its_columns():
    torch.manual_seed(0)
    x = torch.stack([torch.randn(4000) * 3, torch.randint(5, (4000,)).float()], 1).round()
    head = Logistic([number(), number()])
    raw = head.prepare(x, torch.ones_like(x, dtype=torch.bool))
    nll = head.nll(raw.expand(len(x), -1), x).mean(0)
    for cost, column in zip(nll.tolist(), x.T, strict=True):
        share = np.unique(column.numpy(), return_counts=True)[1] / len(x)
        entropy = -(share * np.log(share)).sum()
        assert entropy - 1e-3 < cost < entropy + 0.3


def levels(kind, sizes):
    return kind([Spec((), "categories", classes=size, column=Column("text")) for size in sizes])


@pytest.mark.parametrize("kind", [CategoricalHead, OrdinalHead])
def test_probabilities_of_levels_sum_to_one_and_draws_follow_them(kind):
    torch.manual_seed(0)
    head = levels(kind, [2, 3, 3, 5])
    raw = torch.randn(head.width)
    one, two, three = head.expected(raw[None])[0].split([2, 6, 5])
    shares = [one, *two.unflatten(0, (3, 2)).unbind(1), three]
    x = head.sample(raw.expand(20_000, -1))
    assert x.shape == (20_000, 4)
    for column, share in enumerate(shares):
        assert share.sum().item() == pytest.approx(1, abs=1e-5)
        often = torch.bincount(x[:, column].long(), minlength=len(share)) / len(x)
        assert torch.allclose(often, share, atol=0.02)
        nll = torch.stack(
            [head.nll(raw[None], torch.full((1, 4), float(r)).clamp(max=1))[0, column] for r in (0, 1)]
        )
        assert torch.allclose((-nll).exp(), share[:2], atol=1e-5)
    assert head.estimate(torch.cat([one, two, three])[None]).tolist() == [
        [float(share.argmax()) for share in shares]
    ]


def test_ordinal_probabilities_are_differences_of_sigmoids_of_thresholds():
    head = levels(OrdinalHead, [4])
    raw = torch.tensor([-0.7, 0.3, -1.2])
    thresholds = np.cumsum([-0.7, math.log1p(math.exp(0.3)) + 1e-6, math.log1p(math.exp(-1.2)) + 1e-6])
    below = np.concatenate([[0], sigmoid(thresholds), [1]])
    assert np.allclose(head.expected(raw[None])[0], np.diff(below), atol=1e-6)


@pytest.mark.parametrize("kind", [CategoricalHead, OrdinalHead])
def test_levels_start_at_their_frequencies(kind):
    x = torch.tensor([[0.0], [0.0], [0.0], [1.0], [1.0], [2.0]]).repeat(50, 1)
    head = levels(kind, [3])
    raw = head.prepare(x, torch.ones_like(x, dtype=torch.bool))
    assert torch.allclose(head.expected(raw[None])[0], torch.tensor([1 / 2, 1 / 3, 1 / 6]), atol=0.01)


def test_counts_follow_their_distributions_and_start_at_their_moments():
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.negative_binomial(3, 3 / (3 + 5.0), size=(4000, 2))).float()
    seen = torch.ones_like(x, dtype=torch.bool)
    column = [Spec((), "counts")] * 2
    head = COUNTS.make("negative-binomial", columns=column)
    raw = head.prepare(x, seen)
    assert torch.allclose(head.expected(raw[None])[0], x.mean(0), rtol=1e-4)
    t, m = head.inner.log_dispersion.exp().detach().numpy(), x.mean(0).numpy()
    assert np.allclose(t, 3, rtol=0.2)
    wanted = -stats.nbinom.logpmf(x[:50].numpy(), t, t / (t + m))
    assert np.allclose(head.nll(raw, x[:50]).detach(), wanted, atol=1e-3)
    for name in ("poisson", "zinb"):
        other = COUNTS.make(name, columns=column)
        raw = other.prepare(x, seen)
        points = torch.arange(400.0)[:, None].expand(-1, 2)
        mass = (-other.nll(raw, points)).exp().sum(0)
        assert torch.allclose(mass, torch.ones(2), atol=1e-3)


def test_all_types_have_a_head_and_columns_of_equal_sizes_are_computed_together():
    some = Column("text")
    sizes = [2, 3, 2, 3, 2]
    columns = [Spec((), "categories", classes=size, column=some) for size in sizes]
    (head, places), *_ = heads_of(columns)
    assert places == (0, 2, 4, 1, 3)
    assert head.groups == [(2, 3), (3, 2)]
    assert heads_of([Spec((), "categories", classes=size) for size in sizes])[0][1] == (0, 1, 2, 3, 4)
    with pytest.raises(RequestError, match="tokens"):
        heads_of([Spec((), "tokens")])
    with pytest.raises(RequestError, match="components"):
        heads_of([Spec(())], "logistic:components=0")


def test_a_mixed_table_is_a_probability():
    parts = {
        "sex": Spec((), "binary"),
        "grade": Spec((), "ordinal", classes=3),
        "town": Spec((), "categories", classes=2),
        "age": Spec((), "integer", column=Column("int64", 1.0, 0.0, 3.0)),
    }
    torch.manual_seed(0)
    p = MixedTable(Spec((4,), kind="table", parts=parts))
    axes = [torch.arange(2.0), torch.arange(3.0), torch.arange(2.0), torch.arange(-40.0, 41.0)]
    rows = torch.cartesian_prod(*axes)
    parameters = torch.randn(p.parameter_shape)
    assert (-p.nll(parameters.expand(len(rows), -1), rows)).exp().sum().item() == pytest.approx(1, abs=1e-3)
