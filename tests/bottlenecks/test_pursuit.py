"""Pursuits against plain loops, their gradients against finite differences, and the bottleneck that owns one."""

import pytest
import torch
from torch.nn import functional as F

from narrows.bottlenecks.sparse.pursuit import MatchingPursuit
from narrows.core import Batch
from narrows.core.check import RequestError
from narrows.kernels import pursuit as kernels_pursuit
from narrows.kernels.pursuit import matching_pursuit, orthogonal_pursuit
from narrows.kernels.sparse import decode
from narrows.methods.sparse.mp_sae import mp_sae


def problem(rows=7, width=40, d=9, dtype=torch.float64, seed=0):
    draw = torch.Generator().manual_seed(seed)
    atoms = F.normalize(torch.randn(width, d, generator=draw, dtype=dtype), dim=1)
    return torch.randn(rows, d, generator=draw, dtype=dtype), atoms


def looped(x, atoms, k, signed=False, tolerance=0.0):
    """Matching pursuit, one example and one step at a time, as a dense code."""
    codes = torch.zeros(len(x), len(atoms), dtype=x.dtype)
    for row, code in zip(x, codes):
        rest = row.clone()
        for _ in range(k):
            if float(rest.norm()) <= tolerance * float(row.norm()):
                break
            fits = [float(atom @ rest) for atom in atoms]
            best = max(range(len(fits)), key=lambda j: abs(fits[j]) if signed else fits[j])
            step = fits[best] if signed else max(0.0, fits[best])
            code[best] += step
            rest = rest - step * atoms[best]
    return codes


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("gram", [True, False])
@pytest.mark.parametrize("tolerance", [0.0, 0.4])
def test_matching_pursuit_equals_a_loop(signed, gram, tolerance, monkeypatch):
    monkeypatch.setattr(kernels_pursuit, "_GRAM", 4096 if gram else 0)
    x, atoms = problem()
    code = matching_pursuit(x, atoms, 8, signed=signed, tolerance=tolerance)
    wanted = looped(x, atoms, 8, signed, tolerance)
    torch.testing.assert_close(code.dense(), wanted, atol=1e-12, rtol=0)
    assert ((code.values != 0).sum(1) == (wanted != 0).sum(1)).all(), "a repeated atom counts once"
    if tolerance:
        assert ((code.values != 0).sum(1) < 8).any()


def test_an_atom_that_is_chosen_again_adds_to_its_coefficient():
    atoms = F.normalize(torch.tensor([[1.0, 0.0], [0.9, 0.436]], dtype=torch.float64), dim=1)
    x = torch.tensor([[1.0, 0.6]], dtype=torch.float64)
    code = matching_pursuit(x, atoms.repeat(3, 1), 6, signed=True)
    assert len(set(code.indices[0].tolist())) < 6
    torch.testing.assert_close(code.dense(), looped(x, atoms.repeat(3, 1), 6, True), atol=1e-12, rtol=0)


@pytest.mark.parametrize("gram", [True, False])
def test_gradients_flow_through_all_steps(gram, monkeypatch):
    monkeypatch.setattr(kernels_pursuit, "_GRAM", 4096 if gram else 0)
    x, atoms = problem(rows=3, width=12, d=5)
    weight = torch.randn(3, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(4))

    def value(x, atoms):
        code = matching_pursuit(x, atoms, 5)
        return (code.dense() * weight).sum() + decode(code, atoms).pow(3).sum()

    assert torch.autograd.gradcheck(value, (x.requires_grad_(), atoms.requires_grad_()))


def test_rows_of_zeros_are_never_used():
    x, atoms = problem()
    atoms[::2] = 0
    code = matching_pursuit(x, atoms, 6, signed=True)
    assert not code.dense()[:, ::2].any()
    assert torch.isfinite(orthogonal_pursuit(x, atoms, 6).values).all()


@pytest.mark.parametrize("masked", [False, True])
def test_orthogonal_pursuit_equals_least_squares(masked):
    x, atoms = problem(rows=6, width=30, d=12)
    atoms = atoms * torch.linspace(0.5, 2, 30, dtype=torch.float64)[:, None]
    weight = (
        (torch.rand(x.shape, generator=torch.Generator().manual_seed(2)) < 0.7).double() if masked else None
    )
    code = orthogonal_pursuit(x, atoms, 4, weight)
    for n, row in enumerate(x):
        keep = torch.ones(12, dtype=torch.bool) if weight is None else weight[n] > 0
        seen, visible, chosen = row[keep], atoms[:, keep], []
        rest = seen
        for _ in range(4):
            fits = (visible @ rest).abs() / visible.norm(dim=1)
            fits[chosen] = -1
            chosen.append(int(fits.argmax()))
            values = torch.linalg.lstsq(visible[chosen].T, seen).solution
            rest = seen - visible[chosen].T @ values
        assert code.indices[n].tolist() == chosen
        torch.testing.assert_close(code.values[n], values, atol=1e-9, rtol=1e-9)


def test_orthogonal_pursuit_equals_scikit_learn():
    linear = pytest.importorskip("sklearn.linear_model")
    x, atoms = problem(rows=5, width=20, d=10, seed=3)
    wanted = linear.orthogonal_mp(atoms.T.numpy(), x.T.numpy(), n_nonzero_coefs=3).T
    torch.testing.assert_close(
        orthogonal_pursuit(x, atoms, 3).dense(), torch.tensor(wanted), atol=1e-10, rtol=0
    )


def test_the_bottleneck_codes_the_centred_example_and_k_may_change():
    torch.manual_seed(0)
    model = mp_sae((6,), latents=24, k=3, k_eval=9, normalise=False).double()
    with torch.no_grad():
        model.decoder.bias.copy_(torch.linspace(-1, 1, 6))
    x = torch.randn(4, 6, dtype=torch.float64)
    centred, atoms = x - model.decoder.bias.detach(), model.decoder.atoms.detach()
    for mode, k in ((True, 3), (False, 9)):
        model.train(mode)
        code = model.encode(Batch(x)).z
        torch.testing.assert_close(code.dense(), looped(centred, atoms, k), atol=1e-12, rtol=0)
    errors = []
    for k in range(1, 20):
        model.bottleneck.k_eval = k
        errors.append((model.reconstruct(Batch(x)) - x).square().sum(1))
    assert (torch.stack(errors).diff(dim=0) <= 1e-12).all()
    assert (errors[-1] < 0.5 * errors[0]).all()


def test_scales_are_folded_after_training():
    model = mp_sae((6,), latents=24, k=3, tolerance=0.1).double().eval()
    batch = Batch(3 + 5 * torch.randn(50, 6, dtype=torch.float64))
    with torch.no_grad():
        for part in (model.decoder, model.encoder):
            part.prepare(model, batch)
        before, scale = model.reconstruct(batch), model.decoder.scale.clone()
        codes = model.encode(batch).z.dense()
        for part in (model.decoder, model.encoder):
            part.finish(model)
    assert float(scale) != 1
    assert float(model.decoder.scale) == 1
    torch.testing.assert_close(model.reconstruct(batch), before)
    torch.testing.assert_close(model.encode(batch).z.dense(), codes / scale)


def test_a_pursuit_without_atoms_is_refused():
    with pytest.raises(RequestError, match="lazy `TiedEncoder`"):
        MatchingPursuit(4, 2)(torch.randn(3, 4))
    with pytest.raises(RequestError, match="k_eval cannot exceed"):
        MatchingPursuit(4, 2, k_eval=5)
