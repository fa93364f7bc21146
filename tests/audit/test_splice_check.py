"""The splice check against plain hooks on a tiny language model."""

from types import SimpleNamespace

import pytest
import torch
from audit_models import plain_model
from text_models import SIZES, Rows, harvest, hidden

from narrows.activations.hook_points import HookPoint
from narrows.audit import audit
from narrows.audit.evidence import splicing
from narrows.audit.evidence.splicing import Splicer
from narrows.core import Batch
from narrows.data.scaling import Scaling
from narrows.runs import observe
from narrows.runs.observe import Spliced


@pytest.fixture
def world(monkeypatch):
    lm, data = harvest()
    language = SimpleNamespace(module=lm, vocabulary=17, device=torch.device("cpu"))
    monkeypatch.setattr(splicing, "language_model", lambda *told: language)
    return lm, data


@torch.no_grad()
def by_hand(lm, data, change):
    """Cross-entropies and KL, context by context: the activation of every token is changed."""
    losses, divergences = [], []
    for ids in data.provenance.ids:
        activation = lm.mix(hidden(lm, ids))
        before = lm.head(activation.tanh() * 4).log_softmax(-1)[:-1].double()
        after = lm.head(change(activation).tanh() * 4).log_softmax(-1)[:-1].double()
        losses.append(-after[torch.arange(len(ids) - 1), ids[1:]])
        divergences.append((before.exp() * (before - after)).sum(-1))
    return float(torch.cat(losses).mean()), float(torch.cat(divergences).mean())


def test_numbers_are_those_of_plain_hooks(world):
    lm, data = world
    model = plain_model((6,), latent=4, seed=3).eval()

    def rebuilt(activation):
        out = model.reconstruct(Batch((activation - 0.5) / 2)) * 2 + 0.5
        return torch.cat([activation[:1], out[1:]])  # the first token was not harvested

    report = audit(model, data)
    original, _ = by_hand(lm, data, lambda a: a)
    spliced, kl = by_hand(lm, data, rebuilt)
    zero, _ = by_hand(lm, data, torch.zeros_like)
    every = torch.cat([lm.mix(hidden(lm, ids)) for ids in data.provenance.ids]).mean(0)
    mean, _ = by_hand(lm, data, lambda a: every.expand_as(a))
    assert report["splice/ce"].value == pytest.approx(spliced - original, abs=1e-5)
    assert report["splice/kl"].value == pytest.approx(kl, abs=1e-5)
    assert report["splice/recovered"].value == pytest.approx((zero - spliced) / (zero - original), abs=1e-4)
    from_mean = report[
        "splice/recovered-from-mean"
    ].value  # about 65: a small denominator enlarges float32's rounding
    assert from_mean == pytest.approx((mean - spliced) / (mean - original), rel=1e-4)


def test_logits_that_are_not_kept_change_nothing(world, monkeypatch):
    _, data = world
    model = plain_model((6,), latent=4, seed=3).eval()
    kept = Splicer.of(data)(model).means()
    monkeypatch.setattr(splicing, "_LOGITS", 0)
    assert Splicer.of(data)(model).means() == pytest.approx(kept)
    assert Splicer.of(data, tokens=1).inputs[0][0]["input_ids"].shape == (1, 9)


def test_only_harvests_of_one_place_of_a_causal_model(world, monkeypatch):
    _, data = world
    assert Splicer.of(data.x) is None
    assert Splicer.of(harvest("encoder")[1]) is None
    data.provenance.at = ("mix", "embed")
    assert Splicer.of(data) is None
    data.provenance.at = ("mix",)

    def gone(*told):
        from narrows.core.check import RequestError

        raise RequestError("The model 'tiny' cannot be loaded.")

    monkeypatch.setattr(splicing, "language_model", gone)
    check = audit(plain_model((6,)), data)["splice/recovered"]
    assert check.value is None
    assert "cannot be loaded" in check.says


def test_the_place_may_be_given_by_hand(world):
    lm, data = world
    language = SimpleNamespace(module=lm, vocabulary=17, device=torch.device("cpu"))
    costs = Splicer(data, language, HookPoint("mix", "mix"))(identity())
    assert costs.recovered == pytest.approx(1, abs=1e-6)
    assert float(costs.kl.abs().max()) < 1e-6
    assert len(costs.spliced) == 3 * 8  # padded to three contexts of nine tokens
    assert float(costs.weight.sum()) == sum(n - 1 for n in SIZES)


def identity():
    model = plain_model((6,), latent=6)
    with torch.no_grad():
        for linear in (model.encoder.linear, model.decoder.linear):
            linear.weight.copy_(torch.eye(6))
            linear.bias.zero_()
    return model.eval()


def test_while_training_the_language_model_is_asked_too(world, monkeypatch):
    _, data = world
    model, told = plain_model((6,), latent=4, seed=3).eval(), []
    state = torch.get_rng_state()
    seen = Spliced(data, False, told.append)(model)
    assert torch.equal(torch.get_rng_state(), state)
    costs = Splicer.of(data)(model)
    assert seen["splice/recovered"] == pytest.approx(costs.recovered)
    assert seen["splice/ce"] == pytest.approx(costs.average("spliced") - costs.average("original"))
    assert seen["splice/kl"] == pytest.approx(costs.average("kl"))
    assert Spliced(data.x, False, told.append)(model) == {}
    monkeypatch.setattr(observe, "_LARGE", 10)
    assert Spliced(data, False, told.append)(model) == {}
    assert Spliced(data, True, told.append)(model) == seen
    assert told == []


def test_a_transcoder_reads_one_place_and_replaces_another(world):
    lm, data = world
    model = plain_model((6,), latent=4, seed=3).eval()
    embedded = torch.cat([lm.embed(ids).detach()[1:] for ids in data.provenance.ids])
    both = Rows(embedded, Scaling(), (6,), target=data.x, target_scaling=data.scaling)
    object.__setattr__(both, "provenance", data.provenance)
    assert Splicer.of(both) is None  # nobody knows where the target is from
    data.provenance.at, data.provenance.target = ("embed",), ("mix",)
    costs = Splicer.of(both)(model)
    losses = []
    with torch.no_grad():
        for ids in data.provenance.ids:
            activation = lm.mix(hidden(lm, ids))
            activation[1:] = (model.reconstruct(Batch(lm.embed(ids))) * 2 + 0.5)[1:]
            after = lm.head(activation.tanh() * 4).log_softmax(-1)
            losses.append(-after[torch.arange(len(ids) - 1), ids[1:]])
    assert costs.average("spliced") == pytest.approx(float(torch.cat(losses).mean()), abs=1e-5)
    assert costs.average("zero") == pytest.approx(by_hand(lm, data, torch.zeros_like)[0], abs=1e-5)
