"""Priors of the data themselves, for proofs that compare draws with the data."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from narrows.bottlenecks.deterministic.identity import Identity
from narrows.core import Autoencoder, Objective, Spec, seeded
from narrows.likelihoods.normal import Squared
from narrows.objectives.sliced import directions, sliced_wasserstein
from narrows.proofs.engine import Trial

__all__ = ["apart", "data_as_codes"]

_SLICES = 200


class _Reshaped(nn.Module):
    """Rows of numbers of a shape, whatever the condition."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x: Tensor, condition: object = None) -> Tensor:
        return x.reshape(*x.shape[:1], *self.shape)


def data_as_codes(spec: Spec) -> Autoencoder:
    """An autoencoder without weights whose codes are the data as vectors, so that a prior models the data.

    Example:
        >>> data_as_codes(Spec((1, 2, 2))).encode(Batch(torch.zeros(3, 1, 2, 2))).z.shape
        torch.Size([3, 4])
    """
    encoder, decoder = _Reshaped((spec.size,)), _Reshaped(spec.shape)
    return Autoencoder(encoder, Identity(), decoder, Squared(spec.shape), Objective()).eval()


def apart(trial: Trial, drawn: Tensor, data: Tensor) -> float:
    """The squared sliced Wasserstein distance of draws from as many examples."""
    with torch.no_grad(), seeded(trial.seed):
        flat = data.flatten(1)[: len(drawn)]
        return float(sliced_wasserstein(drawn.flatten(1), flat, directions(_SLICES, flat.shape[1], flat)))
