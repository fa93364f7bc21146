"""Matching pursuit and orthogonal matching pursuit for a whole batch at once.

    r_0 = x,   j_t = argmax_j <a_j, r_{t-1}>,   z_t = <a_{j_t}, r_{t-1}>,   r_t = r_{t-1} - z_t a_{j_t}

Matching pursuit keeps earlier coefficients; orthogonal pursuit solves for all of them again after each
selection. The main cost are the inner products with all N atoms at each step: B D N multiply-adds from the
residual, or B N with the atoms' Gram matrix, which updates the inner products of the step before.

References:
    Mallat and Zhang (1993), *Matching pursuits with time-frequency dictionaries*, IEEE Trans. Signal
    Processing 41. Pati, Rezaiifar, Krishnaprasad (1993), *Orthogonal matching pursuit*, Asilomar.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from narrows.core import Sparse
from narrows.core.check import whole
from narrows.kernels.sparse import _chunks

__all__ = ["matching_pursuit", "orthogonal_pursuit"]

_GRAM = 4096
"""The widest dictionary whose Gram matrix is kept: 64 MB in float32."""


def matching_pursuit(
    x: Tensor,
    atoms: Tensor,
    k: int,
    *,
    signed: bool = False,
    tolerance: float = 0.0,
    residual: float = 0.0,
    stop_on_repeat: bool = False,
) -> Sparse:
    r"""The code of k steps of matching pursuit; gradients flow through all steps at fixed indices.

    .. math:: j_t = \arg\max_j \langle a_j, r_{t-1} \rangle, \qquad z_t = \langle a_{j_t}, r_{t-1} \rangle,
        \qquad r_t = r_{t-1} - z_t a_{j_t}

    If an atom is selected again, its first coefficient is updated, and the repeated entry has value 0.

    Args:
        x: the inputs, (B, D).
        atoms: one atom of unit norm per row, (N, D); a row of zeros is never used.
        k: the number of steps.
        signed: select by the absolute inner product; otherwise coefficients are nonnegative.
        tolerance: an example stops when the norm of its residual falls below this fraction of its own norm.
        residual: an example stops when the norm of its residual falls below this.
        stop_on_repeat: an example stops when an atom is selected again.

    Returns:
        indices and values, (B, k).

    Example:
        >>> matching_pursuit(torch.tensor([[1.0, 3.0]]), torch.eye(2), 2).values
        tensor([[3., 1.]])
    """
    whole("k", k, low=1, high=len(atoms), fix="k cannot exceed the number of atoms.")
    stop = _Stop(tolerance, residual, stop_on_repeat)
    values, indices = _Greedy.apply(x, atoms, k, signed, stop)
    if k == 1:
        return Sparse(indices, values, len(atoms))
    # `argmax` returns the first of equals: the step at which this atom was first selected.
    first = (indices.unsqueeze(2) == indices.unsqueeze(1)).to(torch.uint8).argmax(2)
    return Sparse(indices, torch.zeros_like(values).scatter_add(1, first, values), len(atoms))


@torch.no_grad()
def orthogonal_pursuit(x: Tensor, atoms: Tensor, k: int, weight: Tensor | None = None) -> Sparse:
    r"""The code of k steps of orthogonal matching pursuit, without gradients.

    .. math:: j_t = \arg\max_j \frac{|\langle a_j, r_{t-1} \rangle_w|}{\|a_j\|_w}, \qquad
        z = \arg\min_z \Big\| x - \sum_{s \le t} z_s a_{j_s} \Big\|_w, \qquad r_t = x - \sum_{s \le t} z_s
        a_{j_s}

    Args:
        x: the inputs, (B, D).
        atoms: one atom of any norm per row, (N, D).
        k: the number of steps.
        weight: mask of the observed coordinates, (B, D) of 0 and 1; all when None.

    Returns:
        indices, distinct in each row, and values, (B, k).

    Example:
        >>> orthogonal_pursuit(torch.tensor([[1.0, 3.0]]), torch.eye(2), 2).values.round(decimals=4)
        tensor([[3., 1.]])
    """
    whole("k", k, low=1, high=len(atoms), fix="k cannot exceed the number of atoms.")
    weight = x.new_ones(1, x.shape[1]) if weight is None else weight
    x = x * weight
    tiny = torch.finfo(x.dtype).tiny
    lengths = (weight @ atoms.square().T).sqrt().clamp_min(tiny**0.5)
    indices = torch.zeros(len(x), k, dtype=torch.int64, device=x.device)
    chosen = x.new_zeros(len(x), k, x.shape[1])
    gram, fit = x.new_zeros(len(x), k, k), x.new_zeros(len(x), k)
    rest, values = x, fit
    for t in range(k):
        score = (rest @ atoms.T).abs_().div_(lengths)
        score.scatter_(1, indices[:, :t], -1.0)
        indices[:, t] = score.max(1).indices
        new = atoms[indices[:, t]] * weight
        chosen[:, t] = new
        products = torch.linalg.vecdot(chosen[:, : t + 1], new.unsqueeze(1))
        gram[:, t, : t + 1] = gram[:, : t + 1, t] = products
        fit[:, t] = torch.linalg.vecdot(new, x)
        values = _solve(gram[:, : t + 1, : t + 1], fit[:, : t + 1])
        rest = x - torch.bmm(values.unsqueeze(1), chosen[:, : t + 1]).squeeze(1)
    return Sparse(indices, values, len(atoms))


def _solve(gram: Tensor, fit: Tensor) -> Tensor:
    """The least-squares coefficients (B, t); linearly dependent atoms share their coefficient."""
    diagonal = gram.diagonal(dim1=1, dim2=2)
    ridge = 8 * torch.finfo(gram.dtype).eps * diagonal.amax(1, keepdim=True) + torch.finfo(gram.dtype).tiny
    factor, _ = torch.linalg.cholesky_ex(gram + torch.diag_embed(ridge.expand_as(diagonal)))
    found = torch.cholesky_solve(fit.unsqueeze(2), factor).squeeze(2)
    return torch.where(found.isfinite(), found, 0.0)


class _Stop(NamedTuple):
    """When an example takes no more steps, as in `matching_pursuit`."""

    tolerance: float
    residual: float
    repeat: bool


class _Greedy(torch.autograd.Function):
    """The greedy steps in chunks; backward recovers each residual from the next one."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, atoms: Tensor, k: int, signed: bool, stop: _Stop
    ) -> tuple[Tensor, Tensor]:
        # The Gram matrix costs N D N multiply-adds, so it is used only if the steps of the batch would cost
        # more.
        gram = atoms @ atoms.T if len(atoms) <= min(_GRAM, k * len(x)) else None
        values, rest = x.new_zeros(len(x), k), torch.empty_like(x)
        indices = torch.zeros(len(x), k, dtype=torch.int64, device=x.device)
        for part in _chunks(len(x), len(atoms)):
            rest[part] = _steps(x[part], atoms, gram, values[part], indices[part], signed, stop)
        ctx.save_for_backward(atoms, values, indices, rest)
        ctx.mark_non_differentiable(indices)
        return values, indices

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Any) -> tuple[Tensor | None, ...]:
        atoms, values, indices, rest = ctx.saved_tensors
        to_rest, to_atoms = torch.zeros_like(rest), torch.zeros_like(atoms)
        rest = rest.clone()
        for t in reversed(range(values.shape[1])):
            index, value = indices[:, t], values[:, t : t + 1]
            atom = atoms.index_select(0, index)
            to_value = grad[:, t : t + 1] - torch.linalg.vecdot(atom, to_rest).unsqueeze(1)
            to_value = to_value.masked_fill_(value == 0, 0.0)  # no step was taken
            rest.addcmul_(value, atom)
            to_atoms.index_add_(0, index, to_value * rest - value * to_rest)
            to_rest.addcmul_(to_value, atom)
        return to_rest, to_atoms, None, None, None


