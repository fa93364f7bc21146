"""The ladder against densities multiplied by hand and a loop over its groups."""

import pytest
import torch
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from narrows.bottlenecks.gaussian.diagonal import kl, normal
from narrows.bottlenecks.gaussian.ladder import SMALLEST, Chain, Ladder, combine, halved, softplus_normal
from narrows.core.check import RequestError


def ladder(widths: tuple[int, ...] = (4, 3, 2), seed: int = 0) -> tuple[Ladder, list[torch.Tensor]]:
    torch.manual_seed(seed)
    bottleneck = Ladder(widths, [5] * len(widths), hidden=7).double()
    return bottleneck, [torch.randn(6, 5, dtype=torch.float64) for _ in widths]


def variance(raw: torch.Tensor) -> torch.Tensor:
    return (1 + raw.exp()).log() + SMALLEST


def by_hand(bottleneck: Ladder, h: list[torch.Tensor], z: torch.Tensor) -> list[torch.Tensor]:
    """log q - log p of each group at z, from the paper's precisions, one number at a time."""
    groups, ratios = bottleneck.split(z), []
    for i, group in enumerate(groups):
        mean, raw = bottleneck.estimates[i](h[i]).chunk(2, -1)
        precision = 1 / variance(raw)
        if i == len(groups) - 1:
            p_mean, p_variance = torch.zeros_like(group), torch.ones_like(group)
            q_mean, q_variance = mean.expand_as(group), (1 / precision).expand_as(group)
        else:
            p_mean, raw = bottleneck.priors[i](groups[i + 1]).chunk(2, -1)
            p_variance = variance(raw)
            q_variance = 1 / (precision + 1 / p_variance)
            q_mean = q_variance * (mean * precision + p_mean / p_variance)
        q, p = Normal(q_mean, q_variance.sqrt()), Normal(p_mean, p_variance.sqrt())
        ratios.append((q.log_prob(group) - p.log_prob(group)).sum(-1))
    return ratios


def test_combine_is_the_normalised_product_of_densities() -> None:
    estimate, prior = (
        normal(torch.tensor([[1.0, 0.5]]).double()),
        normal(torch.tensor([[-2.0, -1.0]]).double()),
    )
    grid = torch.linspace(-12, 12, 20_001, dtype=torch.float64)[:, None, None]
    product = (estimate.log_prob(grid) + prior.log_prob(grid)).exp().squeeze()
    product = product / product.sum()
    line = grid.squeeze()
    mean = (product * line).sum()
    both = combine(estimate, prior)
    torch.testing.assert_close(both.mean.squeeze(), mean)
    torch.testing.assert_close(both.variance.squeeze(), (product * (line - mean) ** 2).sum())


@pytest.mark.parametrize("samples", [(3,), (2, 4)])
def test_costs_equal_a_loop_over_the_groups(samples: tuple[int, ...]) -> None:
    bottleneck, h = ladder()
    code = bottleneck(h, samples)
    assert code.z.shape == (*samples, 6, 9)
    expected = by_hand(bottleneck, h, code.z)
    assert list(code.costs) == ["kl/0", "kl/1", "kl/2"]
    for cost, ratio in zip(code.costs.values(), expected, strict=True):
        torch.testing.assert_close(cost, ratio)
    assert code.rate is not None
    torch.testing.assert_close(code.rate, torch.stack(expected).sum(0))
    torch.testing.assert_close(code.q.log_prob(code.z) - code.p.log_prob(code.z), code.rate)


def test_closed_forms_average_to_the_log_ratios() -> None:
    bottleneck, h = ladder((3, 2))
    many = [features[:1].expand(60_000, -1) for features in h]
    closed = bottleneck.train()(many)
    drawn = bottleneck(many, (1,))
    for name, cost in closed.costs.items():
        error = (cost.std() + drawn.costs[name].std()) / 60_000**0.5
        assert (cost.mean() - drawn.costs[name].mean()).abs() < 4 * error
    torch.testing.assert_close(kl(closed.q, closed.p), closed.rate)


def test_eval_is_the_mean_all_the_way_down() -> None:
    bottleneck, h = ladder()
    bottleneck.eval()
    code = bottleneck(h)
    torch.testing.assert_close(code.z, code.q.mean)
    torch.testing.assert_close(bottleneck(h).z, code.z)
    torch.testing.assert_close(bottleneck.features(code), code.z)
    torch.testing.assert_close(bottleneck.from_symbols(bottleneck.to_symbols(code)).z, code.z)


