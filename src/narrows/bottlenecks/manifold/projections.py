"""The nearest rotation and the nearest line to a matrix, with gradients that exist where singular values coincide."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["exponential", "leading", "logarithm", "rotation"]

_LEAST = 1e-6
"""The smallest divisor of a gradient, near matrices that have no nearest rotation or line."""


def rotation(a: Tensor) -> Tensor:
    r"""The rotation nearest to a matrix (..., 3, 3): R = U diag(1, 1, det(U V')) V' of A = U S V'.

    Its gradient is that of the polar decomposition A = R S, which needs sums of singular values, where that of
    U and V needs differences: for :math:`d R = R\,[\omega]_\times`

    .. math:: (\mathrm{tr}(S) I - S)\, \omega = \mathrm{vee}(R^\top dA - dA^\top R)

    Example:
        >>> turned = rotation(torch.tensor([[0.0, -2.0, 0.0], [3.0, 0.0, 0.0], [0.0, 0.0, 1.0]]))
        >>> turned.round().abs().tolist()
        [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    with torch.no_grad():
        u, _, v = torch.linalg.svd(a)
        sign = torch.ones_like(a[..., 0])
        sign[..., 2] = torch.linalg.det(u @ v)
        found = (u * sign[..., None, :]) @ v
        stretch = found.mT @ a
        stretch = (stretch + stretch.mT) / 2
        eye = torch.eye(3, dtype=a.dtype, device=a.device)
        trace = stretch.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]
        inverse = torch.linalg.pinv((trace + _LEAST) * eye - stretch, hermitian=True)
    change = found.mT @ (a - a.detach())
    change = change - change.mT
    vee = torch.stack([change[..., 2, 1], change[..., 0, 2], change[..., 1, 0]], -1)
    return found + found @ _cross((inverse @ vee[..., None])[..., 0])


def leading(a: Tensor) -> Tensor:
    r"""The eigenvector of the largest eigenvalue of the symmetric part of matrices (..., 3, 3), up to its sign.

    .. math:: dv = \sum_{j} \frac{w_j\, w_j^\top dA\, v}{\lambda - \lambda_j}

    over the other eigenvectors w_j, which may have equal eigenvalues.

    Example:
        >>> leading(torch.diag(torch.tensor([1.0, 4.0, 1.0]))).abs()
        tensor([0., 1., 0.])
    """
    a = (a + a.mT) / 2
    with torch.no_grad():
        values, vectors = torch.linalg.eigh(a)
        found, others = vectors[..., 2], vectors[..., :2]
        gaps = (values[..., 2:] - values[..., :2]).clamp_min(_LEAST)
    change = (others.mT @ ((a - a.detach()) @ found[..., None]))[..., 0]
    return found + (others @ (change / gaps)[..., None])[..., 0]


def exponential(omega: Tensor) -> Tensor:
    """The rotation about the axis omega (..., 3) by an angle of its length: (..., 3, 3)."""
    squared = omega.square().sum(-1)[..., None, None].clamp_min(1e-12)
    angle, axis = squared.sqrt(), _cross(omega)
    eye = torch.eye(3, dtype=omega.dtype, device=omega.device)
    half = (0.5 * angle).sin()
    return eye + angle.sin() / angle * axis + 2 * half.square() / squared * (axis @ axis)


def logarithm(r: Tensor) -> Tensor:
    r"""The axis of a rotation (..., 3, 3), whose length is the angle, at most pi: the inverse of `exponential`.

    By the unit quaternion q = (w, v) of the rotation, exact at a half turn too: q q' is a linear function of R.

    Example:
        >>> logarithm(torch.diag(torch.tensor([-1.0, 1.0, -1.0]))).abs()
        tensor([0.0000, 3.1416, 0.0000])
    """
    trace = r.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]
    skew = torch.stack(
        [r[..., 2, 1] - r[..., 1, 2], r[..., 0, 2] - r[..., 2, 0], r[..., 1, 0] - r[..., 0, 1]], -1
    )
    eye = torch.eye(3, dtype=r.dtype, device=r.device)
    # Four times q q', less the identity.
    top = torch.cat([trace, skew[..., None, :]], -1)
    below = torch.cat([skew[..., None], r + r.mT - trace * eye], -1)
    q = torch.linalg.eigh(torch.cat([top, below], -2)).eigenvectors[..., 3]
    w, v = q[..., :1], q[..., 1:]
    v = torch.where(w < 0, -v, v)
    sine = v.norm(dim=-1, keepdim=True)
    tiny = torch.finfo(r.dtype).tiny
    return v * torch.where(sine > tiny, 2 * torch.atan2(sine, w.abs()) / sine.clamp_min(tiny), 2.0)


def _cross(omega: Tensor) -> Tensor:
    """The matrices of the cross products with vectors (..., 3)."""
    x, y, z = omega.unbind(-1)
    none = torch.zeros_like(x)
    rows = [none, -z, y, z, none, -x, -y, x, none]
    return torch.stack(rows, -1).unflatten(-1, (3, 3))
