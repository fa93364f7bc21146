"""The variational latents: their law, their cost, the variants of the published code, and TopK as the limit."""

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from narrows.bottlenecks.sparse.variational_topk import VariationalTopK
from narrows.core import Batch, seeded
from narrows.core.check import RequestError
from narrows.data.dataset import Dataset
from narrows.data.scaling import Scaling
from narrows.methods.sparse.topk_sae import topk_sae
from narrows.methods.sparse.vsae import vsae
from narrows.train import optimise


def pre(rows=6, width=20):
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def largest(z, k):
    out = torch.zeros_like(z)
    for row, result in zip(z, out):
        for n in sorted(range(len(row)), key=lambda n: -abs(float(row[n])))[:k]:
            result[n] = row[n]
    return out


@pytest.mark.parametrize("rectify", [True, False])
def test_draws_are_made_before_the_selection(rectify):
    bottleneck = VariationalTopK(20, 4, rectify=rectify)
    mu = pre().relu() if rectify else pre()
    with seeded(3):
        code = bottleneck(pre())
    with seeded(3):
        z = mu + torch.randn_like(mu)
    torch.testing.assert_close(code.z.dense(), largest(z, 4))
    assert (code.z.values < 0).any()
    bottleneck.eval()
    torch.testing.assert_close(bottleneck(pre()).z.dense(), largest(mu, 4))


@pytest.mark.parametrize("variance", ["fixed", "learned"])
@pytest.mark.parametrize("kl", ["all", "selected"])
def test_the_cost_is_the_divergence_from_a_standard_normal(variance, kl):
    model = vsae((7,), latents=20, k=4, variance=variance, kl=kl, normalise=False).double()
    bottleneck, x = model.bottleneck, 3 * torch.randn(5, 7, dtype=torch.float64)
    spread = torch.ones(5, 20, dtype=torch.float64)
    if variance == "learned":
        with torch.no_grad():
            bottleneck.weight.normal_(std=2)
        centred = x - model.decoder.bias
        logs = centred @ bottleneck.weight.T + bottleneck.bias
        assert (logs < -6).any()
        assert (logs > 2).any()
        spread = (0.5 * logs.clamp(-6, 2)).exp()
    mu = model.encoder(x).dense().relu()
    wanted = kl_divergence(Normal(mu, spread), Normal(0.0, 1.0))
    code = model.encode(Batch(x))
    if kl == "selected":
        wanted = wanted.gather(1, code.z.indices)
    torch.testing.assert_close(code.costs["kl"], wanted.sum(1))


def test_without_noise_and_price_it_is_topk_exactly():
    x = torch.randn(300, 8, generator=torch.Generator().manual_seed(0))
    trained = []
    for build, options in (
        (topk_sae, {"dead": "auxk:dead_after=50"}),
        (vsae, {"dead": "auxk:dead_after=50", "beta": 0.0, "sample": False}),
    ):
        with seeded(0):
            model = build((8,), latents=40, k=4, **options)
        optimise(model, Dataset(x, Scaling(), (8,)), steps=30, batch_size=32, seed=0, lr=1e-2)
        trained.append(model.eval())
    one, two = trained
    for name, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[name]), name
    batch = Batch(x)
    assert torch.equal(one.encode(batch).z.dense(), two.encode(batch).z.dense())
    assert torch.equal(one.reconstruct(batch), two.reconstruct(batch))


@pytest.mark.parametrize("variance", ["fixed", "learned"])
def test_the_cost_survives_the_folding_of_scales(variance):
    model = vsae((6,), latents=24, k=3, variance=variance).double().eval()
    batch = Batch(3 + 5 * torch.randn(50, 6, dtype=torch.float64))
    with torch.no_grad():
        if variance == "learned":
            model.bottleneck.weight.normal_(std=0.3)
        for part in (model.decoder, model.encoder):
            part.prepare(model, batch)
        before, kl = model.reconstruct(batch), model.encode(batch).costs["kl"]
        assert float(model.decoder.scale) != 1
        model.decoder.finish(model)
        torch.testing.assert_close(model.reconstruct(batch), before)
        torch.testing.assert_close(model.encode(batch).costs["kl"], kl)
        model.train()
        drawn = [model.encode(batch).z.dense().abs().amax() for _ in range(3)]
    assert len({float(d) for d in drawn}) == 3


def test_wrong_options_are_refused():
    with pytest.raises(RequestError, match="variance"):
        VariationalTopK(4, 2, variance="free")
    with pytest.raises(RequestError, match="LazyLinear"):
        VariationalTopK(4, 2, width=3, variance="learned")(torch.randn(2, 4))
