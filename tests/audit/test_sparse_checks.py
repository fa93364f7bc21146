"""Questions to sparse codes: the true dictionary, layers, coherence, signed codes."""

from dataclasses import replace
from itertools import permutations

import pytest
import torch
from audit_models import Flat, UnitGaussian
from torch import nn

import narrows.data as nd
from narrows.audit import audit
from narrows.audit.checks.layers import shares
from narrows.audit.metrics.matching import Match, cosines, f1, match, on
from narrows.core import Autoencoder, Bottleneck, Code, Objective, Sparse
from narrows.core.evidence import Latents


class Signed(Bottleneck):
    """The k largest features by their size, with their signs."""

    def __init__(self, width, k):
        super().__init__()
        self.width, self.k = width, k

    def forward(self, h, samples=()):
        indices = h.abs().topk(self.k, -1).indices
        code = Sparse(indices, h.gather(-1, indices), self.width)
        return Code(code, evidence=(Latents(code),))


class Atoms(nn.Module):
    """The weighted sum of rows."""

    def __init__(self, atoms):
        super().__init__()
        self.atoms = nn.Parameter(atoms)

    def forward(self, z, condition=()):
        return torch.tensordot(z.dense(), self.atoms, 1)


def dictionary_model(atoms, encoder, k):
    """A signed sparse model that decodes with the atoms (N, *shape) and encodes with a matrix (N, size)."""
    shape = tuple(atoms.shape[1:])
    read = Flat(encoder.shape[1], (len(atoms),))
    with torch.no_grad():
        read.linear.weight.copy_(encoder)
        read.linear.bias.zero_()
    model = Autoencoder(read, Signed(len(atoms), k), Atoms(atoms), UnitGaussian(shape), Objective())
    return model.eval()


def test_the_matching_is_the_best_of_all():
    torch.manual_seed(0)
    similarity = torch.rand(5, 7, dtype=torch.double)
    best = max(sum(float(similarity[i, j]) for i, j in enumerate(p)) for p in permutations(range(7), 5))
    found = Match(similarity)
    assert found.mcc * 5 == pytest.approx(best)
    assert found.mean_max == pytest.approx(float(similarity.max(1).values.mean()))
    few = Match(similarity[:, :3])  # two true atoms have no partner and count as 0
    assert few.mcc * 5 == pytest.approx(float(few.similarity[few.true, few.learned].sum()))
    assert len(few.pairs) == 3


def test_a_negated_shuffled_dictionary_is_found():
    torch.manual_seed(1)
    truth, order = torch.randn(6, 9), torch.randperm(6)
    found = match(truth, -3 * truth[order])
    assert found.mcc == pytest.approx(1)
    assert [order[j].item() for _, j in found.pairs] == [i for i, _ in found.pairs]
    assert cosines(truth, truth[:2]).shape == (6, 2)


def test_f1_against_counting():
    torch.manual_seed(2)
    truth, guess = torch.rand(40, 5) < 0.3, torch.rand(40, 5) < 0.3
    truth[:, 4] = guess[:, 4] = False
    for j, value in enumerate(f1(truth, guess).tolist()):
        hits = sum(bool(a and b) for a, b in zip(truth[:, j], guess[:, j], strict=True))
        if hits == 0:
            assert value == 0
            continue
        precision, recall = hits / int(guess[:, j].sum()), hits / int(truth[:, j].sum())
        assert value == pytest.approx(2 * precision * recall / (precision + recall))


def test_on_counts_signed_values_and_no_unused_places():
    code = Sparse(torch.tensor([[0, 2], [1, 0]]), torch.tensor([[-1.0, 0.0], [2.0, 0.0]]), 3)
    assert on(code).tolist() == [[True, False, False], [False, True, False]]
    assert torch.equal(on(code), on(code.dense()))
    placed = Sparse(code.indices[:, None].expand(2, 3, 2), code.values[:, None] * torch.eye(3)[:1].T, 3)
    assert torch.equal(on(placed), on(code))
    assert torch.equal(on(placed.dense()), on(code))


