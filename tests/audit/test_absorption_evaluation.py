"""The evaluation `absorption`: on a hierarchy, on a language model that spells, and where it says that it cannot."""

import numpy as np
import pytest
import torch

import narrows as nr
import narrows.data as nd
from narrows.activations.splice import spliced
from narrows.audit.evaluations import EVALUATIONS
from narrows.audit.evidence.answers import answer_effects
from narrows.audit.evidence.concepts import Concepts, words_of
from narrows.audit.evidence.splicing import language_of
from narrows.audit.evidence.view import examine
from narrows.core import evaluation_mode
from narrows.methods.sparse.topk_sae import topk_sae
from narrows.methods.variational.vae import vae
from narrows.testing.speller import TEXT, speller

SIZES = {"words": 520, "width": 32, "layers": 1, "context": 12, "steps": 200, "batch_size": 48, "lr": 1e-2}


def evaluated(spelled, model, dataset):
    evaluation, view = EVALUATIONS.make(spelled), examine(model, dataset, 64, 0)
    if reason := evaluation.lacks(view):
        return reason
    with evaluation_mode(model):
        return {check.name: check for check in evaluation(view).checks}


def from_truth(source, absorb):
    """A TopK autoencoder with the true atoms, of which the children may have absorbed their parents."""
    truth = source.truth
    atoms = torch.as_tensor(truth.atoms, dtype=torch.float32)
    family = torch.as_tensor(truth.parent)
    made, read = atoms.clone(), atoms.clone()
    if absorb:
        children = family >= 0
        made[children] = (atoms[children] + atoms[family[children]]) / 2**0.5
        for p in range(
            truth.parents
        ):  # x u = 1 and x v = 1: the child's latent is sqrt 2, the parent's 1 - 1.1
            read[p] = atoms[p] - 1.1 * atoms[family == p].sum(0)
            read[family == p] = atoms[family == p] * 2**0.5
    model = topk_sae(source.spec, latents=len(atoms), k=2 * truth.parents)
    with torch.no_grad():
        model.encoder.weight.copy_(read)
        model.decoder.atoms.copy_(made)
    return model.eval()


@pytest.fixture(scope="module")
def families():
    return nd.open(
        "hierarchy", n=10, tests=3000, d=122, parents=2, children=60, orthogonal=True, spread=0, alone=0.25
    )


def test_the_share_that_was_absorbed_is_found(families):
    none = evaluated("absorption:rows=1500", from_truth(families, absorb=False), families.test)
    every = evaluated("absorption:rows=1500", from_truth(families, absorb=True), families.test)
    for name in ("absorption/full", "absorption/fraction"):
        assert none[name].value == pytest.approx(0, abs=0.005)
        assert every[name].value == pytest.approx(0.75, abs=0.04)
        assert 0 < every[name].spread < 0.1
        assert every[name].chance < 0.5
        assert every[name].verdict == "info"
    assert 1 <= every["absorption/splits"].value < 1.5


def test_children_that_would_be_splits_are_counted_and_the_truth_may_be_told():
    few = nd.open(
        "hierarchy", n=10, tests=3000, d=12, parents=2, children=5, orthogonal=True, spread=0, alone=0.25
    )
    model = from_truth(few, absorb=True)
    misled = evaluated("absorption:rows=1500", model, few.test)
    assert misled["absorption/full"].value == 0
    assert misled["absorption/full"].verdict == "warn"
    assert "10 latents fire only with one concept" in misled["absorption/full"].says
    told = evaluated("absorption:direction=truth,main=nearest", model, few.test)
    assert told["absorption/splits"].value == 1
    # the nearest atom to a parent is its own: the children's have a cosine of 0.7 with it
    assert told["absorption/full"].value == pytest.approx(0.75, abs=0.03)
    assert told["absorption/full"].verdict == "info"


def test_what_cannot_be_evaluated_says_why(families):
    assert "needs concepts" in evaluated("absorption", topk_sae((4,), latents=8, k=2), torch.randn(50, 4))
    assert "sparse codes" in evaluated("absorption", vae(families.spec, latent=2), families.test)


