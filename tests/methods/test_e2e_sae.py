"""The end-to-end loss against a model run by hand in float64; what is held, and what is refused."""

import copy

import pytest
import torch

from narrows.activations.toy import Toy, generate
from narrows.core import Batch, Pass, Spec
from narrows.core.check import NarrowsError, RequestError
from narrows.core.reference import ModuleReference
from narrows.methods.sparse.e2e_sae import e2e_sae
from narrows.testing import check_method

T, D, N = 5, 8, 20


def prepared(lead=0, **options):
    torch.manual_seed(0)
    model = e2e_sae((T, D), latents=N, **options).double()
    lm = Toy(D).double()
    tokens = generate(lm, 12, T + lead)
    x = lm.blocks[0](lm.embed(tokens) + lm.before(torch.cat([0 * tokens[:, :1], tokens[:, :-1]], 1)))
    batch = Batch(x[:, lead:], condition={"tokens": tokens})
    with torch.no_grad():
        for part in (model.encoder, model.decoder, model.bottleneck):
            part.prepare(model, batch)
        model.encoder.bias.normal_()
    return model, lm, batch, x


@torch.no_grad()
@pytest.mark.parametrize("lead", [0, 1])
@pytest.mark.parametrize("activation", ["relu", "topk"])
def test_loss_is_the_equation(activation, lead):
    weights = {"kl": 0.7, "ce": 0.2, "downstream": 3.0, "local": 0.4}
    model, lm, batch, whole = prepared(lead, activation=activation, k=3, l1=0.3, layers="resid.*", **weights)
    x, tokens = batch.x, batch.condition["tokens"]
    s, b = model.decoder.scale, model.decoder.bias
    h = (s * x - b) @ model.encoder.weight.T + model.encoder.bias
    z = h.relu()
    if activation == "topk":
        z = torch.where(h >= h.sort(-1).values[..., -3:-2], z, 0)
    x_hat = (z @ model.decoder.atoms + b) / s
    spliced = torch.cat([whole[:, :lead], x_hat], 1)
    p, q = (lm.head(lm.blocks[1](a)).log_softmax(-1) for a in (whole, spliced))
    want = 0.0
    for i in range(12):
        for t in range(lead, T + lead):
            want += 0.7 * (p[i, t].exp() * (p[i, t] - q[i, t])).sum()
            for place in (lambda a: a, lm.blocks[1]):
                error = place(whole[i, t]) - place(spliced[i, t])
                want += 3.0 * error.square().mean() / 2
            want += 0.4 * (x[i, t - lead] - x_hat[i, t - lead]).square().mean()
        want += 0.2 * -sum(q[i, t, tokens[i, t + 1]] for t in range(T + lead - 1))
    if activation == "relu":
        want += 0.3 * model.bottleneck.unit * z.sum()
    torch.testing.assert_close(model.loss(batch).total, want / 12, atol=1e-8, rtol=1e-8)


def test_the_language_model_is_held_but_not_owned():
    model, _, batch, _ = prepared()
    names = set(model.state_dict())
    model.loss(batch).total.backward()
    assert set(model.state_dict()) == names
    assert not any("blocks" in name for name, _ in model.named_modules())
    assert all(p.grad is None for p in model.objective.language_model(batch.x).parameters())
    assert all(p.grad is not None for p in model.parameters())
    other = copy.deepcopy(model)
    assert other.objective._language is None
    torch.testing.assert_close(other.loss(batch).total, model.loss(batch).total)


def test_the_paper_kinds_differ_in_what_they_are_trained_for():
    """Of a reconstruction that errs where the model does not look, only the local loss sees it."""
    model, lm, batch, _ = prepared(layers="resid.1", downstream=0.0)
    unread = torch.linalg.svd(lm.head.weight.detach()).Vh[-1]  # the head does not read it, nor do the blocks
    output = batch.x + unread
    code = model.encode(batch)
    assert float(model.objective.distortion(model, Pass(batch, code, output)).abs().max().detach()) < 1e-9
    local, _, _, _ = prepared(local=1.0, kl=0.0)
    cost = local.objective.distortion(local, Pass(batch, code, output)).detach()
    torch.testing.assert_close(cost, torch.full_like(cost, T / D))


def test_the_target_counts_latents_at_one_position():
    model, _, _, _ = prepared(price_target="l0=4")
    assert model.objective.target.l0 == 4.0 * T


def test_the_properties_hold():
    check_method(e2e_sae, (3, 6), latents=24, layers="resid.1")
    check_method(e2e_sae, (3, 6), latents=24, k=4, activation="topk", ce=0.5)


def test_mistakes_are_sentences():
    with pytest.raises(RequestError, match="whole contexts"):
        e2e_sae((12,))
    with pytest.raises(RequestError, match="have a separate target"):
        e2e_sae(Spec((3, 4), target=(3, 4)))
    with pytest.raises(RequestError, match="Nothing would be learned"):
        e2e_sae((3, 4), kl=0.0)
    model = e2e_sae((3, 8), place="resid.9")
    with pytest.raises(RequestError, match=r"No layer of the model matches `resid\.9`"):
        model.loss(Batch(torch.randn(2, 3, 8), condition={"tokens": torch.ones(2, 3, dtype=torch.long)}))
    with pytest.raises(NarrowsError, match="layout='contexts'"):
        e2e_sae((3, 8)).loss(Batch(torch.randn(2, 3, 8)))
    other = e2e_sae((3, 8), place="embed")
    other.objective._language = ModuleReference(Toy(4))
    with pytest.raises(RequestError, match="a hook point of width 8"):
        other.loss(Batch(torch.randn(2, 3, 8), condition={"tokens": torch.ones(2, 3, dtype=torch.long)}))


def test_activations_of_another_text_are_refused(monkeypatch):
    """Where the token that begins a text was dropped, the model reads something else than it did."""
    monkeypatch.setattr("narrows.objectives.downstream._loaded", lambda name, device: Toy(D))
    _, _, batch, whole = prepared()
    kept = Batch(whole.float(), condition=batch.condition)
    model = e2e_sae((T, D), model="mine", latents=N)
    with torch.no_grad():
        model.objective.prepare(model, kept)
    model = e2e_sae((T - 1, D), model="mine", latents=N)
    with torch.no_grad():
        model.objective.prepare(model, Batch(kept.x[:, 1:], condition=kept.condition))
        with pytest.raises(NarrowsError, match="special tokens"):
            model.objective.prepare(
                model, Batch(kept.x[:, 1:], condition={"tokens": kept.condition["tokens"][:, 1:]})
            )
