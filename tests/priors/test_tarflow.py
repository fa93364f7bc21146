"""Flows of causal transformers: log-determinants by autograd, inverses, guidance by the product of Gaussians."""

import math

import pytest
import torch
from torch.distributions import Normal

from narrows.core import Batch, Symbols
from narrows.core.check import RequestError
from narrows.priors.heads.affine import product
from narrows.priors.tarflow import STARFlow, TARFlow


def tiny(kind=STARFlow, shape=(4, 2), **options):
    torch.manual_seed(0)
    prior = kind(Symbols(shape), width=8, heads=2, depth=1, blocks=3, **options)
    for p in prior.parameters():
        torch.nn.init.normal_(p, std=0.4)
    prior.shift.normal_()
    prior.scale.uniform_(0.5, 2)
    return prior.double().eval()


@pytest.mark.parametrize("kind", [TARFlow, STARFlow])
@pytest.mark.parametrize("shape", [(4, 2), (5,)])
def test_the_density_is_that_of_the_jacobian(kind, shape):
    prior = tiny(kind, shape)
    size = math.prod(shape)
    x = torch.randn(3, *shape, dtype=torch.double)

    def noise(flat):
        return prior(prior.arrange(flat.view(1, *shape)))[0].flatten()

    for row in x:
        jacobian = torch.autograd.functional.jacobian(noise, row.flatten())
        expected = Normal(0.0, 1.0).log_prob(noise(row.flatten())).sum() + jacobian.slogdet().logabsdet
        assert torch.allclose(-prior.nll(row[None]), expected, atol=1e-9)
        assert jacobian.shape == (size, size)


@pytest.mark.parametrize("classes", [0, 2])
def test_the_cached_inverse_undoes_the_flow_in_single_precision(classes):
    prior = tiny(labels=classes > 0, classes=classes).float()
    labels = torch.eye(2)[[0, 1, 1, 0, 1]] if classes else None
    x = torch.randn(5, 4, 2)
    z, _ = prior(x, labels)
    for flow in reversed(prior.flows):
        z = flow.inverse(z, labels)
    assert torch.allclose(z, x, atol=1e-4)


def test_the_first_token_of_a_block_passes_unchanged_and_orders_alternate():
    prior, x = tiny(), torch.randn(2, 4, 2, dtype=torch.double)
    assert [flow.flip for flow in prior.flows] == [False, True, False]
    assert torch.equal(prior.flows[0](x)[0][:, 0], x[:, 0])
    assert torch.equal(prior.flows[1](x)[0][:, -1], x[:, -1])
    assert not torch.allclose(prior.flows[1](x)[0][:, 0], x[:, 0])


def test_one_block_is_deep_the_one_next_to_the_noise():
    layers = [len(flow.net.blocks.blocks) for flow in STARFlow(Symbols((4, 2)), width=8, heads=2).flows]
    assert layers == [1, 1, 1, 4]
    layers = [len(flow.net.blocks.blocks) for flow in TARFlow(Symbols((4, 2)), width=8, heads=2).flows]
    assert layers == [2, 2, 2, 2]


def test_the_product_has_the_precision_of_powers_of_gaussians():
    m, m_u, s, s_u = (torch.tensor([v]) for v in (0.7, -0.2, 0.8, 1.1))
    for w in (1.0, 2.5):
        precision = w / s**2 + (1 - w) / s_u**2
        mean = (w * m / s**2 + (1 - w) * m_u / s_u**2) / precision
        found = product((m, s), (m_u, s_u), w)
        assert torch.allclose(found[0], mean)
        assert torch.allclose(found[1], precision**-0.5)
    wide = product((m, 3 * s_u), (m_u, s_u), 2.0)  # r is 1: the deviation of p_c, the mean beyond it
    assert torch.allclose(wide[0], 2 * m - m_u)
    assert torch.allclose(wide[1], 3 * s_u)


def test_guided_draws_are_those_of_full_passes():
    prior = tiny(labels=True, classes=2)
    labels, w = torch.eye(2, dtype=torch.double)[[0, 1, 1]], 2.0
    torch.manual_seed(3)
    found = prior.sample(3, {"labels": labels}, guidance=w)
    torch.manual_seed(3)
    x = torch.randn(3, 4, 2, dtype=torch.double)
    for flow in reversed(prior.flows):
        z = x.flip(1) if flow.flip else x
        y = z.clone()
        for place in range(1, 4):  # every token from a pass over all of them
            both = []
            for told in (labels, 0 * labels):
                mean, log_scale = flow.affine(flow.net(y, told)[:, place])
                both.append((mean, log_scale.exp()))
            mean, scale = product(*both, w)
            y[:, place] = mean + scale * z[:, place]
        x = y.flip(1) if flow.flip else y
    assert torch.allclose(found, prior.restore(x), atol=1e-5)


def test_noise_is_removed_by_a_step_along_the_score():
    """An untrained flow is the identity, its score -x: draws shrink by 1 - s^2."""
    prior = TARFlow(Symbols((4, 2)), width=8, heads=2, noise=0.5)
    torch.manual_seed(1)
    clean = prior.sample(5)
    torch.manual_seed(1)
    assert torch.allclose(clean, (1 - 0.25) * torch.randn(5, 4, 2))
    torch.manual_seed(1)
    batch = Batch(torch.zeros(4000, 4, 2), condition={"deviation": torch.ones(4000, 4, 2)})
    x = prior.train().loss(batch).passed.code.z
    assert float(x.var()) == pytest.approx(1.25, rel=0.05)


def test_training_finds_a_curved_density():
    """x_2 = x_1^2 + noise of .1: entropy of the chain by hand, which no Gaussian reaches."""
    torch.manual_seed(0)

    def codes(n):
        first = torch.randn(n, 1)
        return torch.cat([first, first.square() + 0.1 * torch.randn(n, 1)], 1)

    entropy = 2 * 0.5 * (1 + math.log(2 * math.pi)) + math.log(0.1)
    prior = TARFlow(Symbols((2,)), width=16, depth=1, heads=2, blocks=2)
    prior.prepare(None, Batch(codes(1000)))
    optimizer = torch.optim.Adam(prior.parameters(), lr=2e-2)
    for step in range(90):
        loss = prior.loss(Batch(codes(128)), step).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    seen = codes(4000)
    gaussian = 0.5 * (2 * (1 + math.log(2 * math.pi)) + torch.cov(seen.T).logdet())
    found = float(prior.nll(seen).mean())
    assert entropy - 0.1 < found < float(gaussian) - 0.5


def test_bad_arguments_are_refused():
    with pytest.raises(RequestError, match="starflow"):
        STARFlow(Symbols((9,), codes=4))
    with pytest.raises(RequestError, match="single token"):
        TARFlow(Symbols((1,)))
    with pytest.raises(RequestError, match="noise"):
        TARFlow(Symbols((4, 2)), noise=-1.0)
    with pytest.raises(RequestError, match="temperature"):
        tiny().sample(2, temperature=0.0)
    with pytest.raises(RequestError, match="guidance"):
        tiny().sample(2, guidance=2.0)
