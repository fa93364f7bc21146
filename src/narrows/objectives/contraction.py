"""Norms of the Jacobians of a reconstruction and of a code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from narrows.core import Autoencoder, Objective, Pass
from narrows.core.check import number, refuse, whole
from narrows.core.schedules import Schedule
from narrows.nets.tied import SigmoidLayer
from narrows.objectives.jacobian import jacobian_norm

__all__ = ["CodeContraction", "Contraction"]


class Contraction(Objective):
    r"""Distortion plus the squared norm of the Jacobian of the reconstruction r.

    .. math:: E\Big[-\log p(x \mid g(f(x))) + \sigma^2 \left\| \frac{\partial r(x)}{\partial x} \right\|_F^2 \Big]

    With the squared error and small sigma, (r(x) - x) / sigma^2 is the score of the data, the gradient of log p(x).

    Args:
        sigma: the square root of the penalty's weight, in units of the data.
        probes: random directions with which the norm is estimated at each step.

    Raises:
        RequestError: `sigma` is not above 0, or `probes` is below 1.

    Reference:
        Alain and Bengio, What Regularized Auto-Encoders Learn from the Data Generating Distribution, 2014, equation 11.
        arXiv:1211.4246
    """

    def __init__(self, sigma: float = 0.1, probes: int = 1) -> None:
        if not number("sigma", sigma) > 0:
            raise refuse("sigma", sigma, "more than 0")
        super().__init__(weights={"contraction": sigma**2})
        self.probes = whole("probes", probes)

    def extra(self, model: Autoencoder, passed: Pass) -> Mapping[str, Tensor]:
        """The squared norm of each example, (B,)."""

        def reconstruct(x: Tensor) -> Tensor:
            found: Tensor = model.reconstruct(replace(passed.batch, x=x, target=None))
            return found

        return {"contraction": jacobian_norm(reconstruct, passed.batch.x, probes=self.probes)}


class CodeContraction(Objective):
    r"""Distortion plus the squared norm of the code's Jacobian.

    .. math:: E\Big[-\log p(x \mid g(h)) + \lambda \left\| \frac{\partial h(x)}{\partial x} \right\|_F^2 \Big]

    It is exact for one layer of sigmoids, and estimated with one random direction for others.

    Args:
        weight: lambda.

    Reference:
        Rifai et al., Contractive Auto-Encoders: Explicit Invariance During Feature Extraction, 2011.
    """

    def __init__(self, weight: Schedule = 0.1) -> None:
        super().__init__(weights={"contraction": weight})

    def extra(self, model: Autoencoder, passed: Pass) -> Mapping[str, Tensor]:
        """The squared norm of each example, (*samples, B)."""
        if isinstance(model.encoder, SigmoidLayer):
            return {"contraction": model.encoder.jacobian_norm(passed.code.z)}

        def encode(x: Tensor) -> Tensor:
            found: Tensor = model.encode(replace(passed.batch, x=x, target=None)).z
            return found

        return {"contraction": jacobian_norm(encode, passed.batch.x)}
