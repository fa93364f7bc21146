"""Solvers against a flow whose velocity is known, draws against their probabilities, unmasking against its rule."""

import itertools
import math

import pytest
import torch

from narrows.core.check import RequestError
from narrows.diffusion.ode import SOLVERS, solve
from narrows.priors.samplers.ancestral import draw, keep_nucleus, keep_top, sharpened
from narrows.priors.samplers.confidence import masked_after, unmask

WEIGHTS = torch.tensor([0.3, 0.7], dtype=torch.float64)
MEANS = torch.tensor([[-1.5, 0.5], [1.0, -0.5]], dtype=torch.float64)
SPREADS = torch.tensor([0.6, 0.8], dtype=torch.float64)


def mixture_velocity(x, t):
    """E[noise - z | z_t = x] where z is from a mixture of two Gaussians: each component's, by its responsibility."""
    variance = ((1 - t) * SPREADS) ** 2 + t**2
    away = x[:, None] - (1 - t) * MEANS
    logits = WEIGHTS.log() - variance.log() - 0.5 * away.square().sum(-1) / variance
    gain = (t - (1 - t) * SPREADS**2) / variance
    return (logits.softmax(-1)[..., None] * (gain[:, None] * away - MEANS)).sum(1)


def test_the_velocity_of_the_mixture_is_that_of_its_score():
    """On the linear path v = -(x + t s) / (1 - t), with s the score of the noisy mixture, by autograd."""
    torch.manual_seed(0)
    x, t = torch.randn(7, 2, dtype=torch.float64, requires_grad=True), torch.tensor(0.3, dtype=torch.float64)
    variance = ((1 - t) * SPREADS) ** 2 + t**2
    squares = (x[:, None] - (1 - t) * MEANS).square().sum(-1)
    density = (WEIGHTS.log() - variance.log() - 0.5 * squares / variance).logsumexp(-1)
    (score,) = torch.autograd.grad(density.sum(), x)
    assert torch.allclose(mixture_velocity(x, t), -(x + t * score) / (1 - t))


@pytest.mark.parametrize(("solver", "ratio"), [("euler", 2), ("heun", 4), ("rk4", 16)])
def test_the_global_error_falls_with_the_order_of_the_solver(solver, ratio):
    torch.manual_seed(0)
    noise = torch.randn(200, 2, dtype=torch.float64)
    truth = solve(mixture_velocity, noise, 2000, solver="rk4")
    steps = 20 if solver == "rk4" else 100
    coarse, fine = (
        (solve(mixture_velocity, noise, n, solver=solver) - truth).square().mean().sqrt()
        for n in (steps, 2 * steps)
    )
    assert coarse / fine == pytest.approx(ratio, rel=0.15)


def test_noise_is_carried_to_the_mixture():
    torch.manual_seed(0)
    z = solve(mixture_velocity, torch.randn(20_000, 2, dtype=torch.float64), 50)
    mean = (WEIGHTS[:, None] * MEANS).sum(0)
    variance = (WEIGHTS[:, None] * (SPREADS[:, None] ** 2 + MEANS**2)).sum(0) - mean**2
    assert torch.allclose(z.mean(0), mean, atol=0.03)
    assert torch.allclose(z.var(0), variance, atol=0.05)


def test_solvers_run_forwards_too():
    ones = torch.ones(1, dtype=torch.float64)
    for solver in SOLVERS:
        end = solve(lambda x, t: 3 * t**2 * ones, ones, 2000, solver=solver, start=0.0, end=1.0)
        assert float(end) == pytest.approx(2, abs=1e-3)


def test_draws_follow_the_softmax():
    torch.manual_seed(0)
    logits = torch.tensor([0.0, 1.0, 2.0])
    drawn = draw(logits.expand(4, 5000, 3))
    assert drawn.shape == (4, 5000)
    assert torch.allclose(drawn.flatten().bincount() / 20_000, logits.softmax(-1), atol=0.015)


def test_only_the_likeliest_are_kept():
    assert keep_top(torch.tensor([[0.0, 2.0, 1.0]]), 2).softmax(-1)[0, 0] == 0
    assert torch.equal(keep_top(torch.tensor([0.0, 1.0]), 0), torch.tensor([0.0, 1.0]))
    shares = torch.tensor([[0.5, 0.2, 0.3], [0.1, 0.1, 0.8]])
    assert (keep_nucleus(shares.log(), 0.6) > -torch.inf).tolist() == [
        [True, False, True],
        [False, False, True],
    ]
    assert torch.equal(keep_nucleus(shares.log(), 1.0), shares.log())
    cold = sharpened(shares.log(), temperature=0.5).softmax(-1)
    assert torch.allclose(cold, shares**2 / (shares**2).sum(-1, keepdim=True))
    for wrong in ({"temperature": 0.0}, {"top_k": -1}, {"top_p": 0.0}, {"top_p": 1.5}):
        with pytest.raises(RequestError, match=next(iter(wrong))):
            sharpened(shares, **wrong)


@pytest.mark.parametrize("tokens", [1, 2, 7, 49])
def test_the_schedule_is_the_cosine_and_ends_with_nothing_masked(tokens):
    for steps in (1, 2, 5, tokens):
        left = [tokens]
        for k in range(1, min(steps, tokens) + 1):
            left.append(masked_after(k, min(steps, tokens), tokens, left[-1]))
        assert left[-1] == 0
        assert all(a > b for a, b in itertools.pairwise(left)), "every step settles at least one"
    one_by_one = [tokens]
    for k in range(1, tokens + 1):
        one_by_one.append(masked_after(k, tokens, tokens, one_by_one[-1]))
    assert one_by_one == list(range(tokens, -1, -1))
    assert masked_after(1, 4, 100, 100) == math.floor(100 * math.cos(math.pi / 8))


def test_without_noise_the_surest_draws_stay_and_what_is_settled_never_changes():
    torch.manual_seed(0)
    table = torch.randn(6, 9, 4)  # logits that change with what is settled, by a table of hashes
    seen = []

    def propose(indices, hidden):
        seen.append((indices.clone(), hidden.clone()))
        known = torch.where(hidden, 0, indices + 1).sum(-1) % 6
        drawn = torch.where(hidden, draw(table[known]), indices)
        sure = table[known].log_softmax(-1).gather(-1, drawn[..., None])[..., 0]
        return drawn, sure.masked_fill(~hidden, torch.inf)

    rows = unmask(propose, 50, (9,), 4, 0.0, torch.device("cpu"))
    assert len(seen) == 4
    for (before, hidden), (after, still) in itertools.pairwise(seen):
        assert torch.equal(before[~hidden], after[~hidden])
        assert bool((hidden | ~still).all())
        known = torch.where(hidden, 0, before + 1).sum(-1) % 6
        sure = table[known].log_softmax(-1).gather(-1, after[..., None])[..., 0]
        settled = sure.masked_fill(~(hidden & ~still), torch.inf).amin(-1)
        again = sure.masked_fill(~still, -torch.inf).amax(-1)
        assert bool((settled >= again).all())
    assert torch.equal(rows[~seen[-1][1]], seen[-1][0][~seen[-1][1]])
    assert [int(hidden[0].sum()) for _, hidden in seen] == [9, 8, 6, 3]
