"""Code norm against input norm, by loops over pairs of atoms."""

import pytest
import torch
from audit_models import plain_model
from test_sparse_checks import dictionary_model

from narrows.audit import audit
from narrows.audit.checks.orthogonality import epsilon, norm_gap
from narrows.core import Batch

X = torch.randn(60, 6, generator=torch.Generator().manual_seed(0))


def test_the_figures_are_those_of_loops():
    torch.manual_seed(2)
    atoms = torch.randn(15, 6) * torch.rand(15, 1) * 3
    model = dictionary_model(atoms, torch.randn(15, 6), 3)
    report = audit(model, X)
    with torch.no_grad():
        codes = model.encode(Batch(X)).z.dense().double()
    lengths, gaps, least = atoms.double().norm(dim=1), [], []
    for x, z in zip(X.double(), codes, strict=True):
        on = z.nonzero().flatten().tolist()
        sizes = [float(z[i] * lengths[i]) for i in on]
        code = sum(s * s for s in sizes) ** 0.5
        gaps.append(abs(code - float(x.norm())))
        crossed = sum(
            a * b * float(torch.cosine_similarity(atoms[i], atoms[j], 0))
            for i, a in zip(on, sizes, strict=True)
            for j, b in zip(on, sizes, strict=True)
            if i != j
        )
        pairs = sum(abs(a * b) for i, a in enumerate(sizes) for j, b in enumerate(sizes) if i != j)
        least.append(abs(crossed) / pairs)
    gap, eps = report["quasi-orthogonality/gap"], report["quasi-orthogonality/epsilon"]
    assert gap.value == pytest.approx(sum(gaps) / float(X.double().norm(dim=1).sum()), rel=1e-4)
    assert eps.value == pytest.approx(sum(least) / len(least), rel=1e-3)
    assert eps.value <= report["atoms/coherence"].value + 1e-6
    for check in (gap, eps):
        assert check.n == 60
        assert check.spread > 0
        assert check.chance > 0


def test_orthogonal_atoms_have_no_gap():
    model = dictionary_model(2 * torch.eye(6), torch.eye(6) / 2, 6)
    report = audit(model, X)
    assert report["quasi-orthogonality/gap"].value == pytest.approx(0, abs=1e-5)
    assert report["quasi-orthogonality/epsilon"].value == pytest.approx(0, abs=1e-5)
    assert report["quasi-orthogonality/gap"].chance > 0.1


def test_single_latents_have_no_coherence():
    assert epsilon(torch.tensor([[2.0, 0.0]]), torch.tensor([5.0])) == 0
    assert epsilon(torch.tensor([[3.0, 4.0], [1.0, 0.0]]), torch.tensor([5.0, 9.0])) == 0  # orthogonal
    assert norm_gap(torch.tensor([1.0, 3.0]), torch.tensor([2.0, 2.0])) == 0.5
    assert audit(plain_model(), X).get("quasi-orthogonality/gap") is None


def test_a_deep_decoder_has_no_atoms():
    model = dictionary_model(torch.eye(6), torch.eye(6), 6)
    forward = model.decoder.forward
    model.decoder.forward = lambda z, condition=(): forward(z, condition).tanh()
    assert audit(model, X).get("quasi-orthogonality/gap") is None