def _steps(
    x: Tensor,
    atoms: Tensor,
    gram: Tensor | None,
    values: Tensor,
    indices: Tensor,
    signed: bool,
    stop: _Stop,
) -> Tensor:
    """Compute values and indices (B, k) of rows x (B, D) in place, and return the residual."""
    rest, fits = x.clone(), x @ atoms.T
    least = stop.tolerance**2 * x.square().sum(1) + stop.residual**2
    done = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    for t in range(values.shape[1]):
        index = (fits.abs() if signed else fits).max(1).indices  # on CPU faster than `argmax`
        atom = atoms.index_select(0, index)
        value = torch.linalg.vecdot(atom, rest)
        if not signed:
            value = value.clamp_min_(0.0)
        if stop.tolerance > 0 or (stop.residual > 0 and t > 0):
            value = torch.where(rest.square().sum(1) > least, value, 0.0)
        if stop.repeat:  # the step that repeats an atom is still taken
            value = torch.where(done, 0.0, value)
            done |= (indices[:, :t] == index[:, None]).any(1) | (value == 0)
        values[:, t], indices[:, t] = value, index
        rest.addcmul_(value.unsqueeze(1), atom, value=-1)
        if t + 1 < values.shape[1]:
            if gram is None:
                fits = rest @ atoms.T
            else:
                fits.addcmul_(value.unsqueeze(1), gram.index_select(0, index), value=-1)
    return rest
