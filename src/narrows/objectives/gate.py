"""The objective of gated latents: the gate alone must reconstruct too, through a frozen decoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.func import functional_call

from narrows.core import Autoencoder, Pass
from narrows.core.evidence import Gate
from narrows.objectives.sparse import SparseObjective

__all__ = ["GatedObjective"]


class GatedObjective(SparseObjective):
    r"""A sparse objective with the auxiliary loss that trains the gate.

    .. math:: L = \|x - \hat x(z)\|^2 + \lambda \sum_n \mathrm{ReLU}(\pi_n)
        + \|x - \hat x_{frozen}(\mathrm{ReLU}(\pi))\|^2

    The frozen decoder has the decoder's detached atoms and bias, so that the gate learns to detect features
    and the decoder does not learn from the shrunken gate.

    Args:
        frozen: if false, the decoder learns from the auxiliary loss too, as in SAELens.
        options: arguments of `SparseObjective`.

    Reference:
        Rajamanoharan et al., Improving Dictionary Learning with Gated Sparse Autoencoders, 2024.
        arXiv:2404.16014
    """

    def __init__(self, *, frozen: bool = True, **options: Any) -> None:
        super().__init__(**options)
        self.frozen = frozen
        self.smooth = False  # type: ignore[misc]

    def extra(self, model: Autoencoder, passed: Pass) -> Mapping[str, Tensor]:
        """The error of the reconstruction from the gate alone, (B,)."""
        decoder, gate = model.decoder, passed.code[Gate].open
        z = (gate, *passed.code.z[1:]) if isinstance(passed.code.z, tuple) else gate
        inputs = (z, passed.batch.condition)
        if self.frozen:
            weights = {name: value.detach() for name, value in decoder.named_parameters()}
            output = functional_call(decoder, weights, inputs)
        else:
            output = decoder(*inputs)
        return {"gate": model.likelihood.nll(output, passed.batch.target, passed.weight)}
