"""An autoencoder with several sets of weights, whose predictions are averaged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from narrows.core import Autoencoder, Batch, Objective, Pass
from narrows.likelihoods.averaged import Averaged
from narrows.nets.ensemble import DecoderSets, EncoderSets, WeightSets

__all__ = ["EnsembleAutoencoder"]

_RATE = 0.004
"""Learning rate by default, of a chain with adapted scales."""


class EnsembleAutoencoder(Autoencoder):
    r"""An autoencoder with up to K sets of weights, such as draws of their posterior.

    .. math:: p(x' \mid x) = \frac{1}{K} \sum_{k=1}^K p\big(x' \mid f(g(x; w_k); w_k)\big),\qquad
              z = \frac{1}{K} \sum_{k=1}^K g(x; w_k)

    In `eval()` reconstructions and the distortion are means over the sets, each with its own encoder and decoder. The
    code z, for probes, priors and drawings, is the mean over the encoders, and all decoders decode it. In training
    there is one set, the weights that are trained; `WeightSets` keeps copies of them, with the other buffers.

    Args:
        model: encoder g, decoder f, p(x | z) of one set, a prior of codes, and a bottleneck without noise or cost.
        objective: the objective, instead of the model's.
        sets: K.
        thin: steps between two sets.
        burn_in: steps after which the first interval begins.

    Raises:
        RequestError: an argument out of range.
    """

    likelihood: Averaged
    encoder: EncoderSets
    decoder: DecoderSets

    default_plan: Mapping[str, object]
    steps: ClassVar[int] = 6000
    """Optimizer steps by default: the newest sets are kept, so there is no step at which to stop early."""

    def __init__(
        self, model: Autoencoder, objective: Objective, *, sets: int, thin: int, burn_in: int
    ) -> None:
        rank = len(model.likelihood.parameter_shape)
        super().__init__(
            EncoderSets(model.encoder, sets, thin, burn_in),
            model.bottleneck,
            DecoderSets(model.decoder, rank, sets, thin, burn_in),
            Averaged(model.likelihood, sets, thin, burn_in),
            objective,
            prior=model.prior,
            conditions=model.conditions,
        )
        self.default_plan = {"steps": self.steps, "validation": 0, "lr": _RATE}

    @property
    def weight_sets(self) -> tuple[WeightSets, ...]:
        """The sets of encoder, decoder and likelihood."""
        return self.encoder, self.decoder, self.likelihood.sets

    def forward(self, batch: Batch, samples: tuple[int, ...] = ()) -> Pass:
        """Encode and decode a batch with each set."""
        if self.encoder.members() == [None]:
            return super().forward(batch, samples)
        batch = batch.visible()
        features, outputs = [], []
        for first, second in zip(self.encoder.members(), self.decoder.members(), strict=True):
            h, output = self._through(first, second, batch, samples)
            features.append(h)
            outputs.append(output)
        mean = torch.stack(features).mean(0)
        return Pass(batch, self.bottleneck(mean, samples), self.decoder.joined(outputs), mean)

    def mean_under(self, weights: Sequence[Tensor], batch: Batch) -> Tensor:
        """E[x | z] of a batch under weights of encoder, decoder and likelihood, each (P,), with gradients."""
        encoder, decoder, likelihood = weights
        _, output = self._through(encoder, decoder, batch, ())
        mean: Tensor = self.likelihood.sets.under(likelihood, "mean", output)
        return mean

    def _through(
        self, first: Tensor | None, second: Tensor | None, batch: Batch, samples: tuple[int, ...]
    ) -> tuple[Tensor, Tensor]:
        """Features and output of a batch under weights of the encoder and of the decoder."""
        features: Tensor = self.encoder.under(first, batch.x, batch.condition)
        z = self.bottleneck(features, samples).z
        return features, self.decoder.under(second, z, batch.condition)
