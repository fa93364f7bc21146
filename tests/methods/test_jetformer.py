"""JetFormer: couplings against autograd, its likelihood by change of variables, exact decoding, cached draws."""

import math

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from narrows.core import Batch, Spec
from narrows.core.check import RequestError
from narrows.likelihoods.rounded import Rounded
from narrows.methods.variational.jetformer import jetformer
from narrows.nets.coupling import Couplings
from narrows.priors.heads.mixture import rejected


def tiny(spec, **options):
    torch.manual_seed(0)
    model = jetformer(
        spec, **{"width": 8, "heads": 2, "depth": 1, "couplings": 3, "components": 2, **options}
    )
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.3)
    model.encoder.shift.fill_(0.3)
    model.encoder.scale.fill_(0.5)
    return model.double().eval()


def test_couplings_are_inverted_and_their_log_determinant_is_that_of_the_jacobian():
    torch.manual_seed(0)
    flow = Couplings(3, 5, 4, width=8, heads=2)
    for p in flow.parameters():
        torch.nn.init.normal_(p, std=0.4)
    x = torch.randn(4, 3, 5)
    y, log_det = flow(x)
    assert (y - x).abs().amax((0, 1)).min() > 0.1  # every channel is changed
    assert torch.allclose(flow.inverse(y), x, atol=1e-4)
    for row in range(4):
        jacobian = torch.autograd.functional.jacobian(lambda v: flow(v[None])[0][0], x[row]).view(15, 15)
        assert torch.allclose(log_det[row], torch.linalg.slogdet(jacobian)[1], atol=1e-4)


def test_the_cost_is_the_density_of_the_data_by_the_change_of_variables():
    """Mixtures of torch, token by token, and the Jacobian of the whole encoder; one of three channels is noise."""
    model = tiny((6,), patch=3, redundant=1)
    x = torch.randn(3, 6, dtype=torch.double)
    found = model.encode(Batch(x)).costs["kl"]
    for row in range(3):
        tokens = model.encoder(x[row : row + 1])["tokens"]
        jacobian = torch.autograd.functional.jacobian(
            lambda v: model.encoder(v[None])["tokens"].flatten(), x[row]
        )
        log_p = torch.linalg.slogdet(jacobian)[1] + Normal(0.0, 1.0).log_prob(tokens[0, :, 2]).sum()
        h = model.bottleneck.net(tokens[..., :2])
        for place in range(2):
            m = model.bottleneck.head(h[0, place])
            each = Independent(Normal(m.means, m.scales), 1)
            log_p += MixtureSameFamily(Categorical(logits=m.log_weights), each).log_prob(tokens[0, place, :2])
        assert torch.allclose(found[row], -log_p)


def test_the_density_integrates_to_one():
    model = tiny((2,), patch=2)
    axis = torch.linspace(-14, 14, 281, dtype=torch.double)
    with torch.no_grad():
        cost = model.encode(Batch(torch.cartesian_prod(axis, axis))).costs["kl"]
    assert float((-cost).exp().sum() * (axis[1] - axis[0]) ** 2) == pytest.approx(1, abs=0.01)


def test_rounded_values_get_uniform_noise_and_come_back_exactly():
    spec = Spec((1, 4, 4), values="unit")
    model = tiny(spec, patch=2, levels=5)
    x = torch.randint(5, (6, 1, 4, 4)).double() / 4
    plain = tiny(Spec((1, 4, 4)), patch=2)
    y = x + (model.encoder.fixed - 0.5) / 4
    expected = plain.encode(Batch(y)).costs["kl"] + 16 * math.log(
        4
    )  # -log p(y), and -log of a cell of side 1/4
    assert torch.allclose(model.encode(Batch(x)).costs["kl"], expected)
    passed = model(Batch(x))
    assert torch.allclose(model.likelihood.mean(passed.output), x, atol=1e-9)
    assert float(model.likelihood.pass_nll(passed).max()) == 0
    model.train()
    torch.manual_seed(1)
    noise = (model(Batch(x)).output - x) * 4
    assert noise.abs().max() <= 0.5
    assert noise.std() == pytest.approx(12**-0.5, abs=0.05)
    assert Rounded((1,), levels=5).nll(torch.tensor([[0.5]]), torch.tensor([[0.25]])) > 0.4


