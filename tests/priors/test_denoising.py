"""What priors along a path share: scale by channel, nets by the kind of code, guidance within times."""

import pytest
import torch

from narrows.core import Batch, Symbols
from narrows.core.check import RequestError
from narrows.priors.denoising import interval
from narrows.priors.flow_matching import FlowMatching
from narrows.train.average import Average


@pytest.mark.parametrize(("shape", "channel"), [((5,), 1), ((4, 3), 2), ((3, 2, 2), 1)])
def test_codes_are_standardised_by_channel_or_number(shape, channel):
    torch.manual_seed(0)
    rows = torch.randn(200, *shape) * torch.rand(shape) + torch.rand(shape)
    for elementwise in (False, True):
        prior = FlowMatching(Symbols(shape), width=8, depth=1, heads=2, elementwise=elementwise)
        prior.prepare(None, Batch(rows))
        z = prior.standard(rows.flatten(1)).view(-1, *shape)
        by = z.flatten(1).T if elementwise else z.movedim(channel, 0).flatten(1)
        assert torch.allclose(by.mean(1), torch.zeros(len(by)), atol=1e-4)
        assert torch.allclose(by.std(1, correction=0), torch.ones(len(by)), atol=1e-4)
        assert torch.allclose(prior.own(z.flatten(1)), rows, atol=1e-5)


def test_the_net_of_an_array_sees_its_places_as_tokens():
    torch.manual_seed(0)
    prior = FlowMatching(Symbols((3, 2, 4)), width=8, depth=1, heads=2)
    x, t = torch.randn(2, 3, 2, 4), torch.rand(2)
    tokens = super(type(prior.net), prior.net).forward(x.flatten(2).mT, t)
    assert torch.equal(prior.net(x, t), tokens.mT.reshape(x.shape))
    assert prior.sample(2, steps=2).shape == (2, 3, 2, 4)


def test_the_average_of_weights_has_a_half_life_of_at_most_a_tenth_of_the_steps():
    """Of a weight that jumps from 0 to 1 at nine tenths of the steps, more than half is in the average at the end."""
    for steps in (50, 400, 3000):
        weight = torch.nn.Parameter(torch.zeros(1))
        average = Average([weight], FlowMatching.plan["ema"])
        for step in range(steps):
            weight.data.fill_(float(step >= 0.9 * steps))
            average.update(step)
        assert float(average.values[0]) > 0.5, steps


def test_guidance_holds_within_its_times():
    prior = FlowMatching(Symbols((2,)), width=16, depth=1, labels=True, classes=3)
    torch.nn.init.normal_(prior.net.out.weight, std=0.3)
    labels = {"labels": torch.eye(3)[[0, 1]]}

    def drawn(**options):
        torch.manual_seed(3)
        return prior.sample(2, labels, steps=4, sampler="euler", **options)

    plain, all_through = drawn(), drawn(guidance=3.0)
    assert torch.equal(plain, drawn(guidance=3.0, guidance_interval="0.8/0.9"))  # no time is there
    late = drawn(guidance=3.0, guidance_interval="0/0.3")  # the last step, from t = 1/4
    assert not torch.allclose(late, plain)
    assert not torch.allclose(late, all_through)
    torch.manual_seed(3)
    x = torch.randn(2, 2)
    for i in range(4):
        t = torch.full((2,), 1 - i / 4)
        told, untold = prior.predict(x, t, labels["labels"]), prior.predict(x, t, 0 * labels["labels"])
        x = x - 0.25 * (untold + (3.0 if i == 3 else 1.0) * (told - untold))
    assert torch.allclose(late, x, atol=1e-5)
    for wrong in ("0.5", "0.8/0.2", "0/2", "a/b"):
        with pytest.raises(RequestError, match="guidance_interval"):
            interval(wrong)
