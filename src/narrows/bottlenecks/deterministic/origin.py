"""Codes without an encoder: the gradient of the distortion at the origin of the code."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from narrows.core import Autoencoder, Batch, Bottleneck, Code, Likelihood, Objective, Pass, Spec
from narrows.core.check import number, refuse, whole

__all__ = ["GradientOrigin", "checked"]

_LEAST = 1e-6
"""The smallest scale of the gradient."""


class GradientOrigin(Autoencoder):
    r"""An autoencoder whose features are the negative gradient of the distortion for the code, at the code 0.

    .. math:: h(x) = -s\, \nabla_z D(x, f(z)) \big|_{z=0},\qquad D(x, f(z)) = -\log p(x|z)

    The gradient is of the sum over elements and over the batch, so that an example's code depends neither on the
    others nor on their number. Losses differentiate through it, except where gradients are off.

    Args:
        encoder: maps h, (B, Z), to the features of the bottleneck.
        bottleneck: the bottleneck.
        decoder: f, twice differentiable.
        likelihood: p(x | z).
        objective: the objective.
        latent: Z.
        scale: s, above 0.

    Raises:
        RequestError: an argument out of range.
    """

    zero: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        bottleneck: Bottleneck,
        decoder: nn.Module,
        likelihood: Likelihood,
        objective: Objective,
        *,
        latent: int,
        scale: float = 1.0,
    ) -> None:
        super().__init__(encoder, bottleneck, decoder, likelihood, objective)
        self.scale = number("step_size", scale, low=_LEAST)
        self.register_buffer("zero", torch.zeros(whole("latent", latent)), persistent=False)

    def descent(self, batch: Batch) -> Tensor:
        """The negative gradient h of a batch without missing values, (B, Z)."""
        graph = torch.is_grad_enabled()
        with torch.enable_grad():
            z = self.zero.repeat(len(batch), 1).requires_grad_()
            z = (
                z.clone()
            )  # no leaf: torch's counter of operations refuses gradients for leaves that a module reads
            output = self.decode(z, batch.condition)
            distortion = self.likelihood.pass_nll(Pass(batch, Code(z), output))
            (slope,) = torch.autograd.grad(distortion.sum(), z, create_graph=graph)
        return -self.scale * slope

    def forward(self, batch: Batch, samples: tuple[int, ...] = ()) -> Pass:
        """Take the gradient at the origin, and decode the code that it gives."""
        batch = batch.visible()
        features = self.encoder(self.descent(batch))
        code = self.bottleneck(features, samples)
        return Pass(batch, code, self.decode(code.z, batch.condition), features)

    def encode(self, batch: Batch, samples: tuple[int, ...] = ()) -> Code:
        """The code of a batch; ``z`` is ``(*samples, B, Z)``."""
        code: Code = self.bottleneck(self.encoder(self.descent(batch.visible())), samples)
        return code


def checked(spec: Spec) -> Spec:
    """The spec of data whose codes can be gradients.

    Raises:
        RequestError: the data are counts, whose gradients have no bound, or have targets, which codes would read.
    """
    if spec.target is not None:
        raise refuse("target", spec.target, "left out: a code is a gradient of what it decodes", "Use `vae`.")
    if spec.values == "counts":
        fix = "Use `vae`, which reads their logarithm, or scale the data."
        raise refuse("spec", "counts", "values from 0 to 1 or real values: codes grow with the data", fix)
    return spec
