"""Squared norms of Jacobians, estimated with random signs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["jacobian_norm"]


def jacobian_norm(
    function: Callable[[Tensor], Tensor], x: Tensor, output: Tensor | None = None, probes: int = 1
) -> Tensor:
    r"""An unbiased estimate of the squared Frobenius norm of the Jacobian at each example.

    .. math:: \|J\|_F^2 = E_v \|v^T J\|^2,\qquad J = \frac{\partial f(x)}{\partial x},\quad v_i = \pm 1

    It can be differentiated again, for parameters and for x. Without gradients (in evaluation) the function is
    evaluated once more. The sum of all outputs in place of a random v would be another quantity: it cancels.

    Args:
        function: f, from (N, ...) to (N, ...), each example by itself.
        x: the inputs, (N, ...).
        output: f(x), if it was computed from this very tensor.
        probes: number of draws of v.

    Returns:
        (N,).

    Example:
        >>> scale = torch.tensor([1.0, 2.0, 3.0])
        >>> jacobian_norm(lambda x: scale * x, torch.zeros(2, 3))
        tensor([14., 14.])

    Reference:
        Hutchinson, A Stochastic Estimator of the Trace of the Influence Matrix, 1989.
    """
    wanted = torch.is_grad_enabled()
    with torch.enable_grad():
        if output is None or not (x.requires_grad and output.requires_grad):
            x = x if x.requires_grad and wanted else x.detach().requires_grad_()
            output = function(x)
        total = x.new_zeros(len(x))
        for _ in range(probes):
            signs = torch.randint_like(output, 2) * 2 - 1
            (along,) = torch.autograd.grad(output, x, signs, create_graph=wanted, retain_graph=True)
            total = total + along.flatten(1).square().sum(1)
    return total / probes if wanted else (total / probes).detach()
