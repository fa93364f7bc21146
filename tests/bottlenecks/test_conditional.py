"""The conditional prior: closed form against Monte Carlo, draws by label, labels that are missing."""

import pytest
import torch

from narrows.bottlenecks.gaussian.conditional import Conditional, ConditionedEncoder
from narrows.core.check import RequestError


def learned(seed: int = 0) -> Conditional:
    torch.manual_seed(seed)
    bottleneck = Conditional(2, {"labels": 3}).double()
    assert bottleneck.net is not None
    torch.nn.init.normal_(bottleneck.net.weight)
    return bottleneck


def test_closed_form_equals_monte_carlo() -> None:
    bottleneck, features, given = learned(), torch.randn(3, 4).double(), torch.eye(3).double()
    closed = bottleneck((features, given)).costs["kl"]
    drawn = bottleneck((features, given), samples=(50_000,)).costs["kl"]
    assert ((drawn.mean(0) - closed).abs() < 4 * drawn.std(0) / 50_000**0.5).all()
    against_standard = Conditional(2, {"labels": 3}, learned=False).double()((features, given)).costs["kl"]
    assert ((closed - against_standard).abs() > 0.01).all()


def test_draws_come_from_the_prior_of_each_label() -> None:
    bottleneck = learned()
    given = torch.eye(3).double().repeat_interleave(20_000, 0)
    z = bottleneck.sample(60_000, {"labels": given}).z.view(3, 20_000, 2)
    mean, log_variance = bottleneck.net(torch.eye(3).double()).chunk(2, -1)
    torch.testing.assert_close(z.mean(1), mean, atol=0.08, rtol=0)
    torch.testing.assert_close(z.var(1), log_variance.exp(), atol=0, rtol=0.05)


def test_starts_at_the_standard_prior() -> None:
    bottleneck, features = Conditional(2, {"labels": 3}), torch.randn(3, 4)
    torch.testing.assert_close(
        bottleneck((features, torch.eye(3))).costs["kl"],
        Conditional(2, {"labels": 3}, learned=False)((features, torch.eye(3))).costs["kl"],
    )


def test_missing_labels_are_refused() -> None:
    with pytest.raises(RequestError, match="labels"):
        ConditionedEncoder(torch.nn.Identity(), {"labels": 3})(torch.zeros(1, 4))
    with pytest.raises(RequestError, match="3 columns"):
        Conditional(2, {"labels": 3}).sample(1, {"labels": torch.zeros(1, 2)})
    with pytest.raises(RequestError, match="4 rows"):
        Conditional(2, {"labels": 3}).sample(4, {"labels": torch.eye(3)})
    with pytest.raises(RequestError, match="labels"):
        Conditional(2, {"labels": 3}).sample(4)
    assert Conditional(2, {"labels": 3}, learned=False).sample(4).z.shape == (4, 2)
