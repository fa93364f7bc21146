"""The evaluation `splice` against plain loops over a tiny language model."""

from types import SimpleNamespace

import pytest
import torch
from audit_models import plain_model, sparse_model
from text_models import harvest, hidden

from narrows.activations.splice import Costs
from narrows.audit import audit
from narrows.audit.evaluations import splice as evaluation
from narrows.audit.evaluations.splice import Splice, worst
from narrows.audit.evidence import splicing
from narrows.core import Batch
from narrows.core.check import NarrowsError, RequestError


@pytest.fixture
def world(monkeypatch):
    lm, data = harvest()
    language = SimpleNamespace(module=lm, vocabulary=17, device=torch.device("cpu"))
    monkeypatch.setattr(splicing, "language_model", lambda *told: language)
    monkeypatch.setattr(
        evaluation, "_POSITIONS", {"first": (0, 1), "2-8": (1, 4), "9-64": (4, 7), "later": (7, None)}
    )
    return lm, data


@torch.no_grad()
def by_hand(lm, data, change):
    """KL and increase of the loss, a list for each position over contexts, and the mean of each context."""
    kls, ces = [[] for _ in range(9)], [[] for _ in range(9)]
    means = []
    for ids in data.provenance.ids:
        activation = lm.mix(hidden(lm, ids))
        before = lm.head(activation.tanh() * 4).log_softmax(-1).double()
        after = lm.head(change(activation).tanh() * 4).log_softmax(-1).double()
        here = []
        for t in range(len(ids) - 1):
            p, q = before[t], after[t]
            here.append(float((p.exp() * (p - q)).sum()))
            kls[t].append(here[-1])
            ces[t].append(float(p[ids[t + 1]] - q[ids[t + 1]]))
        means.append(sum(here) / len(here))
    return kls, ces, means


def rebuilt(model):
    def change(activation):
        out = model.reconstruct(Batch((activation - 0.5) / 2)) * 2 + 0.5
        return torch.cat([activation[:1], out[1:]])  # the first token was not harvested

    return change


def mean(lists):
    flat = [value for one in lists for value in one]
    return sum(flat) / len(flat), len(flat)


def test_costs_by_position_are_those_of_plain_loops(world):
    lm, data = world
    model = sparse_model(latents=12, k=2, seed=3).eval()
    report = audit(model, data, evaluations="splice")
    kls, ces, _ = by_hand(lm, data, rebuilt(model))
    for name, (first, last) in evaluation._POSITIONS.items():
        for what, lists in (("kl", kls), ("ce", ces)):
            check = report[f"splice/{what}/{name}"]
            if name == "first":
                continue
            value, count = mean(lists[first:last])
            assert check.value == pytest.approx(value, abs=1e-5)
            assert check.n == count
            assert check.spread is not None
    first = report["splice/kl/first"]  # the first token was not harvested
    assert (first.value, first.n) == (None, 3)
    assert first.says == "Not measured: No activation up to this position was harvested."
    control = by_hand(lm, data, rebuilt(audit_control(model, data)))[0]
    assert report["splice/kl/2-8"].chance == pytest.approx(mean(control[1:4])[0], abs=1e-5)
    assert report["splice/kl/worst"].value is None
    assert report["splice/kl/worst"].says.startswith("Not measured: 3 sequences")


def audit_control(model, data):
    from narrows.audit.evidence.view import examine

    return examine(model, data, 2048, 0).control.model


def test_worst_sequences_are_the_largest_means():
    torch.manual_seed(0)
    kl, weight = torch.rand(300, 7), (torch.rand(300, 7) > 0.3).float()
    weight[:, 0] = 1
    zero = torch.zeros_like(kl)
    costs = Costs(zero, 2 * kl, zero, zero, kl, weight)
    each = sorted(float((k * w).sum() / w.sum()) for k, w in zip(kl.double(), weight.double(), strict=True))
    assert worst(costs, "kl") == pytest.approx(sum(each[-3:]) / 3)
    assert worst(costs, "ce") == pytest.approx(2 * sum(each[-3:]) / 3)
    assert worst(costs[:50], "kl") == pytest.approx(float(((kl * weight).sum(1) / weight.sum(1))[:50].max()))


def test_a_kept_error_costs_nothing_and_a_random_one_is_as_long(world, monkeypatch):
    _, data = world
    model = plain_model((6,), latent=4, seed=3).eval()
    changed = []
    parts = splicing.Splicer.parts

    def noted(self, model, change=None):
        def seen(old, new):
            made = change(old, new)
            changed.append((old, new, made))
            return made

        return parts(self, model, None if change is None else seen)

    monkeypatch.setattr(splicing.Splicer, "parts", noted)
    report = audit(model, data, evaluations="splice")
    assert report["splice/error-kept"].value == pytest.approx(0, abs=1e-6)
    assert report["splice/error-kept"].verdict == "ok"
    (_, _, kept), (old, new, random) = changed
    assert torch.allclose(kept, old, atol=1e-5)
    assert torch.allclose((random - old).norm(dim=2), (new - old).norm(dim=2), rtol=1e-4)
    assert not torch.allclose(random, new, atol=1e-2)
    assert report["splice/random-error"].value > 0
    assert report["splice/random-error"].n == 21


def test_it_says_what_it_lacks(world, monkeypatch):
    _, data = world
    model = plain_model((6,), latent=4).eval()
    for other in (torch.randn(50, 6), harvest("encoder")[1]):
        check = audit(model, other, evaluations="splice")["splice"]
        assert check.says.startswith("Not measured: The data are not single activations")

    def gone(*told):
        raise NarrowsError("The model tiny is gone.")

    monkeypatch.setattr(splicing, "language_model", gone)
    report = audit(model, data, evaluations="all")
    assert report["splice"].says == "Not measured: The model tiny is gone."
    assert report["splice/recovered"].says == "Not measured: The model tiny is gone."
    with pytest.raises(RequestError, match="tokens"):
        Splice(tokens=1)
