"""Each likelihood against torch.distributions, or a sum over everything that could have been seen."""

import itertools
import math

import pytest
import torch
from torch.distributions import Normal

from narrows.core import Likelihood
from narrows.core.check import RequestError
from narrows.likelihoods import (
    LIKELIHOODS,
    Bernoulli,
    Categorical,
    Gaussian,
    LogisticMixture,
    Squared,
    StudentT,
    bounded,
    likelihood,
)

SHAPE = (2, 3, 4)


@pytest.fixture
def draw():
    generator = torch.Generator().manual_seed(7)
    return lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)


def test_bernoulli_is_the_log_probability_of_coins(draw):
    logits, x = 4 * draw(5, 6, *SHAPE), (draw(6, *SHAPE) > 0).double()
    expected = -torch.distributions.Bernoulli(logits=logits).log_prob(x).sum((-1, -2, -3))
    torch.testing.assert_close(Bernoulli(SHAPE).nll(logits, x), expected)


def test_bernoulli_between_0_and_1_is_the_expected_nll_of_a_random_binarisation(draw):
    logits, x = draw(4, 1), torch.rand(4, 1, dtype=torch.float64)
    ours = Bernoulli((1,))
    coin = x[:, 0] * ours.nll(logits, torch.ones_like(x)) + (1 - x[:, 0]) * ours.nll(logits, 0 * x)
    torch.testing.assert_close(ours.nll(logits, x), coin)


def test_bernoulli_is_finite_and_has_a_gradient_at_huge_logits():
    logits = torch.tensor([[-300.0, 300.0]], requires_grad=True)
    nll = Bernoulli((2,)).nll(logits, torch.tensor([[1.0, 0.0]]))
    nll.sum().backward()
    assert nll.item() == pytest.approx(600)
    assert logits.grad.tolist() == [[-1.0, 1.0]]


def test_bernoulli_draws_at_the_rate_of_its_mean():
    logits = torch.tensor([-1.0, 0.0, 2.0]).expand(20000, 3)
    p = Bernoulli((3,))
    torch.testing.assert_close(p.sample(logits).mean(0), p.mean(logits)[0], atol=0.015, rtol=0)


@pytest.mark.parametrize("variance", ["fixed", "shared", "learned"])
@pytest.mark.parametrize("weighted", [False, True])
def test_gaussian_equals_torch(draw, variance, weighted):
    p = Gaussian(SHAPE, variance, 0.3).double()
    parameters, x = draw(3, 5, *p.parameter_shape), draw(5, *SHAPE)
    weight = (draw(5, *SHAPE) > 0).double() if weighted else None
    mean, log_variance = parameters, torch.tensor(0.3, dtype=torch.float64).log()
    if variance == "learned":
        assert p.parameter_shape == (4, 3, 4)
        mean, log_variance = parameters[:, :, :2], parameters[:, :, 2:]
    nll = -Normal(mean, (0.5 * log_variance).exp().expand_as(mean)).log_prob(x)
    expected = (nll * (1 if weight is None else weight)).sum((-1, -2, -3))
    # the smooth bounds move a log-variance by less than e^-12
    torch.testing.assert_close(p.nll(parameters, x, weight), expected, rtol=1e-4, atol=1e-4)


def test_the_shared_variance_is_best_at_the_mean_square():
    torch.manual_seed(0)
    p, x = Gaussian((50,)).double(), 3 * torch.randn(20, 50, dtype=torch.float64)
    with torch.no_grad():
        p.log_variance.copy_(x.square().mean().log())
    p.nll(torch.zeros_like(x), x).mean().backward()
    assert abs(p.log_variance.grad.item()) < 1e-3


def test_a_log_variance_is_bounded_and_never_stuck():
    v = torch.tensor([-60.0, -14.0, 0.0, 14.0, 60.0], dtype=torch.float64, requires_grad=True)
    kept = bounded(v)
    kept.sum().backward()
    assert kept.min() >= -14
    assert kept.max() <= 14
    assert (kept.diff() > 0).all()
    assert (v.grad > 0).all()
    assert kept[2].item() == pytest.approx(0, abs=1e-5)


