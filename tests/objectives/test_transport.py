"""Transport between tokens and codes: the plan against linear programming, the gradient against finite differences."""

import numpy as np
import pytest
import torch

from narrows.core import Batch
from narrows.core.check import RequestError
from narrows.kernels.entropic import transport
from narrows.methods.quantised.vq_vae import vq_vae
from narrows.methods.quantised.vq_wae import vq_wae
from narrows.objectives.transport import CodeTransport, transport_cost


def problem(n=16, k=8, seed=0):
    torch.manual_seed(seed)
    cost = torch.cdist(torch.randn(n, 3).double(), torch.randn(k, 3).double()).square()
    masses = torch.rand(k, dtype=torch.float64) + 0.1
    return cost, torch.full((n,), 1 / n, dtype=torch.float64), masses / masses.sum()


def by_linear_programming(cost, a, b):
    """The least cost over all plans with these sums."""
    optimize = pytest.importorskip("scipy.optimize")
    n, k = cost.shape
    sums = np.concatenate([np.kron(np.eye(n), np.ones(k)), np.kron(np.ones(n), np.eye(k))])
    found = optimize.linprog(cost.flatten().numpy(), A_eq=sums, b_eq=np.concatenate([a, b]), bounds=(0, None))
    assert found.success
    return found.fun


@pytest.mark.parametrize("seed", range(3))
def test_with_little_entropy_the_cost_is_that_of_linear_programming(seed):
    cost, a, b = problem(seed=seed)
    exact = by_linear_programming(cost, a, b)
    found = transport(cost, a, b, smoothing=0.005 * float(cost.mean()), rounds=3000)
    assert torch.allclose(found.plan.sum(0), b)
    assert torch.allclose(found.plan.sum(1), a, atol=1e-4)
    assert float((found.plan * cost).sum()) == pytest.approx(exact, rel=1e-2)
    rough = transport(cost, a, b, smoothing=0.05 * float(cost.mean()), rounds=200)
    assert float((rough.plan * cost).sum()) >= exact - 1e-9


def test_rounds_on_scaled_kernels_are_those_in_the_log_domain():
    cost, a, b = problem()
    f, g = torch.zeros(16).double(), torch.zeros(8).double()
    epsilon = 0.05 * float(cost.mean())
    for _ in range(30):
        f = -epsilon * (b.log() + (g - cost) / epsilon).logsumexp(1)
        g = -epsilon * (a.log()[:, None] + (f[:, None] - cost) / epsilon).logsumexp(0)
    plan = a[:, None] * b * ((f[:, None] + g - cost) / epsilon).exp()
    found = transport(cost, a, b, smoothing=epsilon, rounds=30)
    assert torch.allclose(found.plan, plan)
    assert torch.allclose(found.g, g)
    assert torch.allclose(found.f, f)


def test_far_points_neither_overflow_nor_vanish():
    """In float32, costs of thousands of epsilons, as between untrained tokens and codes."""
    torch.manual_seed(0)
    cost = torch.cdist(torch.randn(20, 2) + 40, torch.randn(10, 2)).square()
    cost[:, 0] += 1e4
    found = transport(cost, torch.full((20,), 0.05), torch.full((10,), 0.1), smoothing=0.5, rounds=30)
    assert all(torch.isfinite(part).all() for part in found)
    assert torch.allclose(found.plan.sum(0), torch.full((10,), 0.1), rtol=1e-3)


def test_the_gradients_are_those_of_the_entropic_cost_at_its_minimum():
    """By central differences of min <P, C> + eps KL(P | a b), found anew with each shift of a cost or a mass."""
    cost, a, b = problem(6, 4)
    epsilon = 0.1 * float(cost.mean())

    def least(cost, b):
        plan = transport(cost, a, b, smoothing=epsilon, rounds=600).plan
        return float((plan * cost + epsilon * plan * (plan / (a[:, None] * b)).log()).sum())

    scores = b.log().requires_grad_()
    cost.requires_grad_()
    share = epsilon / float(cost.detach().mean())
    transport_cost(cost, scores.softmax(0), smoothing=share, rounds=600).backward()
    step = 1e-5
    with torch.no_grad():
        for i, k in ((0, 0), (3, 2), (5, 3)):
            shift = torch.zeros_like(cost)
            shift[i, k] = step
            slope = (least(cost + shift, b) - least(cost - shift, b)) / (2 * step)
            assert float(cost.grad[i, k]) == pytest.approx(slope, abs=1e-7)
        for k in range(4):
            shift = torch.zeros(4).double()
            shift[k] = step
            up, down = (torch.softmax(scores + sign * shift, 0) for sign in (1, -1))
            slope = (least(cost, up) - least(cost, down)) / (2 * step)
            assert float(scores.grad[k]) == pytest.approx(slope, abs=1e-6)


def test_the_loss_is_distortion_transport_of_all_tokens_and_divergence():
    """By linear programming, within what the entropy costs, and with the sum of pi log(K pi)."""
    torch.manual_seed(0)
    model = vq_wae(
        (6,), codes=8, width=4, downsample=1, likelihood="squared", smoothing=5e-3, rounds=4000, prior="none"
    )
    model.double()
    with torch.no_grad():
        model.bottleneck.book.scores.normal_()
    batch = Batch(torch.randn(5, 6).double())
    terms = model.loss(batch).terms
    h, e = model.encoder(batch.x), model.bottleneck.book.codebook
    pi = model.bottleneck.book.masses.detach()
    rows = h.flatten(0, -2).detach()
    cost = torch.cdist(rows, e.detach()).square()
    exact = by_linear_programming(cost, torch.full((len(rows),), 1 / len(rows)), pi)
    assert float(terms["transport"]) == pytest.approx(h.shape[1] * exact, rel=1e-2)
    assert float(terms["masses"]) == pytest.approx(float((pi * (8 * pi).log()).sum()))
    total = terms["distortion"] + 0.25 * terms["transport"] + 1.0 * terms["masses"]
    assert torch.allclose(model.loss(batch).total, total)


def test_masses_go_to_where_tokens_are():
    """Of codes at two clusters of 90 and 10 tokens, the least cost has the masses 0.9 and 0.1."""
    rows = torch.tensor([[0.0]] * 90 + [[8.0]] * 10)
    scores = torch.zeros(2, requires_grad=True)
    step = torch.optim.Adam([scores], lr=0.1)
    for _ in range(100):
        step.zero_grad()
        transport_cost((rows - torch.tensor([0.0, 8.0])).square(), scores.softmax(0)).backward()
        step.step()
    assert torch.allclose(scores.softmax(0), torch.tensor([0.9, 0.1]), atol=0.01)


def test_codes_that_no_token_is_nearest_to_are_moved_to_tokens():
    """Two codes at the tokens' left: nearest-code gradients leave the far one, transport moves both clusters' way."""
    rows = torch.tensor([[-1.0]] * 5 + [[1.0]] * 5)
    codes = torch.tensor([[-9.0], [-3.0]], requires_grad=True)
    step = torch.optim.Adam([codes], lr=0.2)
    for _ in range(100):
        step.zero_grad()
        transport_cost((rows - codes.T).square(), torch.tensor([0.5, 0.5])).backward()
        step.step()
    assert torch.allclose(codes, torch.tensor([[-1.0], [1.0]]), atol=0.1)


def test_a_codebook_without_masses_is_refused():
    model = vq_vae((6,), codes=8, prior="none")
    model.objective = CodeTransport()
    with pytest.raises(RequestError, match="WeightedCodebook"):
        model.loss(Batch(torch.rand(3, 6)))
