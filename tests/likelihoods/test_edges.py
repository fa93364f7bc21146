import pytest
import torch
import torch.nn.functional as F

from narrows.core import Batch, seeded
from narrows.likelihoods import edges as module
from narrows.likelihoods.edges import Edges, non_edges, pair_sum

NODES, LATENT = 50, 3
ZERO = torch.zeros((), dtype=torch.float64)


def graphs(count=2, nodes=NODES, share=0.1, absent=0.0, seed=0):
    """Parameters (count, N, Z + 1), the target (count, E, 2) and the dense matrices, in float64."""
    with seeded(seed):
        z = torch.randn(count, nodes, LATENT, dtype=torch.float64)
        there = torch.rand(count, nodes) >= absent
        ones = (torch.rand(count, nodes, nodes) < share).triu(1) & there.unsqueeze(1) & there.unsqueeze(2)
    pairs = [one.nonzero() for one in ones]
    most = max(len(p) for p in pairs)
    target = torch.zeros(count, most, 2, dtype=torch.long)  # entries (0, 0) are padding
    for row, p in zip(target, pairs):
        row[: len(p)] = p.flip(1) if len(p) % 2 else p  # either order
    return torch.cat([z, there.double().unsqueeze(-1)], -1), target, ones, there


def full_matrix(parameters, ones, there, bias=0.0):
    """-log p of each graph from the whole matrix of pairs."""
    z = parameters[..., :-1]
    logits = z @ z.transpose(-1, -2) + bias
    terms = F.binary_cross_entropy_with_logits(logits, ones.double(), reduction="none")
    return (terms * (there.unsqueeze(1) & there.unsqueeze(2)).triu(1)).sum((1, 2))


@pytest.mark.parametrize("learned", [False, True])
def test_the_nll_and_its_gradient_equal_the_full_matrix(learned):
    parameters, target, ones, there = graphs(absent=0.2)
    parameters.requires_grad_()
    model = Edges(NODES, LATENT, bias=learned).double()
    with torch.no_grad():
        model.bias.fill_(-1.5 if learned else 0.0)
    found, wanted = model.nll(parameters, target), full_matrix(parameters, ones, there, model.bias)
    torch.testing.assert_close(found, wanted)
    weights = torch.tensor([1.0, -2.0], dtype=torch.float64)
    by = [parameters, model.bias] if learned else [parameters]
    one, other = (torch.autograd.grad((nll * weights).sum(), by) for nll in (found, wanted))
    torch.testing.assert_close(*(g[0] * there.unsqueeze(-1) for g in (one, other)))
    torch.testing.assert_close(one[1:], other[1:])


def test_the_bias_begins_at_the_log_odds_of_an_edge():
    _, target, ones, there = graphs(absent=0.2)
    model = Edges(NODES, LATENT, bias=True).double()
    model.prepare(None, Batch(torch.zeros(2, NODES, 1), target, {"mask": there}))
    nodes = there.sum(1)
    share = ones.sum() / (nodes * (nodes - 1) / 2).sum()
    torch.testing.assert_close(torch.sigmoid(model.bias), share.double())
    fixed = Edges(NODES, LATENT)
    fixed.prepare(None, Batch(torch.zeros(2, NODES, 1), target, {"mask": there}))
    assert fixed.bias == 0


def test_blocks_of_any_size_give_the_same_sum(monkeypatch):
    parameters, _, _, there = graphs(count=5, absent=0.3)
    z = torch.where(there.unsqueeze(-1), parameters[..., :-1], 0.0)
    whole = pair_sum(z, there, ZERO)
    for block in (1, 300, 2700, 6000):
        monkeypatch.setattr(module, "_BLOCK", block)
        torch.testing.assert_close(pair_sum(z, there, ZERO), whole)


def test_the_gradient_of_the_pair_sum_is_that_of_finite_differences():
    parameters, _, _, there = graphs(nodes=6, absent=0.2)
    z = torch.where(there.unsqueeze(-1), parameters[..., :-1], 0.0).requires_grad_()
    gradient = torch.autograd.grad(pair_sum(z, there, ZERO).sum(), z)[0]
    step = 1e-6
    for g, i, k in [(0, 0, 0), (1, 3, 2), (1, 5, 1)]:
        if not there[g, i]:
            continue
        ends = []
        for sign in (1, -1):
            moved = z.detach().clone()
            moved[g, i, k] += sign * step
            ends.append(pair_sum(moved, there, ZERO).sum())
        assert abs(float(ends[0] - ends[1]) / (2 * step) - float(gradient[g, i, k])) < 1e-6