def test_gaussian_draws_have_its_moments():
    p = Gaussian((1,), "fixed", 4.0)
    drawn = p.sample(torch.full((40000, 1), 3.0))
    assert drawn.mean().item() == pytest.approx(3, abs=0.05)
    assert drawn.std().item() == pytest.approx(2, abs=0.05)


def test_squared_is_a_gaussian_of_variance_one_half_up_to_a_constant(draw):
    m, x = draw(3, 5, *SHAPE), draw(5, *SHAPE)
    constant = 0.5 * 24 * math.log(math.pi)
    p = Normal(m, math.sqrt(0.5))
    torch.testing.assert_close(Squared(SHAPE).nll(m, x) + constant, -p.log_prob(x).sum((-1, -2, -3)))


@pytest.mark.parametrize("scaled", [True, False])
def test_categorical_is_a_cross_entropy_an_element(draw, scaled):
    p = Categorical(SHAPE, 5, scaled)
    parameters, index = draw(3, 4, *p.parameter_shape), torch.randint(5, (4, *SHAPE))
    x = index.double() / 4 if scaled else index
    expected = torch.zeros(3, 4, dtype=torch.float64)
    for k, b, c, i, j in itertools.product(range(3), range(4), range(2), range(3), range(4)):
        logits = parameters[k, b].reshape(5, *SHAPE)[:, c, i, j]
        expected[k, b] -= logits[index[b, c, i, j]] - torch.logsumexp(logits, 0)
    torch.testing.assert_close(p.nll(parameters, x), expected)


def test_categorical_mean_is_the_expected_level():
    logits = torch.tensor([[0.1, 0.2, 0.7]]).log()
    assert Categorical((1,), 3).mean(logits).item() == pytest.approx(0.1 + 0.35 + 0.35)
    assert Categorical((1,), 3, scaled=False).mean(logits).item() == 2
    drawn = Categorical((1,), 3).sample(logits.expand(20000, 3))
    assert drawn.mean().item() == pytest.approx(0.8, abs=0.01)


def every_image(shape, levels):
    values = torch.linspace(0, 1, levels, dtype=torch.float64)
    n = math.prod(shape)
    return torch.cartesian_prod(*[values] * n).reshape(-1, *shape)


@pytest.mark.parametrize(
    ("shape", "levels"),
    [((1,), 256), ((2,), 9), ((1, 1, 1), 256), ((2, 1, 1), 16), ((3, 1, 1), 6), ((1, 1, 2), 8)],
)
@pytest.mark.parametrize("spread", [0.3, 2.0])
def test_the_levels_of_a_logistic_mixture_sum_to_one(draw, shape, levels, spread):
    p = LogisticMixture(shape, components=3, levels=levels)
    parameters = spread * draw(1, *p.parameter_shape)
    seen = every_image(shape, levels)
    total = (-p.nll(parameters.expand(len(seen), *p.parameter_shape), seen)).exp().sum()
    assert total.item() == pytest.approx(1, abs=1e-5)


