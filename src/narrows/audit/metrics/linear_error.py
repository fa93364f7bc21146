"""How much of an error a linear map of the input predicts, and one step of gradient pursuit."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["LinearError", "linear_error", "linear_residual", "pursuit_step"]


def linear_residual(x: Tensor, y: Tensor, fit: Tensor, test: Tensor) -> Tensor:
    r"""What is left of y after a linear map of x with a bias, fitted by least squares on other rows.

    .. math:: r = y - \bar y - (x - \bar x) W, \qquad W = \Sigma_{xx}^{+} \Sigma_{xy}

    Directions in which x does not vary are left out of the inverse.

    Args:
        x: inputs, (T, D).
        y: what is predicted, (T, E).
        fit: numbers of the rows of the fit.
        test: numbers of the rows that are predicted.

    Returns:
        (rows of `test`, E), float64.

    Example:
        >>> x = torch.randn(100, 3)
        >>> rows = torch.arange(100)
        >>> float(linear_residual(x, 2 * x[:, :1] + 5, rows[:50], rows[50:]).abs().max()) < 1e-6
        True
    """
    near, wanted = x[fit].double(), y[fit].double()
    centre, middle = near.mean(0), wanted.mean(0)
    near = near - centre
    weights = torch.linalg.pinv(near.T @ near, hermitian=True, rtol=1e-10) @ (near.T @ (wanted - middle))
    return y[test].double() - middle - (x[test].double() - centre) @ weights


@dataclass(frozen=True)
class LinearError:
    """Shares of an error that a linear map of the input predicts.

    Args:
        error: R^2 of the error vector, by sums of squares over all dimensions.
        norm: R^2 of its squared norm.
        nonlinear: the sum of squares that is not predicted, as a share of the target's variance.
        fvu: the error's sum of squares, as a share of the target's variance.
    """

    error: float
    norm: float
    nonlinear: float
    fvu: float


def linear_error(x: Tensor, error: Tensor, variance: Tensor, fit: Tensor, test: Tensor) -> LinearError:
    r"""How much of an error vector, and of its squared norm, is linear in the input.

    .. math:: R^2(e \mid x) = 1 - \frac{\sum_t \|e_t - \hat e(x_t)\|^2}{\sum_t \|e_t - \bar e\|^2}, \qquad
        \mathrm{FVU}_{nl} = \frac{\sum_t \|e_t - \hat e(x_t)\|^2}{\sum_t \|y_t - \bar y\|^2}

    Args:
        x: inputs, (T, D).
        error: of the reconstruction, (T, E).
        variance: the target y, whose variance is the unit of the last two figures, (T, E).
        fit: numbers of the rows of the fit.
        test: numbers of the rows that are predicted.

    Reference:
        Engels, Smith, Tegmark, Decomposing the dark matter of sparse autoencoders, 2024. arXiv:2410.14670
    """
    left = linear_residual(x, error, fit, test).square().sum()
    norms = error.double().square().sum(1, keepdim=True)
    unlike = linear_residual(x, norms, fit, test).square().sum()
    total = _about_mean(variance[test])
    return LinearError(
        error=float(1 - left / _about_mean(error[test])),
        norm=float(1 - unlike / _about_mean(norms[test])),
        nonlinear=float(left / total),
        fvu=float(error[test].double().square().sum() / total),
    )


def _about_mean(y: Tensor) -> Tensor:
    """The sum of squares about the mean of the rows; tiny instead of 0."""
    y = y.double()
    return (y - y.mean(0)).square().sum().clamp_min(1e-300)


def pursuit_step(
    rest: Tensor, z: Tensor, atoms: Tensor, *, signed: bool = False, add: Tensor | None = None
) -> Tensor:
    r"""The error after one step of gradient pursuit on codes that an encoder gave.

    .. math:: S' = S \cup \{\arg\max_j \langle a_j, r \rangle\}, \qquad g_S = A_{S'} r, \qquad c = A_{S'}^\top g,
        \qquad z' = \Big[ z + \frac{\langle c, r \rangle}{\|c\|^2} g \Big]_+

    Args:
        rest: the error r of the reconstruction, (T, D).
        z: the codes, (T, N).
        atoms: (N, D), of any norm; coefficients are counted in units of their lengths.
        signed: whether coefficients may be negative.
        add: the latents to add, (T,), instead of those with the largest inner product.

    Returns:
        The new error, (T, D).

    Example:
        >>> pursuit_step(torch.tensor([[0.0, 2.0]]), torch.tensor([[1.0, 0.0]]), torch.eye(2))
        tensor([[0., 0.]])
    """
    lengths = atoms.norm(dim=1)
    unit, values = F.normalize(atoms, dim=1), z * lengths
    products = rest @ unit.T
    best = (products.abs() if signed else products).argmax(1) if add is None else add
    support = (values != 0).scatter(1, best[:, None], True)
    gradient = products * support
    direction = gradient @ unit
    step = (direction * rest).sum(1, keepdim=True) / direction.square().sum(1, keepdim=True).clamp_min(1e-30)
    new = values + step * gradient
    return rest - ((new if signed else new.clamp_min(0)) - values) @ unit
