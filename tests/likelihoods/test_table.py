"""The likelihood of mixed tables against torch's distributions, a column at a time."""

import math

import pytest
import torch
from torch.distributions import Bernoulli, Categorical, Normal, StudentT

from narrows.core import Autoencoder, Batch, Objective, Spec
from narrows.core.check import RequestError
from narrows.core.columns import Columns
from narrows.likelihoods.table import MixedTable

PARTS = {
    "job": Spec((), "categories", classes=3),
    "age": Spec(()),
    "member": Spec((), "binary"),
    "city": Spec((), "categories", classes=2),
    "pay": Spec(()),
}
SPEC = Spec((5,), kind="table", parts=PARTS)


def rows(n=6):
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(n, 5, generator=draw)
    x[:, 0] = torch.randint(3, (n,), generator=draw).float()
    x[:, 2] = torch.randint(2, (n,), generator=draw).float()
    x[:, 3] = torch.randint(2, (n,), generator=draw).float()
    seen = torch.rand(n, 5, generator=draw) < 0.7
    return x, seen


def made(numbers="gaussian"):
    p = MixedTable(SPEC, numbers)
    with torch.no_grad():
        p.heads[0].tenth_log_variance.copy_(torch.tensor([0.03, -0.1]))
        p.offset.copy_(torch.linspace(-1, 1, 8))
    return p


def by_column(p, parameters, x, number):
    """-log p of every cell, (K, B, D); the parameters lie as age, pay, member, job (3), city (2)."""
    theta = parameters + p.offset
    scale = p.heads[0].variance.sqrt()
    logs = [
        Categorical(logits=theta[..., 3:6]).log_prob(x[:, 0]),
        number(theta[..., 0], scale[0]).log_prob(x[:, 1]),
        Bernoulli(logits=theta[..., 2]).log_prob(x[:, 2]),
        Categorical(logits=theta[..., 6:8]).log_prob(x[:, 3]),
        number(theta[..., 1], scale[1]).log_prob(x[:, 4]),
    ]
    return -torch.stack(logs, -1)


@pytest.mark.parametrize(
    ("noise", "number"), [("gaussian", Normal), ("student-t:4", lambda m, s: StudentT(4.0, m, s))]
)
def test_the_nll_is_the_sum_of_each_columns_own_over_the_cells_that_are_there(noise, number):
    p, (x, seen) = made(noise), rows()
    parameters = torch.randn(4, 6, 8)
    wanted = by_column(p, parameters, x, number)
    assert torch.allclose(p.nll(parameters, x), wanted.sum(-1), atol=1e-5)
    assert torch.allclose(p.nll(parameters, x, seen), (wanted * seen).sum(-1), atol=1e-5)
    half = torch.where(seen, 0.5, 0.0)
    assert torch.allclose(p.nll(parameters, x, half), (wanted * half).sum(-1), atol=1e-5)


def test_what_lies_under_a_hole_reaches_neither_value_nor_gradient():
    p, (x, seen) = made(), rows()
    parameters = torch.randn(4, 6, 8, requires_grad=True)
    found = []
    for garbage in (0.0, math.nan, math.inf, -7e30):
        nll = p.nll(parameters, torch.where(seen, x, garbage), seen)
        gradients = torch.autograd.grad(nll.sum(), [parameters, p.heads[0].tenth_log_variance])
        found.append((nll, *gradients))
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_a_missing_cell_is_the_table_without_its_column():
    p, (x, _) = made(), rows()
    parameters = torch.randn(6, 8)
    seen = torch.tensor([False, True, True, True, True]).expand(6, 5)
    rest = MixedTable(
        Spec((4,), kind="table", parts={n: s for n, s in PARTS.items() if n != "job"}), "gaussian"
    )
    with torch.no_grad():
        rest.heads[0].tenth_log_variance.copy_(p.heads[0].tenth_log_variance)
        rest.offset.copy_(p.offset[[0, 1, 2, 6, 7]])
    without = rest.nll(parameters[:, [0, 1, 2, 6, 7]], x[:, 1:])
    assert torch.allclose(p.nll(parameters, x, seen), without)


def test_means_are_means_probabilities_and_the_most_probable_category():
    p = made()
    parameters = torch.randn(4, 6, 8)
    theta = parameters + p.offset
    wanted = [
        theta[..., 3:6].argmax(-1),
        theta[..., 0],
        theta[..., 2].sigmoid(),
        theta[..., 6:8].argmax(-1),
        theta[..., 1],
    ]
    assert torch.allclose(p.mean(parameters), torch.stack([w.float() for w in wanted], -1))