def test_cached_draws_are_those_of_full_passes():
    model = tiny(Spec((1, 4, 4), classes=2), patch=2, redundant=1, labels=True)
    labels = torch.eye(2, dtype=torch.double)[[0, 1, 1]]
    code = model.bottleneck
    torch.manual_seed(5)
    found = code.sample(3, {"labels": labels}).z
    torch.manual_seed(5)
    noise = torch.randn(3, 4, 1)
    soft = torch.zeros(3, 4, 3, dtype=torch.double)
    for place in range(4):
        soft[:, place] = code.head.draw(code.net(soft, labels)[:, place])
    assert torch.allclose(found, torch.cat([soft, noise.double()], -1).flatten(1), atol=1e-9)
    assert model.sample(2).shape == (2, 1, 4, 4)  # labels are drawn
    batch = Batch(torch.rand(3, 1, 4, 4).double(), condition={"labels": labels})
    other = Batch(batch.x, condition={"labels": labels.flip(1)})
    assert not torch.allclose(model.encode(batch).costs["kl"], model.encode(other).costs["kl"])


def test_guided_draws_are_rejected_draws_with_and_without_labels():
    model = tiny(Spec((1, 4, 4), classes=2), patch=2, labels=True)
    labels = torch.eye(2, dtype=torch.double)[[0, 1, 1]]
    code = model.bottleneck
    torch.manual_seed(5)
    found = code.sample(3, {"labels": labels}, guidance=2.0).z
    torch.manual_seed(5)
    soft = torch.zeros(3, 4, 4, dtype=torch.double)
    for place in range(4):
        told, untold = (code.head(code.net(soft, who)[:, place]) for who in (labels, None))
        soft[:, place] = rejected(told, untold, 2.0)
    assert torch.allclose(found, soft.flatten(1), atol=1e-9)
    torch.manual_seed(5)
    one = code.sample(3, {"labels": labels}).z
    torch.manual_seed(5)
    assert torch.equal(code.sample(3, {"labels": labels}, guidance=1.0).z, one)
    with pytest.raises(RequestError, match=r"`guidance` must be 1 where a prior is told no labels.*`labels`"):
        tiny((4,), patch=2).bottleneck.sample(2, guidance=2.0)


def test_a_tenth_of_the_rows_has_no_labels_in_training():
    """Without their noise, costs of equal rows are those with the label or those without."""
    model = tiny(Spec((4,), classes=2), patch=2, labels=True)
    labels = torch.tensor([[0.0, 1.0]], dtype=torch.double).expand(4000, 2)
    seen = model.encoder(torch.full((4000, 4), 0.4, dtype=torch.double), {"labels": labels})
    told, untold = (
        seen["log_q"][0] - model.bottleneck.log_prob(seen["tokens"][:1], who)[0] for who in (labels[:1], None)
    )
    costs = model.bottleneck.train()(seen).costs["kl"]
    bare = torch.isclose(costs, untold)
    assert float(bare.double().mean()) == pytest.approx(0.1, abs=0.02)
    assert torch.allclose(costs[~bare], told)
    assert torch.allclose(model.bottleneck.eval()(seen).costs["kl"], told)


def test_noise_follows_its_schedule_in_training_alone():
    model = tiny((4,), patch=2, noise="cosine:2:0:10").train()
    batch = Batch(torch.randn(5, 4, dtype=torch.double))
    torch.manual_seed(3)
    found = model.loss(batch, 5).total
    torch.manual_seed(3)
    noisy = Batch(batch.x + torch.randn_like(batch.x))  # half of the cosine from 2 to 0
    assert torch.allclose(found, model.loss(noisy, 10).total)
    assert not model.objective.settled(5)
    assert model.objective.settled(10)
    model.eval()
    assert torch.equal(model.loss(batch, 0).total, model.loss(batch, 10).total)


def test_all_channels_of_noise_make_a_flow_with_a_normal_prior():
    model = tiny((4,), patch=2, redundant=2)
    x = torch.randn(5, 4, dtype=torch.double)
    seen = model.encoder(x)
    expected = seen["log_q"] - Normal(0.0, 1.0).log_prob(seen["tokens"]).flatten(1).sum(1)
    assert torch.allclose(model.encode(Batch(x)).costs["kl"], expected)
    assert model.bottleneck.net is None


def test_bad_arguments_are_refused():
    for spec, options, said in (
        ((1, 8, 8), {"patch": 3}, "patch"),
        ((4,), {"patch": 1}, "patch"),
        ((4,), {"patch": 2, "redundant": 3}, "redundant"),
        ((4,), {"labels": True}, "labels"),
        (Spec((4,), values="counts"), {}, "real numbers"),
        (Spec((4,), target=(2,)), {}, "target"),
    ):
        with pytest.raises(RequestError, match=said):
            jetformer(spec, **options)
