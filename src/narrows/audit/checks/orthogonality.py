"""Quasi-orthogonality: the norm of a sparse code against the norm of its input."""

from __future__ import annotations

import torch
from torch import Tensor

from narrows.audit.evidence.effects import effects
from narrows.audit.evidence.reseeds import spread
from narrows.audit.evidence.view import View
from narrows.audit.report.finding import Chart, Check, Finding, Series
from narrows.core import Sparse
from narrows.kernels.metrics import firings

__all__ = ["epsilon", "norm_gap", "quasi_orthogonality"]

_CHUNK, _DRAWN = 1024, 300

_TRIED, _ROUNDING = 8, 1e-3
"""Examples on which linearity is tried, and the largest relative difference that rounding explains."""


def quasi_orthogonality(view: View) -> Finding:
    r"""Whether the norm of a code is that of its input, as it is if the active atoms are nearly orthogonal.

    For unit atoms, with x̂ − b the sum of the active atoms,

    .. math:: \|\hat x - b\|^2 - \|z\|^2 = \sum_{i \ne j} z_i z_j\, a_i \cdot a_j

    The gap is :math:`E |\,\|z\| - \|x - b\|\,| / E \|x - b\|`, and
    :math:`\varepsilon = |\,\|\hat x - b\|^2 - \|z\|^2| / (\|z\|_1^2 - \|z\|_2^2)` is the least coherence of the active
    atoms that explains the difference. Values are in units of atoms of length 1.

    Chance: a random dictionary of equal shape and L0.

    Misleads when: the atoms are many and the code has errors of both signs that cancel; a code that shrinks all values
    (an L1 penalty) has a gap although its atoms are orthogonal.

    Reference:
        Lee, Davies, Canby, Hockenmaier, Evaluating and Designing Sparse Autoencoders by Approximating
        Quasi-Orthogonality, 2025. arXiv:2503.24277
    """
    z, target = view.sparse, view.batch.target
    if z is None or view.skip is not None or view.weight is not None or view.control is None:
        return Finding()
    if (z.values if isinstance(z, Sparse) else z).ndim != 2 or target.shape != view.output.shape:
        return Finding()
    bias = _output_at_zero(view, z)
    if not _linear(view, z, bias):
        return Finding()  # a deep decoder has no atoms
    sizes = _in_units_of_atoms(view, z)
    norms = (target - bias).double().flatten(1).norm(dim=1)
    made = (view.output - bias).double().flatten(1).norm(dim=1)
    control = view.control.z.values.double()
    centre = target.double().flatten(1).mean(0)
    away = (target.double().flatten(1) - centre).norm(dim=1)
    built = (view.control.output.double().flatten(1) - centre).norm(dim=1)
    code = sizes.norm(dim=1)
    rows, seed = len(norms), view.seed
    checks = (
        Check(
            "quasi-orthogonality/gap",
            norm_gap(code, norms),
            "",
            "info",
            "Mean difference of the norms of code and input, as a share of the input's; 0 for orthogonal atoms without "
            "error.",
            norm_gap(control.norm(dim=1), away),
            spread(lambda r: norm_gap(code[r], norms[r]), rows, seed),
            rows,
        ),
        Check(
            "quasi-orthogonality/epsilon",
            epsilon(sizes, made),
            "",
            "info",
            "The least |cosine| of active atoms that explains the norms of reconstructions, the mean over examples.",
            epsilon(control, built),
            spread(lambda r: epsilon(sizes[r], made[r]), rows, seed),
            rows,
        ),
    )
    return Finding(checks, (_chart(norms, code, away, control.norm(dim=1)),))


def norm_gap(code: Tensor, norms: Tensor) -> float:
    """The mean |difference| of the norms of codes and inputs, (B,) each, over the mean norm of the inputs."""
    return float((code - norms).abs().mean() / norms.mean().clamp_min(1e-12))


def epsilon(sizes: Tensor, made: Tensor) -> float:
    r"""The mean of :math:`|\,m^2 - \|z\|_2^2| / (\|z\|_1^2 - \|z\|_2^2)` over examples with two active latents or more.

    Args:
        sizes: the values of the active latents z, in units of atoms of length 1, (B, k).
        made: the norm m of the weighted sum of the atoms, (B,).

    Returns:
        A lower bound of the largest |cosine| of two active atoms; 0 if no code has two.

    Example:
        >>> epsilon(torch.tensor([[3.0, 4.0]]), torch.tensor([7.0]))  # parallel atoms
        1.0
    """
    square = sizes.square().sum(1)
    mixed = sizes.abs().sum(1).square() - square
    several = mixed > 1e-9 * square.clamp_min(1e-30)
    if not bool(several.any()):
        return 0.0
    return float(((made.square() - square).abs()[several] / mixed[several]).mean())


def _in_units_of_atoms(view: View, z: Tensor | Sparse) -> Tensor:
    """The values of the codes times the lengths of their atoms, (B, k) of a sparse code, else (B, N)."""
    lengths = torch.zeros(len(firings(z)), dtype=torch.double)
    for some in (firings(z) > 0).nonzero().flatten().split(_CHUNK):
        lengths[some] = effects(view, some, torch.ones(len(some))).double().flatten(1).norm(dim=1)
    return z.values.double() * lengths[z.indices] if isinstance(z, Sparse) else z.double() * lengths


def _linear(view: View, z: Tensor | Sparse, bias: Tensor) -> bool:
    """Whether reconstructions are sums of atoms: those of a half code are half as far from the bias."""
    few = z[:_TRIED] if isinstance(z, Tensor) else Sparse(z.indices[:_TRIED], z.values[:_TRIED], z.width)
    half = few / 2 if isinstance(few, Tensor) else Sparse(few.indices, few.values / 2, few.width)
    rows = torch.arange(len(half.values if isinstance(half, Sparse) else half))
    far, near = (view.output[rows] - bias).double(), (view.decode(half, rows) - bias).double()
    return bool((far / 2 - near).norm() <= _ROUNDING * far.norm())


def _output_at_zero(view: View, z: Tensor | Sparse) -> Tensor:
    """The reconstruction of the code 0, b, (1, *shape)."""
    none = (
        Sparse(z.indices[:1], torch.zeros_like(z.values[:1]), z.width) if isinstance(z, Sparse) else 0 * z[:1]
    )
    made: Tensor = view.decode(none, torch.zeros(1, dtype=torch.long))
    return made


def _chart(norms: Tensor, code: Tensor, away: Tensor, control: Tensor) -> Chart:
    """The norms of codes against those of inputs, of the model and of the random dictionary."""
    series = [
        Series(name, tuple(y[:_DRAWN].tolist()), tuple(x[:_DRAWN].tolist()), tone)
        for name, x, y, tone in (("random dictionary", away, control, 0), ("this code", norms, code, 1))
    ]
    return Chart(
        "norms",
        "Norms of codes and inputs",
        "An example each. Near the diagonal the active atoms are nearly orthogonal and explain the input.",
        "points",
        tuple(series),
        x_label="norm of the input, less the bias",
        y_label="norm of the code",
    )