def test_a_logistic_mixture_equals_differences_of_sigmoids(draw):
    p = LogisticMixture((3, 2, 2), components=4, levels=11)
    parameters, index = draw(5, *p.parameter_shape), torch.randint(11, (5, 3, 2, 2))
    x = index.double() / 10
    expected = torch.zeros(5, dtype=torch.float64)
    for b, i, j in itertools.product(range(5), range(2), range(2)):
        raw = parameters[b, :, i, j]
        weights, means, scales = raw[:4].softmax(0), raw[4:16].reshape(4, 3), raw[16:28].reshape(4, 3)
        couple = raw[28:].reshape(4, 3).tanh()  # green on red, blue on red, blue on green
        y, chance = 2 * x[b, :, i, j] - 1, 0.0
        for m in range(4):
            centre = [
                means[m, 0],
                means[m, 1] + couple[m, 0] * y[0],
                means[m, 2] + couple[m, 1] * y[0] + couple[m, 2] * y[1],
            ]
            product = weights[m]
            for c in range(3):
                s = scales[m, c].exp()
                upper = 1.0 if index[b, c, i, j] == 10 else torch.sigmoid((y[c] + 0.1 - centre[c]) / s)
                lower = 0.0 if index[b, c, i, j] == 0 else torch.sigmoid((y[c] - 0.1 - centre[c]) / s)
                product = product * (upper - lower)
            chance = chance + product
        expected[b] -= torch.log(chance)
    # the smooth bounds move a log-scale by about e^-7
    torch.testing.assert_close(p.nll(parameters, x), expected, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("shape", [(1,), (2, 1, 1)])
def test_logistic_draws_come_at_the_rate_of_their_probability(draw, shape):
    torch.manual_seed(1)
    p = LogisticMixture(shape, components=2, levels=4)
    parameters, seen = draw(1, *p.parameter_shape), every_image(shape, 4)
    chance = (-p.nll(parameters.expand(len(seen), *p.parameter_shape), seen)).exp()
    drawn = p.sample(parameters.expand(40000, *p.parameter_shape))
    rate = (drawn[:, None] - seen).abs().lt(1e-6).flatten(2).all(-1).double().mean(0)
    torch.testing.assert_close(rate, chance, atol=0.012, rtol=0)


def test_the_logistic_mean_is_the_expected_level_where_nothing_is_clipped(draw):
    p = LogisticMixture((2, 1, 1), components=2, levels=32)
    parameters = 0.3 * draw(1, *p.parameter_shape)
    parameters[:, 6:10] -= 4  # narrow
    seen = every_image((2, 1, 1), 32)
    chance = (-p.nll(parameters.expand(len(seen), *p.parameter_shape), seen)).exp()
    expected = (chance[:, None, None, None] * seen).sum(0, keepdim=True)
    torch.testing.assert_close(p.mean(parameters), expected, atol=2e-3, rtol=0)


@pytest.mark.parametrize("name", [*LIKELIHOODS, "gaussian:fixed,0.5", "gaussian:learned", "student-t:df=2.5"])
@pytest.mark.parametrize("shape", [(5,), (7, 3), (3, 4, 2)])
def test_every_name_has_the_same_shapes_and_obeys_weights(name, shape):
    torch.manual_seed(0)
    p = likelihood(name, shape, "counts" if name in ("poisson", "negative-binomial", "zinb") else "unit")
    parameters, x = torch.randn(2, 3, *p.parameter_shape), torch.rand(3, *shape)
    nll = p.nll(parameters, x)
    assert nll.shape == (2, 3)
    assert p.mean(parameters).shape == p.sample(parameters).shape == (2, 3, *shape)
    torch.testing.assert_close(p.nll(parameters, x, torch.ones(3, *shape)), nll, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(p.nll(parameters, x, torch.zeros(1)), torch.zeros(2, 3))
    half = torch.zeros(shape)
    half[..., 0] = 1
    kept, rest = p.nll(parameters, x, half), p.nll(parameters, x, 1 - half)
    torch.testing.assert_close(kept + rest, nll, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("weighted", [False, True])
def test_student_t_equals_torch(draw, weighted):
    p = StudentT(SHAPE, df=2.5, scale=0.7)
    parameters, x = draw(3, 4, *SHAPE), 5 * draw(4, *SHAPE)
    weight = draw(4, *SHAPE).abs() if weighted else None
    terms = -torch.distributions.StudentT(2.5, parameters, p.log_scale.detach().exp()).log_prob(x)
    expected = (terms if weight is None else terms * weight).flatten(2).sum(-1)
    torch.testing.assert_close(p.nll(parameters, x, weight).detach(), expected, rtol=1e-4, atol=1e-4)


def test_student_t_draws_have_its_quartiles():
    torch.manual_seed(0)
    drawn = StudentT((1,), df=1.0, scale=2.0).sample(torch.full((40_000, 1), 3.0))
    found = drawn.quantile(torch.tensor([0.25, 0.5, 0.75]))  # of a Cauchy: one scale from the centre
    torch.testing.assert_close(found, torch.tensor([1.0, 3.0, 5.0]), atol=0.08, rtol=0)


def test_a_likelihood_may_be_an_object_and_its_options_are_spelled():
    made = StudentT((2,), df=3.0)
    assert likelihood(made, (2,)) is made
    assert likelihood("student-t:df=3", (2,), "real").df == 3.0
    assert likelihood("categorical:classes=7", (2,), "unit").classes == 7
    assert likelihood("categorical", (2,), "binary").classes == 2


def test_auto_depends_on_the_values():
    assert isinstance(likelihood("auto", (1, 4, 4), "unit"), Bernoulli)
    assert likelihood("auto", (2,), "unit").variance == "shared"
    assert isinstance(likelihood("auto", (2,), "binary"), Bernoulli)
    assert likelihood("auto", (2,), "real").variance == "shared"


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (lambda: likelihood("bernouli", (2,)), "Did you mean `bernoulli`"),
        (lambda: likelihood("bernoulli", (2,), "real"), "Use `gaussian`"),
        (lambda: likelihood("gaussian:some", (2,)), "one of `fixed`, `shared`, `learned`"),
        (lambda: likelihood("student-t:df=0", (2,)), "`df`"),
        (lambda: likelihood(3, (2,)), "or a Likelihood"),
        (lambda: Gaussian((2,), "none"), "`variance`"),
        (lambda: Gaussian((2,), "fixed", 0.0), "above 0"),
        (lambda: Categorical((2,), 1), "`classes`"),
        (lambda: LogisticMixture((2,), 0), "`components`"),
    ],
)
def test_refusals(bad, says):
    with pytest.raises(RequestError, match=says):
        bad()


@pytest.mark.parametrize(
    "p",
    [
        Bernoulli(SHAPE),
        Gaussian(SHAPE, "fixed", 0.3),
        Gaussian(SHAPE, "learned"),
        Squared(SHAPE),
        StudentT(SHAPE),
        Categorical(SHAPE, 2),
        LogisticMixture((4,), components=2),
        *(likelihood(name, SHAPE, "counts") for name in ("laplace", "absolute", "poisson", "zinb")),
    ],
    ids=lambda p: type(p).__name__,
)
def test_the_terms_of_elements_are_what_each_adds_to_the_sum(p):
    generator = torch.Generator().manual_seed(1)
    parameters = torch.randn(2, 5, *p.parameter_shape, generator=generator)
    x = (torch.rand(5, *p.shape, generator=generator) > 0.5).float()
    terms = p.elements_nll(parameters, x)
    assert terms.shape == (2, 5, *p.shape)
    torch.testing.assert_close(terms.flatten(2).sum(2), p.nll(parameters, x), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(terms, Likelihood.elements_nll(p, parameters, x), rtol=1e-4, atol=1e-4)


def test_a_pixel_of_the_logistic_mixture_divides_its_term_among_its_channels():
    p = LogisticMixture((3, 2, 2), components=2)
    generator = torch.Generator().manual_seed(1)
    parameters = torch.randn(5, *p.parameter_shape, generator=generator)
    x = torch.randint(256, (5, 3, 2, 2), generator=generator) / 255
    terms = p.elements_nll(parameters, x)
    assert (terms == terms[:, :1]).all()
    torch.testing.assert_close(terms.flatten(1).sum(1), p.nll(parameters, x))
    one = torch.zeros(5, 3, 2, 2)
    one[..., 1, 0] = 1
    torch.testing.assert_close(terms[..., 1, 0].sum(1), p.nll(parameters, x, one))