def test_prior_draws_follow_the_chain() -> None:
    bottleneck, _ = ladder((2, 2))
    with torch.no_grad():
        low, top = bottleneck.split(bottleneck.sample(40_000).z)
        mean, raw = bottleneck.priors[0](top).chunk(2, -1)
    standard = torch.cat([(low - mean) / variance(raw).sqrt(), top], -1)
    torch.testing.assert_close(standard.T.cov(), torch.eye(4).double(), atol=0.03, rtol=0)


def test_one_group_is_the_plain_gaussian() -> None:
    bottleneck, h = ladder((3,))
    code = bottleneck(h)
    torch.testing.assert_close(code.costs["kl/0"], kl(softplus_normal(bottleneck.estimates[0](h[0]))))


def test_every_parameter_gets_a_gradient() -> None:
    bottleneck, h = ladder()
    code = bottleneck(h)
    (code.rate.sum() + code.z.square().sum()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in bottleneck.parameters())


def test_bad_widths_are_refused() -> None:
    assert halved(8, 5) == (8, 4, 2, 1, 1)
    with pytest.raises(RequestError, match="layers"):
        halved(8, 0)
    with pytest.raises(RequestError, match="features"):
        Ladder((4, 2), (5,))
    with pytest.raises(RequestError, match="groups"):
        Ladder((4, 2), (5, 5))([torch.zeros(1, 5)])


def test_chain_costs_equal_a_loop_upwards() -> None:
    torch.manual_seed(0)
    chain, h = Chain((4, 3, 2), 5, hidden=7).double(), torch.randn(6, 5, dtype=torch.float64)
    code = chain(h, (3,))
    groups = chain.split(code.z)
    features = [chain.first(h), *(up(group) for up, group in zip(chain.ups, groups[:-1], strict=True))]
    for i, (group, parameters) in enumerate(zip(groups, features, strict=True)):
        mean, raw = parameters.chunk(2, -1)
        p_mean, p_variance = torch.zeros(2).double(), torch.ones(2).double()
        if i < 2:
            p_mean, p_raw = chain.priors[i](groups[i + 1]).chunk(2, -1)
            p_variance = variance(p_raw)
        q, p = Normal(mean, variance(raw).sqrt()), Normal(p_mean, p_variance.sqrt())
        torch.testing.assert_close(code.costs[f"kl/{i}"], (q.log_prob(group) - p.log_prob(group)).sum(-1))


def linear_chain() -> tuple[Chain, torch.Tensor, float]:
    """A chain of two numbers whose maps are linear, features, and the divergence of the joint Gaussians."""
    chain = Chain((1, 1), 2).double()
    chain.first, chain.ups[0], chain.priors[0] = (torch.nn.Linear(n, 2).double() for n in (2, 1, 1))
    with torch.no_grad():
        for net, slope, shift, raw in ((chain.ups[0], 0.9, 0.2, -1.0), (chain.priors[0], 0.7, -0.3, -0.5)):
            net.weight.copy_(torch.tensor([[slope], [0.0]]))
            net.bias.copy_(torch.tensor([shift, raw]))
        chain.first.weight.copy_(torch.eye(2))
        chain.first.bias.zero_()
    h = torch.tensor([[0.8, 0.4]]).double()
    s, up, down = (float(variance(torch.tensor(raw).double())) for raw in (0.4, -1.0, -0.5))
    q_cov = torch.tensor([[s, 0.9 * s], [0.9 * s, 0.81 * s + up]]).double()
    p_cov = torch.tensor([[0.49 + down, 0.7], [0.7, 1.0]]).double()
    q = MultivariateNormal(torch.tensor([0.8, 0.9 * 0.8 + 0.2]).double(), q_cov)
    p = MultivariateNormal(torch.tensor([-0.3, 0.0]).double(), p_cov)
    return chain, h, float(kl_divergence(q, p))


def test_the_costs_of_a_chain_are_the_divergence_of_its_correlated_groups() -> None:
    """Taking z_1 as independent of the z_2 that is drawn from it would cost more than a half more here."""
    chain, h, exact = linear_chain()
    torch.manual_seed(0)
    with torch.no_grad():
        for costs in (chain.train()(h.expand(100_000, -1)).costs, chain(h, (100_000,)).costs):
            total = torch.stack([cost.flatten() for cost in costs.values()]).sum(0)
            assert float(total.mean()) == pytest.approx(exact, abs=4 * float(total.std()) / 100_000**0.5)
        code = chain.train()(h.expand(100_000, -1))
        independent = float(kl(code.q, code.p).mean())
        code = chain.eval()(h)
    assert float(code.rate[0]) == pytest.approx(exact, rel=0.15)
    torch.testing.assert_close(code.z, code.q.mean)
    torch.testing.assert_close(chain(h).rate, code.rate, atol=0, rtol=0)
    assert independent > 1.5 * exact