def test_the_mean_of_a_mixture_mixes_probabilities_before_it_chooses():
    p = MixedTable(Spec((1,), kind="table", parts={"a": Spec((), "categories", classes=3)}))
    sure, unsure = [9.0, 0.0, 0.0], [0.0, 0.3, 0.2]
    parameters = torch.tensor([[sure], [unsure], [unsure]])
    weights = torch.tensor([[0.3], [0.35], [0.35]])
    assert p.mixture_mean(parameters, weights).tolist() == [[0.0]]  # though two of three would say 1
    assert p.mixture_mean(parameters, torch.tensor([[0.0], [0.5], [0.5]])).tolist() == [[1.0]]


@pytest.mark.parametrize("noise", ["gaussian", "student-t:6"])
def test_draws_come_as_often_as_their_probability_says(noise):
    p, parameters = made(noise), torch.randn(8)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        x = p.sample(parameters.expand(40_000, 8))
    theta = parameters + p.offset
    assert torch.allclose(torch.bincount(x[:, 0].long()) / 40_000, theta[3:6].softmax(-1), atol=0.01)
    assert torch.allclose(x[:, 2].mean(), theta[2].sigmoid(), atol=0.01)
    variance = p.heads[0].variance.detach() * (1 if noise == "gaussian" else 6 / 4)
    assert torch.allclose(x[:, [1, 4]].mean(0), theta[:2], atol=0.02)
    assert torch.allclose(x[:, [1, 4]].var(0), variance, rtol=0.06)


def test_before_training_zero_means_the_columns_by_themselves():
    x, seen = rows(400)
    p = MixedTable(SPEC, "gaussian")
    model = Autoencoder(None, None, None, p, Objective())
    p.prepare(model, Batch(x, None, {"observed": seen}, seen))
    expected = torch.cat([head.expected(part) for head, part in p._split(torch.zeros(1, 8))], -1)[0]
    for place, entry in ((1, 0), (4, 1), (2, 2)):
        assert torch.allclose(expected[entry], x[seen[:, place], place].mean(), atol=0.01)
    often = torch.bincount(x[seen[:, 0], 0].long(), minlength=3) / seen[:, 0].sum()
    assert torch.allclose(expected[3:6], often, atol=0.01)
    assert torch.allclose(p.heads[0].variance[0], x[seen[:, 1], 1].var(correction=0), rtol=1e-3)


def test_the_nll_of_each_cell_adds_up_to_that_of_the_row_in_the_order_of_the_table():
    p, (x, seen) = MixedTable(SPEC), rows()
    parameters = torch.randn(4, 6, *p.parameter_shape)
    cells = p.elements_nll(parameters, x)
    assert torch.allclose((cells * seen).sum(-1), p.nll(parameters, x, seen), atol=1e-5)
    alone = MixedTable(Spec((1,), kind="table", parts={"job": PARTS["job"]}))
    parameters[..., -5:-2] = parameters[..., :3]  # those of `job`, before those of `city`
    assert torch.allclose(
        p.elements_nll(parameters, x)[..., 0], alone.nll(parameters[..., :3], x[:, :1]), atol=1e-6
    )


def test_a_constant_column_costs_no_more_than_its_floor():
    p = MixedTable(Spec((1,)), "gaussian")
    p.prepare(None, Batch(torch.full((50, 1), 3.0)))
    assert float(p.nll(torch.zeros(1, 1), torch.full((1, 1), 3.0)).detach()) > math.log(0.01)


def test_cells_are_written_numbers_first_and_missing_ones_as_zeros():
    x, _ = rows(2)
    seen = torch.tensor([[True] * 5, [False, True, True, False, False]])
    wide = Columns.of(SPEC).expand(x, seen)
    assert wide.shape == (2, 8)
    assert torch.equal(wide[0, :3], x[0, [1, 4, 2]])
    assert wide[0, 3:6].argmax() == x[0, 0]
    assert wide[0, 3:].sum() == 2
    assert torch.equal(wide[1], torch.tensor([x[1, 1], 0, x[1, 2], 0, 0, 0, 0, 0]))


def test_a_column_of_another_kind_and_a_student_t_without_a_mean_are_refused():
    with pytest.raises(RequestError, match="columns of numbers"):
        MixedTable(Spec((1,), kind="table", parts={"n": Spec((), "tokens")}))
    with pytest.raises(RequestError, match="df"):
        MixedTable(SPEC, "student-t:1")
