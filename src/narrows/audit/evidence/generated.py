"""What a model makes of its own examples: their loss, and what repeated encoding and decoding changes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from narrows.core import Autoencoder, Batch, Pass

__all__ = ["of_examples", "reencoded", "weighted_loss"]

_CHUNK = 256


def of_examples(batch: Batch, x: Tensor) -> Batch:
    """A batch of other examples, with the conditions of the first rows."""
    return replace(batch[slice(0, len(x))], x=x, target=x)


@torch.no_grad()
def weighted_loss(model: Autoencoder, batch: Batch, step: int = 0) -> Tensor:
    r"""The loss of each example, at one draw of its posterior, (B,).

    .. math:: \ell(x) = -\log p(x|z) + \sum_c w_c\, c(x),\qquad z \sim q(z|x)

    For a beta-VAE it is :math:`D + \beta R`.

    Args:
        model: in `eval()`, with a posterior.
        batch: examples, on the model's device.
        step: the training step whose weights w count.
    """
    return torch.cat([_loss(model, batch[slice(i, i + _CHUNK)], step) for i in range(0, len(batch), _CHUNK)])


def _loss(model: Autoencoder, batch: Batch, step: int) -> Tensor:
    passed = model(batch)
    drawn = model.bottleneck(passed.features, (1,))
    output = model.decode(drawn.z, passed.batch.condition)
    distortion = model.likelihood.pass_nll(Pass(passed.batch, drawn, output))[0]
    weight = model.objective.weight
    terms = {"distortion": distortion, **passed.code.costs}
    return torch.stack(
        [weight(name, step) * term.expand(len(distortion)) for name, term in terms.items()]
    ).sum(0)


@torch.no_grad()
def reencoded(model: Autoencoder, batch: Batch, rounds: int) -> Iterator[Tensor]:
    r"""The examples after 1, 2, ... rounds of encoding and decoding at the mean, each (B, ...).

    .. math:: x_{k+1} = E[x \mid z = \mu(x_k)]

    Args:
        model: in `eval()`.
        batch: examples x_0, on the model's device.
        rounds: their number.
    """
    for _ in range(rounds):
        x = torch.cat([model.reconstruct(batch[slice(i, i + _CHUNK)]) for i in range(0, len(batch), _CHUNK)])
        yield x
        batch = of_examples(batch, x)
