"""Ablations of latents against explicit ablations, and `tpp` and `scr` on a planted dictionary."""

import numpy as np
import pytest
import torch
from labelled_worlds import world

from narrows.audit.evaluations.perturbation import SCR, TPP, _cells
from narrows.audit.evidence.drawn import directions as atoms_of
from narrows.audit.metrics.ablation import accuracy, effect, perturbation, removal, strongest
from narrows.audit.metrics.probing import Problems, directions
from narrows.core.check import RequestError


def arrays(seed=0, concepts=3, count=40, latents=9, size=5):
    g = torch.Generator().manual_seed(seed)
    z = torch.randn(concepts, count, latents, generator=g).relu()
    atoms = torch.randn(latents, size, generator=g)
    error = 0.3 * torch.randn(concepts, count, size, generator=g)
    x = z @ atoms + error
    weights, bias = torch.randn(concepts, size, generator=g), torch.randn(concepts, generator=g)
    y = (x @ weights[..., None]).squeeze(-1) + bias[:, None] + torch.randn(concepts, count, generator=g) > 0
    return x, z, y.long(), weights, bias, atoms


def ablated(x, z, atoms, latents):
    """Decode the code without some latents, and keep the error, example by example."""
    rows = []
    for one, code in zip(x, z, strict=True):
        error = one - code @ atoms
        changed = code.clone()
        changed[latents] = 0
        rows.append(changed @ atoms + error)
    return torch.stack(rows)


def right(x, y, weights, bias):
    return sum(
        int((float(one @ weights + bias) > 0) == bool(label)) for one, label in zip(x, y, strict=True)
    ) / len(y)


def test_an_ablation_is_that_of_the_decoded_code_with_the_error_kept():
    x, z, y, weights, bias, atoms = arrays()
    chosen = torch.tensor([1, 4, 7])
    margins = x[0] @ weights[0] + bias[0]
    assert accuracy(margins, y[0], z[0], weights[0], atoms, chosen) == pytest.approx(
        right(ablated(x[0], z[0], atoms, chosen), y[0], weights[0], bias[0])
    )


def test_effects_are_differences_of_means_times_inner_products():
    _, z, y, weights, _, atoms = arrays()
    found = effect(z[0], y[0], weights[0], atoms)
    for j in range(9):
        yes = [float(v) for v, label in zip(z[0][:, j], y[0], strict=True) if label]
        no = [float(v) for v, label in zip(z[0][:, j], y[0], strict=True) if not label]
        assert float(found[j]) == pytest.approx(
            (sum(yes) / len(yes) - sum(no) / len(no)) * float(atoms[j] @ weights[0]), abs=1e-5
        )


def test_perturbation_by_brute_force():
    x, z, y, weights, bias, atoms = arrays()
    effects = torch.stack([effect(z[c], y[c], weights[c], atoms).clamp_min(0) for c in range(3)])
    margins = (x @ weights[..., None]).squeeze(-1) + bias[:, None]
    found = perturbation(margins, y, z, weights, atoms, effects, (1, 3, 50))
    for n, value in found.items():
        scores = []
        for c in range(3):
            latents = sorted(range(9), key=lambda j: -float(effects[c, j]))[:n]
            latents = [j for j in latents if effects[c, j] != 0]
            drop = [
                right(x[o], y[o], weights[o], bias[o])
                - right(ablated(x[o], z[o], atoms, latents), y[o], weights[o], bias[o])
                for o in range(3)
            ]
            scores.append(drop[c] - sum(drop[o] for o in range(3) if o != c) / 2)
        assert value == pytest.approx(sum(scores) / 3)


def test_latents_without_an_effect_are_not_ablated():
    assert strongest(torch.tensor([0.0, 2.0, 0.0, 1.0]), 4).tolist() == [1, 3]


def test_removal_is_one_if_everything_is_restored_and_zero_if_nothing():
    assert removal([0.9, 0.8], [0.5, 0.6], [0.9, 0.8]) == pytest.approx(1)
    assert removal([0.5, 0.6], [0.5, 0.6], [0.9, 0.8]) == 0


