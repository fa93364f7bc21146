"""The ladder VAE's loss and importance weights against sums over its groups."""

import math

import torch
from torch.distributions import Normal, kl_divergence

from narrows.audit.evidence.likelihood import importance_nll
from narrows.core import Batch, Spec
from narrows.methods.variational.ladder_vae import ladder_vae

X = torch.rand(5, 6, generator=torch.Generator().manual_seed(0)).double()


def model(**options: object) -> torch.nn.Module:
    torch.manual_seed(0)
    sizes = {"latent": 4, "layers": 3, "width": 8, "likelihood": "bernoulli"}
    return ladder_vae(Spec((6,), "unit"), **sizes, **options).double().eval()  # type: ignore[arg-type]


def chain(net: torch.nn.Module, groups: list[torch.Tensor]) -> list[tuple[Normal, Normal]]:
    """(q, p) of each group, from the data upwards, given the values of the groups above."""
    pairs = []
    for i, features in enumerate(net.encoder(X)):
        mean, raw = net.bottleneck.estimates[i](features).chunk(2, -1)
        p_mean, p_variance = torch.zeros_like(mean), torch.ones_like(mean)
        precision = 1 / ((1 + raw.exp()).log() + 1e-6)
        if i < 2:
            p_mean, p_raw = net.bottleneck.priors[i](groups[i + 1]).chunk(2, -1)
            p_variance = (1 + p_raw.exp()).log() + 1e-6
            both = precision + 1 / p_variance
            mean = (mean * precision + p_mean / p_variance) / both
            precision = both
        pairs.append((Normal(mean, precision**-0.5), Normal(p_mean, p_variance.sqrt())))
    return pairs


def nll(net: torch.nn.Module, lowest: torch.Tensor) -> torch.Tensor:
    logits = net.decoder.net(lowest)
    return torch.nn.functional.binary_cross_entropy_with_logits(
        logits, X.expand_as(logits), reduction="none"
    ).sum(-1)


def test_loss_equals_a_sum_over_the_groups_with_warm_up() -> None:
    net = model(beta="linear:0:1:100")
    groups = list(net.bottleneck.split(net.encode(Batch(X)).z))
    divergence = sum(kl_divergence(q, p).sum(-1) for q, p in chain(net, groups))
    for step, beta in ((0, 0.0), (25, 0.25), (500, 1.0)):
        expected = (nll(net, groups[0]) + beta * divergence).mean()
        torch.testing.assert_close(net.loss(Batch(X), step).total, expected)


@torch.no_grad()
def test_importance_weights_are_those_of_the_joint() -> None:
    net = model()
    torch.manual_seed(7)
    code = net.encode(Batch(X), (6,))
    groups = list(net.bottleneck.split(code.z))
    log_weights = -nll(net, groups[0])
    for (q, p), z in zip(chain(net, groups), groups, strict=True):
        log_weights = log_weights + (p.log_prob(z) - q.log_prob(z)).sum(-1)
    expected = math.log(6) - log_weights.logsumexp(0)
    torch.testing.assert_close(importance_nll(net, Batch(X), samples=6, seed=7), expected)


def test_only_the_lowest_group_is_decoded() -> None:
    net = model()
    z = net.encode(Batch(X)).z
    other = z.clone()
    other[:, 4:] += 1
    torch.testing.assert_close(net.decode(other), net.decode(z))
    other[:, :4] += 1
    assert not torch.allclose(net.decode(other), net.decode(z))
