"""Small codes, and a decoder that changes slowly."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from narrows.core import Autoencoder, Objective, Pass
from narrows.core.check import choice
from narrows.core.schedules import Schedule
from narrows.objectives.jacobian import jacobian_norm

__all__ = ["SmoothDecoder"]


class SmoothDecoder(Objective):
    r"""Distortion, the norm of the code, and a penalty that keeps the decoder g smooth.

    .. math:: -\log p(x \mid g(z)) + \frac{\beta}{2} \|z\|^2 + \lambda R,\qquad
              R_{\mathrm{gp}} = \left\| \frac{\partial g(z)}{\partial z} \right\|_F^2,\quad
              R_{\mathrm{l2}} = \|\theta_g\|^2

    The gradient penalty is estimated with one random direction of the output.

    Args:
        penalty: ``gp``, the gradient penalty; ``l2``, the squared norm of the decoder's weights; ``none``.
        beta: the weight of half the squared norm of the code.
        weight: lambda.

    Raises:
        RequestError: an unknown penalty.

    Reference:
        Ghosh et al., From Variational to Deterministic Autoencoders, 2020, section 3. arXiv:1903.12436
    """

    def __init__(self, penalty: str = "gp", beta: Schedule = 1e-2, weight: Schedule = 1e-3) -> None:
        super().__init__(weights={"norm": beta, "gp": weight, "l2": weight})
        self.penalty = choice("penalty", penalty, ("gp", "l2", "none"))

    def extra(self, model: Autoencoder, passed: Pass) -> Mapping[str, Tensor]:
        """Half the squared norm of each code, (*samples, B), and the penalty."""
        z: Tensor = passed.code.z
        terms = {"norm": 0.5 * z.square().sum(-1)}
        if self.penalty == "gp":
            terms["gp"] = jacobian_norm(lambda z: model.decode(z, passed.batch.condition), z, passed.output)
        elif self.penalty == "l2":
            weights = [p for p in model.decoder.parameters() if p.dim() > 1]
            terms["l2"] = sum((p.square().sum() for p in weights), z.new_zeros(()))
        return terms