def test_the_truth_is_recovered_even_with_signs_flipped():
    source = nd.open("dictionary", n=100, tests=1500, d=24, atoms=24, l0=2)
    truth = torch.as_tensor(source.truth.atoms, dtype=torch.float32)
    flipped = -truth.flip(0)
    model = dictionary_model(flipped, torch.linalg.inv(flipped).T, 8)  # its codes are the true ones, negated
    report = audit(model, source.test, limit=1000)
    assert report["recovery/mcc"].value == pytest.approx(1, abs=1e-6)
    assert report["recovery/mcc"].verdict == "ok"
    assert report["recovery/mean-max-cosine"].value == pytest.approx(1, abs=1e-6)
    assert report["recovery/f1"].value < 0.9  # eight places for two atoms: noise of rounding is on
    sparse = dictionary_model(flipped, torch.linalg.inv(flipped).T, 24)
    sparse.bottleneck.forward = clean(sparse.bottleneck.forward)
    assert audit(sparse, source.test, limit=1000)["recovery/f1"].value == pytest.approx(1, abs=1e-6)
    assert audit(model, source.test.all().x, limit=1000).get("recovery/mcc") is None


def clean(forward):
    """Rounding errors are zeros."""

    def cleaned(h, samples=()):
        code = forward(h, samples)
        z = replace(code.z, values=code.z.values * (code.z.values.abs() > 0.1))
        return Code(z, evidence=(Latents(z),))

    return cleaned


def test_true_codes_follow_their_rows():
    source = nd.open("dictionary", n=300, tests=200, d=8, atoms=16, l0=2, limit=50)
    for part in (source.train, source.test, source.test.take(9)):
        made = part.columns["codes"].numpy() @ source.truth.atoms.astype("float32")
        assert made == pytest.approx(part.x.numpy(), abs=1e-5)


def test_layers_of_atoms():
    torch.manual_seed(3)
    atoms = torch.randn(12, 3, 5)
    atoms[:4, 1:] = 0  # four of the first layer alone
    loud = torch.tensor([100.0, 1.0, 1.0])[:, None]
    model = dictionary_model(atoms * loud, torch.randn(12, 15), 6)
    x = torch.randn(300, 3, 5)
    report = audit(model, x * loud, limit=300)
    norms = atoms.double().norm(dim=-1)
    assert torch.allclose(shares(atoms), norms / norms.sum(1, keepdim=True))
    norms /= torch.stack([(x[:, n] - x[:, n].mean(0)).square().mean().sqrt() for n in range(3)])
    by_hand = norms / norms.sum(1, keepdim=True)
    assert report["layers/own"].value == 4
    effective = torch.exp(-(by_hand * by_hand.clamp_min(1e-30).log()).sum(1)).mean()
    assert report["layers/effective"].value == pytest.approx(float(effective), rel=1e-4)
    a = atoms[4:].double()
    cosine = torch.cosine_similarity(a[:, 1:], a[:, :-1], dim=-1).mean()
    assert report["layers/cosine"].value == pytest.approx(float(cosine), abs=1e-4)


def test_coherence_and_cosine_are_told():
    torch.manual_seed(4)
    atoms = torch.randn(10, 6)
    atoms[3] = -2 * atoms[8]
    model = dictionary_model(atoms, torch.randn(10, 6), 5)
    x = torch.randn(200, 6)
    report = audit(model, x)
    assert report["atoms/coherence"].value == pytest.approx(1, abs=1e-5)
    with torch.no_grad():
        out = model.decode(model.bottleneck(model.encoder(x)).z)
    assert report["cosine"].value == pytest.approx(float(torch.cosine_similarity(x, out).mean()), abs=1e-5)


def test_codes_whose_number_of_entries_differs_from_chunk_to_chunk():
    torch.manual_seed(6)
    model = dictionary_model(torch.randn(10, 6), torch.randn(10, 6), 5)
    x = torch.randn(600, 6)
    whole = audit(model, x, limit=600)
    forward = model.bottleneck.forward

    def ragged(h, samples=()):
        code = forward(h, samples)
        extra = 1 + len(h) % 7 + int(h[0, 0] > 0)
        z = code.z
        padded = Sparse(
            torch.nn.functional.pad(z.indices, (0, extra)), torch.nn.functional.pad(z.values, (0, extra)), 10
        )
        return Code(padded, evidence=(Latents(padded),))

    model.bottleneck.forward = ragged
    again = audit(model, x, limit=600)
    assert again["l0"].value == whole["l0"].value == 5
    assert again["fvu"].value == pytest.approx(whole["fvu"].value)
    assert again["latents/dead"].value == whole["latents/dead"].value


def test_latents_are_sparse_because_the_code_says_so():
    from narrows.methods.sparse.relu_sae import relu_sae

    model = relu_sae((6,), latents=20).eval()
    with torch.no_grad():
        model.encoder.bias += 100  # all are on
    report = audit(model, torch.randn(100, 6))
    assert report["l0"].value == 20
    with torch.no_grad():
        model.encoder.bias -= 200  # none is
    report = audit(model, torch.randn(100, 6))
    assert report["l0"].value == 0
    assert report["latents/dead-cause"].value == "bias"