def test_draws_of_the_codes_come_as_leading_axes():
    parameters, target, ones, there = graphs()
    model = Edges(NODES, LATENT)
    several = torch.stack([parameters, 0.5 * parameters + 0.5, 2 * parameters])
    found = model.nll(several, target)
    assert found.shape == (3, 2)
    for draw, nll in zip(several, found):
        torch.testing.assert_close(nll, full_matrix(draw, ones, there))


def test_the_balanced_form_is_the_published_one_times_all_pairs():
    parameters, target, ones, there = graphs(absent=0.2)
    found = Edges(NODES, LATENT).balanced(parameters, target)
    for i in range(2):  # as the paper's programs have it, on the dense matrix of the nodes that are there
        z = parameters[i, there[i], :-1]
        a = (ones[i] | ones[i].T)[there[i]][:, there[i]].double()
        total = a.shape[0] ** 2
        pos_weight = (total - a.sum()) / a.sum()
        norm = total / ((total - a.sum()) * 2)
        label = a + torch.eye(len(a), dtype=torch.float64)
        loss = norm * F.binary_cross_entropy_with_logits(z @ z.T, label, pos_weight=pos_weight)
        torch.testing.assert_close(found[i], loss * total)


def test_the_sum_over_drawn_non_edges_is_unbiased():
    parameters, target, ones, there = graphs(count=1, absent=0.1)
    model = Edges(NODES, LATENT, exact=0, pairs=200).train()
    wanted = full_matrix(parameters, ones, there)
    with seeded(0):
        draws = torch.stack([model.nll(parameters, target) for _ in range(4000)])
    error = draws.std(0) / len(draws) ** 0.5
    assert float(draws.std()) > 1  # it is an estimate
    assert ((draws.mean(0) - wanted).abs() < 4 * error).all()
    torch.testing.assert_close(
        model.eval().nll(parameters, target), wanted
    )  # and none where nothing is trained


def test_drawn_pairs_are_no_edges_and_every_other_pair_is_drawn():
    _, target, ones, there = graphs(count=1, nodes=12, share=0.4, absent=0.2)
    drawn = non_edges(there[0], target[0], 5000)
    joined = ones[0] | ones[0].T
    assert not joined[drawn[:, 0], drawn[:, 1]].any()
    free = ~joined & there[0].unsqueeze(0) & there[0].unsqueeze(1)
    assert set(map(tuple, drawn.sort(1).values.tolist())) == set(map(tuple, free.triu(1).nonzero().tolist()))


def test_padding_changes_nothing():
    parameters, target, *_ = graphs()
    model = Edges(NODES, LATENT)
    nll = model.nll(parameters, target)
    wider = torch.cat([parameters, torch.full((2, 7, LATENT + 1), float("nan"), dtype=torch.float64)], 1)
    wider[:, NODES:, -1] = 0
    assert torch.equal(model.nll(wider, target).isfinite(), torch.ones(2, dtype=torch.bool))
    torch.testing.assert_close(model.nll(wider, target), nll)
    longer = torch.cat([target, torch.randint(NODES, (2, 9, 2))], 1)
    weight = torch.ones(2, longer.shape[1], 1)
    weight[:, target.shape[1] :] = 0
    assert torch.equal(model.nll(parameters, longer, weight), nll)


def test_the_order_of_nodes_edges_and_ends_does_not_matter():
    parameters, target, *_ = graphs(count=1)
    order = torch.randperm(NODES)
    number = order.argsort()
    moved = number[target].flip(1).flip(2)
    model = Edges(NODES, LATENT)
    for form in (model.nll, model.balanced):
        torch.testing.assert_close(form(parameters[:, order], moved), form(parameters, target))


def test_probabilities_and_draws_are_those_of_the_pairs():
    parameters, *_ = graphs(count=1, nodes=8, absent=0.3)
    model = Edges(8, LATENT).double()
    model.bias.fill_(0.4)
    p = model.mean(parameters)
    z, there = parameters[0, :, :-1], parameters[0, :, -1] > 0
    for i in range(8):
        for j in range(8):
            wanted = (
                torch.sigmoid(z[i] @ z[j] + 0.4) if i != j and there[i] and there[j] else torch.tensor(0.0)
            )
            assert abs(float(p[0, i, j]) - float(wanted)) < 1e-9
    with seeded(0):
        draws = model.sample(parameters.expand(20_000, 8, LATENT + 1))
    assert torch.equal(draws, draws.transpose(1, 2))
    assert (draws.mean(0) - p[0]).abs().max() < 0.02
    here = there.nonzero().flatten()[:3]
    pairs = torch.stack([here[:2], here[[2, 0]]]).unsqueeze(0)
    wanted = torch.stack([z[here[0]] @ z[here[1]], z[here[2]] @ z[here[0]]]) + 0.4
    torch.testing.assert_close(model.logits(parameters, pairs)[0], wanted)