def test_concepts_that_no_probe_recognises_give_no_figure():
    noisy = nd.open("hierarchy", n=10, tests=2000, d=16, parents=4, children=3, noise=5.0)
    found = evaluated("absorption", topk_sae(noisy.spec, latents=32, k=3), noisy.test)
    assert all(check.value is None for check in found.values())
    assert found["absorption/full"].says.startswith("Not measured: linear probes recognise 0 of 4 concepts")


@pytest.fixture(scope="module")
def spelled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("speller")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NARROWS_CACHE", str(folder / "cache"))
        model = speller(**SIZES)
        nr.harvest(model, model / TEXT, "resid.0", folder / "acts", context=12, tokens=30_000, progress=False)
        yield nd.open(folder / "acts")


def test_words_are_labelled_by_their_first_letter(spelled):
    concepts = Concepts.of(spelled.test, after=1, limit=500, seed=0)
    provenance = spelled.test.provenance
    words, _ = words_of(provenance, slice(0, len(spelled.test)), 1)
    for row in range(40):
        ids, _ = provenance.context_of(row)
        at = int(provenance.positions(slice(row, row + 1)))
        assert words[row] == (ids[at - 1] if at else -1)
    # a word's token is 28 and more; its letter follows two positions later
    for row, label, word in zip(concepts.rows[:50].tolist(), concepts.labels, concepts.groups, strict=False):
        assert int(provenance.tokens(slice(row, row + 1))) == 1
        assert int(word) >= 28
        follows = int(provenance.tokens(slice(row + 1, row + 2)))
        if int(provenance.positions(slice(row + 1, row + 2))) > 0:
            assert concepts.names[int(label.nonzero())] == "abcdefghijklmnopqrstuvwxyz"[follows - 2]
    counts = concepts.groups.unique(return_counts=True)[1]
    assert counts.max() <= 3
    half = concepts.half(0)
    assert not set(concepts.groups[half].tolist()) & set(concepts.groups[~half].tolist())


def test_the_effects_of_all_latents_add_up(spelled):
    data, provenance = spelled.test, spelled.test.provenance
    concepts = Concepts.of(data, after=1, limit=500, seed=0)
    letter = 3
    rows = concepts.rows[concepts.labels[:, letter]][:6]
    rng = torch.Generator().manual_seed(0)
    atoms, codes = torch.randn(10, 32, generator=rng) / 8, torch.rand(6, 10, generator=rng)
    x, number = data.batch(rows).x, "abcdefghijklmnopqrstuvwxyz".index(concepts.names[letter])
    effects = answer_effects(data, rows, 1, torch.full((6,), number), x, codes, atoms)
    module = language_of(provenance).module

    def margin(row, activation):
        ids, _ = provenance.context_of(int(row))
        at = int(provenance.positions(torch.tensor([row])))
        put = lambda old: old.index_put((torch.tensor([0]), torch.tensor([at])), activation[None])  # noqa: E731
        logits = spliced(module, ids[None], "resid.0", put)[0, at, 2:28].double()
        return float(logits[number] - np.delete(logits.numpy(), number).mean())

    for i, row in enumerate(rows.tolist()):
        with torch.no_grad():
            change = margin(row, x[i]) - margin(row, x[i] - codes[i] @ atoms)
        assert float(effects[i].sum()) == pytest.approx(change, abs=0.02 + 0.02 * abs(change))
    assert (
        answer_effects(data, rows, 0, torch.full((6,), number), x, codes, atoms) is None
    )  # no letter follows the next token


def test_absorption_of_a_language_model_that_spells(spelled):
    torch.manual_seed(0)
    model = topk_sae(spelled.spec, latents=64, k=4)
    found = evaluated("absorption:after=1", model, spelled.train)
    assert set(found) == {f"absorption/{name}" for name in ("full", "fraction", "splits", "causal")}
    assert all(0 <= found[f"absorption/{name}"].value <= 1 for name in ("full", "fraction", "causal"))
    with pytest.raises(Exception, match="These data do not know the directions"):
        evaluated("absorption:after=1,direction=truth", model, spelled.test)