def test_directions_use_the_units_of_the_data_and_no_test_example():
    g = torch.Generator().manual_seed(2)
    x = torch.randn(1, 400, 4, generator=g) * torch.tensor([1.0, 5.0, 0.1, 2.0]) + 3
    y = (x[..., 1] - 3 + torch.randn(1, 400, generator=g) > 0).long()
    weights, bias = directions(Problems(x[:, :300], x[:, 300:], y[:, :300], y[:, 300:]))
    said = (x[:, 300:] @ weights[..., None]).squeeze(-1) + bias[:, None] > 0
    assert (said == y[:, 300:].bool()).double().mean() > 0.85
    other = directions(Problems(x[:, :300], -x[:, 300:], y[:, :300], 1 - y[:, 300:]))
    torch.testing.assert_close(other[0], weights)


def test_concepts_that_are_latents_are_perturbed_and_marked(monkeypatch):
    view = world(monkeypatch, count=4000)
    tpp = {c.name: c for c in TPP(labels="planted", n=(1, 5), examples=800)(view).checks}
    assert tpp["tpp/n1"].value > 0.3 > tpp["tpp/n1"].chance + 0.1
    scr = {
        c.name: c
        for c in SCR(labels="planted", concepts=("atom 0", "atom 1"), n=(1, 5), examples=800)(view).checks
    }
    assert scr["scr/n1"].value > scr["scr/n1"].chance + 0.05
    for check in (*tpp.values(), *scr.values()):
        assert check.says.startswith("Not recommended: ")
        assert "2605.18229" in check.says
        assert check.spread > 0
        assert check.n > 100


def test_removal_of_a_spurious_correlation_by_brute_force(monkeypatch):
    view = world(monkeypatch, count=3000)
    asked = SCR(labels="planted", concepts=("atom 0", "atom 1"), n=(2,), examples=800)
    matrices = asked.matrices(view)
    atoms = atoms_of(view)
    found = asked._measure(matrices, {"": (matrices.z, atoms)}, (0, 1), 0)
    labelled = matrices.states.labelled
    train, test = labelled.cells((0, 1), 0, 800)
    x, z = torch.from_numpy(labelled.x), matrices.z
    biased = _cells(matrices.x, matrices, train, test, None)
    assert biased.train.shape[1] == len(train[0, 0]) + len(train[1, 1])
    weights, bias = directions(biased)
    sums = {"ablated": 0.0, "biased": 0.0, "clean": 0.0}
    held, seen = (torch.from_numpy(np.concatenate(list(part.values()))) for part in (test, train))
    for of in (0, 1):
        own, other = (directions(_cells(matrices.x, matrices, train, test, c)) for c in (of, 1 - of))
        truth = torch.from_numpy(labelled.labels[:, of].astype(int))
        spurious = torch.from_numpy(labelled.labels[:, 1 - of].astype(int))
        gap = z[seen][spurious[seen] == 1].mean(0) - z[seen][spurious[seen] == 0].mean(0)
        chosen = (gap * (atoms @ other[0][0])).abs().argsort(descending=True)[:2]
        sums["biased"] += right(x[held], truth[held], weights[0], bias[0])
        sums["clean"] += right(x[held], truth[held], own[0][0], own[1][0])
        sums["ablated"] += right(ablated(x[held], z[held], atoms, chosen), truth[held], weights[0], bias[0])
    expected = (sums["ablated"] - sums["biased"]) / (sums["clean"] - sums["biased"])
    assert found["2"] == pytest.approx(expected, abs=0.02)
    assert found["clean"] == pytest.approx(sums["clean"] / 2, abs=0.01)


def test_unknown_concepts_are_refused(monkeypatch):
    view = world(monkeypatch)
    with pytest.raises(RequestError, match=r"no concept `atom 9`\. It has `atom 0`, `atom 1`"):
        SCR(labels="planted", concepts=("atom 0", "atom 9"))(view)
    with pytest.raises(RequestError, match="names of two concepts"):
        SCR(concepts=("noun",))
