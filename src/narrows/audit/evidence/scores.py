"""Anomaly scores of examples: -log p(x), distortion and rate, and the terms of their elements."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from narrows.audit.evidence.likelihood import predictive_nll, rate_of
from narrows.core import Autoencoder, Batch, evaluation_mode, seeded
from narrows.core.check import NarrowsError, RequestError, whole
from narrows.core.values import vectorised

__all__ = ["SAMPLES", "each_alone", "score_terms"]

SAMPLES = 16
"""Codes drawn for the score of an example; the page on speed compares numbers of them."""

_DRAWN = 16
"""Codes of each example that are held in memory at once."""


def score_terms(
    model: Autoencoder, batch: Batch, samples: int = SAMPLES, seed: int = 0, elements: bool = False
) -> dict[str, Tensor]:
    r"""The terms of which anomaly scores are made, by name.

    .. math:: \text{nll} = -\log \frac1K \sum_k \frac{p(x|z_k)\,p(z_k)}{q(z_k|x)},\quad
              \text{distortion} = \frac1K \sum_k -\log p(x|z_k),\quad
              \text{rate} = \mathrm{KL}(q(z|x)\,\|\,p(z)),\quad z_k \sim q(z|x)

    All examples have the same draws, those that an example has in a batch of its own: a score depends on no other
    example, but for rounding. A code without a posterior has only the distortion, of its one code; a model that
    predicts a target only the ``nll``, -log p(y | x).

    Args:
        model: the model; its mode is restored afterwards.
        batch: B examples.
        samples: K.
        seed: of the draws.
        elements: also ``elements``, the terms of the distortion by element, (B, *shape), NaN where a value is missing.

    Returns:
        ``nll``, ``distortion`` and ``rate``, (B,), as far as the model has them.

    Raises:
        RequestError: elements are asked for, and the likelihood is no sum over them.
    """
    samples = whole("samples", samples)
    with evaluation_mode(model):
        if model.predicts:
            return {
                "nll": each_alone(lambda b: {"nll": predictive_nll(model, b, samples, seed)}, batch, seed)[
                    "nll"
                ]
            }
        rate = model.encode(batch).rate
        if rate is None:
            found = _terms(model, batch, (), elements)
            return _checked(found) if elements else found
        found = each_alone(lambda b: _drawn(model, b, samples, elements), batch, seed)
        return {**(_checked(found) if elements else found), "rate": rate}


def each_alone(
    function: Callable[[Batch], Mapping[str, Tensor]], batch: Batch, seed: int = 0
) -> dict[str, Tensor]:
    """A function of each example in a batch of its own, all with the same random draws.

    The examples are computed together where the function can be vectorised, otherwise one after the other.

    Args:
        function: of a batch of one example; its tensors have a batch axis of one.
        batch: B examples.
        seed: of the draws.

    Returns:
        The tensors of all examples, (B, ...).

    Example:
        >>> noisy = lambda b: {"x": b.x + torch.rand(1, 1)}
        >>> found = each_alone(noisy, Batch(torch.zeros(4, 1)))["x"]
        >>> bool((found == found[0]).all())
        True
    """
    tensors: list[Tensor] = []

    def collect(tensor: Tensor) -> Tensor:
        tensors.append(tensor)
        return tensor

    batch.map(collect)

    def one(*parts: Tensor) -> dict[str, Tensor]:
        rest = iter(parts)
        found = function(batch.map(lambda _: next(rest).unsqueeze(0)))
        return {name: value.squeeze(0) for name, value in found.items()}

    try:
        with seeded(seed), vectorised():
            return dict(torch.func.vmap(one, randomness="same")(*tensors))
    except NarrowsError:
        raise
    except Exception:  # whatever cannot be vectorised; an error of the function itself is raised again below
        rows = [_alone(function, batch[slice(i, i + 1)], seed) for i in range(len(batch))]
    return {name: torch.cat([row[name] for row in rows]) for name in rows[0]}


def _alone(
    function: Callable[[Batch], Mapping[str, Tensor]], batch: Batch, seed: int
) -> Mapping[str, Tensor]:
    with seeded(seed):
        return function(batch)


def _drawn(model: Autoencoder, batch: Batch, samples: int, elements: bool) -> dict[str, Tensor]:
    """The terms over K codes drawn from the posterior."""
    nats: list[Tensor] = []
    sums: dict[str, Tensor] = {}
    for start in range(0, samples, _DRAWN):
        found = _terms(model, batch, (min(_DRAWN, samples - start),), elements)
        nats.append(found.pop("nats"))
        for name, term in found.items():
            sums[name] = sums.get(name, 0) + term.sum(0)
    means = {name: total / samples for name, total in sums.items()}
    return {"nll": math.log(samples) - (-torch.cat(nats)).logsumexp(0), **means}


def _terms(model: Autoencoder, batch: Batch, samples: tuple[int, ...], elements: bool) -> dict[str, Tensor]:
    """The distortion and with samples ``nats``, -log w, each (*samples, B); and the terms of the elements."""
    passed = model(batch, samples)
    found = {"distortion": model.likelihood.pass_nll(passed)}
    if samples:
        found["nats"] = found["distortion"] + rate_of(passed)
    if elements:
        terms = model.likelihood.elements_nll(passed.output, passed.batch.target)
        weight = passed.weight
        found["elements"] = (
            terms
            if weight is None
            else torch.where(weight != 0, terms * weight, terms.new_full((), math.nan))
        )
    return found


def _checked(found: dict[str, Tensor]) -> dict[str, Tensor]:
    """The terms, if those of the elements sum to the distortion.

    Raises:
        RequestError: they do not.
    """
    sums, whole_terms = found["elements"].flatten(1).double().nansum(1), found["distortion"].double()
    if not torch.allclose(sums, whole_terms, rtol=1e-3, atol=1e-2):
        raise RequestError(
            "The distortion of this model is no sum over elements, so no element can be named that makes an example "
            "odd. Leave out ``explain``."
        )
    return found
