"""Bits in order: probabilities by brute force, draws, and the trajectory-balance loss."""

import math

import pytest
import torch
from torch.nn.functional import logsigmoid

from narrows.bottlenecks.discrete.policy import BitPolicy
from narrows.core import Batch, Spec, seeded
from narrows.core.check import RequestError
from narrows.methods.quantised.gflownet_em import gflownet_em
from narrows.objectives.trajectory_balance import TrajectoryBalance

BITS = 5
CODES = torch.tensor([[n >> (BITS - 1 - j) & 1 for j in range(BITS)] for n in range(2**BITS)])


def slow_log_q(policy, h, z):
    """log q of one code of one example, bit by bit, from the layers."""
    total, state = 0.0, torch.zeros(BITS, dtype=h.dtype)
    for j in range(BITS):
        first = torch.nn.functional.silu(policy.of_features(h) + policy.of_bits(state))
        logit = policy.out(torch.nn.functional.silu(policy.hidden(first)))[j]
        total = total + (logsigmoid(logit) if z[j] else logsigmoid(-logit))
        state[j] = 1.0 if z[j] else -1.0
    return total


def test_probabilities_are_products_over_bits_and_sum_to_one():
    torch.manual_seed(0)
    policy, h = BitPolicy(4, BITS, 8).double(), torch.randn(3, 4, dtype=torch.float64)
    q = policy.posterior(h)
    slow = torch.stack([torch.stack([slow_log_q(policy, one, z) for z in CODES]) for one in h])
    torch.testing.assert_close(q.log_prob(CODES[:, None].double().expand(-1, 3, -1)).T, slow)
    torch.testing.assert_close(q.enumerated(), slow)
    torch.testing.assert_close(slow.exp().sum(1), torch.ones(3, dtype=torch.float64))
    assert torch.equal(policy.prior().log_prob(CODES.float()), torch.full((32,), -BITS * math.log(2)))


def test_draws_have_the_probabilities_and_codes_come_back():
    torch.manual_seed(0)
    policy = BitPolicy(4, BITS, 8)
    q = policy.posterior(3 * torch.randn(1, 4))
    drawn = policy(3 * torch.randn(1, 4)).z
    assert drawn.shape == (1, BITS)
    number = (q.sample((20_000,))[:, 0] @ 2.0 ** torch.arange(BITS - 1, -1, -1.0)).long()
    share = torch.bincount(number, minlength=32) / 20_000
    assert float((share - q.enumerated()[0].exp()).abs().max()) < 0.015
    policy.eval()
    h = torch.randn(6, 4)
    code = policy(h)
    greedy = torch.zeros(6, BITS)
    for j in range(BITS):  # each bit the more probable one, given those before
        greedy[:, j] = (
            policy.logit(policy.of_features(h), (2 * greedy - 1) * (torch.arange(BITS) < j), j) > 0
        ).float()
    assert torch.equal(code.z, greedy)
    assert torch.equal(policy.from_symbols(policy.to_symbols(code)).z, code.z)
    assert torch.equal(policy(h[2:3]).costs["kl"], code.costs["kl"][2:3])


def exact(model, x):
    """log p(x, z) of all codes, (B, 2^Z), of a Bernoulli model."""
    logits = model.decode(CODES.to(x))[:, None]
    log_x = (x * logits - torch.nn.functional.softplus(logits)).sum(-1)
    return (log_x - BITS * math.log(2)).T


@pytest.mark.parametrize("step", [0, 10])
def test_the_loss_is_trajectory_balance_with_the_best_constant(step):
    torch.manual_seed(0)
    model = gflownet_em(Spec((6,), "binary"), latent=BITS, temperature="linear:3:1:10", sleep=0, net="mlp:8")
    model, x = model.double(), torch.rand(4, 6, dtype=torch.float64).round()
    objective = model.objective
    with seeded(1):
        q = model.bottleneck.posterior(model.encoder(x))
        z = q.sample((4,))
    number = (z @ 2.0 ** torch.arange(BITS - 1, -1, -1.0).double()).long().T
    temperature = 3 - 0.2 * step
    joint, log_q = (of.gather(1, number).detach() for of in (exact(model, x) / temperature, q.enumerated()))
    best = (joint - log_q).mean(1, keepdim=True)  # the constant of each example of which the loss is least
    expected = (best + log_q - joint).square().mean()
    with seeded(1):
        torch.testing.assert_close(objective.policy(model, Batch(x), step).total.detach(), expected)


def test_the_loss_is_zero_at_the_posterior_and_training_approaches_it():
    torch.manual_seed(0)
    model = gflownet_em(Spec((6,), "binary"), latent=BITS, temperature=1, net="mlp:16", width=16)
    x = torch.rand(8, 6).round()
    for p in (*model.decoder.parameters(),):
        p.requires_grad_(False)

    def gap():
        with torch.no_grad():
            log_q, joint = model.bottleneck.posterior(model.encoder(x)).enumerated(), exact(model, x)
            return float((log_q.exp() * (log_q - joint.log_softmax(1))).sum(1).mean())

    policy = model.players()[1]
    optimiser = torch.optim.Adam(policy.parameters, lr=0.01)
    before = gap()
    for step in range(120):
        optimiser.zero_grad()
        policy.loss(Batch(x), step, None).total.backward()
        optimiser.step()
    assert gap() < 0.3 * before


def test_the_decoder_learns_from_draws_and_the_bound_is_its_loss():
    torch.manual_seed(0)
    model = gflownet_em(Spec((6,), "binary"), latent=BITS, net="mlp:8").train()
    x = torch.rand(4, 6).round()
    with seeded(2):
        loss = model.loss(Batch(x))
    with seeded(2):
        z = model.encode(Batch(x)).z
    log_x = (x * model.decode(z) - torch.nn.functional.softplus(model.decode(z))).sum(1)
    ratio = model.bottleneck.posterior(model.encoder(x)).log_prob(z) + BITS * math.log(2)
    torch.testing.assert_close(loss.total, (ratio - log_x).mean())
    loss.total.backward()
    assert all(p.grad is None for p in (*model.encoder.parameters(), *model.bottleneck.parameters()))


def test_wrong_requests_are_refused():
    with pytest.raises(RequestError, match="target"):
        gflownet_em(Spec((6,), target=(2,)))
    with pytest.raises(RequestError, match="draws"):
        TrajectoryBalance(draws=1)
    with pytest.raises(RequestError, match="temperature"):
        TrajectoryBalance(temperature=0.0)
    with pytest.raises(RequestError, match="too many to enumerate"):
        BitPolicy(2, 17).posterior(torch.zeros(1, 2)).enumerated()
