"""What the model makes of its own samples and reconstructions: generated loss, and drift by re-encoding."""

from __future__ import annotations

import torch
from torch import Tensor

from narrows.audit.evidence.generated import of_examples, reencoded, weighted_loss
from narrows.audit.evidence.view import View, device_of
from narrows.audit.report.finding import Check, Finding
from narrows.core.check import NarrowsError
from narrows.train.stopping import last_step

__all__ = ["generated_loss"]

_ROWS, _ROUNDS = 512, (1, 2, 5)


def generated_loss(view: View) -> Finding:
    """The loss of decoded draws of the prior beside that of the examples, and the distance after 1, 2 and 5 rounds.

    Reference:
        Chou, Generated Loss and Augmented Training of MNIST VAE, 2019. arXiv:1904.10937
    """
    if not _applies(view):
        return Finding()
    device = device_of(view.model)
    few = view.batch[slice(0, _ROWS)].to(device)
    drift = _drift(view, few.x, [x.cpu() for x in reencoded(view.model, few, max(_ROUNDS))])
    try:
        made = view.model.sample(len(few), few.condition)
    except NarrowsError:
        return Finding(drift)  # no prior
    step = last_step(view.history)
    generated = float(weighted_loss(view.model, of_examples(few, made), step).double().mean())
    real = float(weighted_loss(view.model, few, step).double().mean())
    unit = view.model.likelihood.unit
    says = (
        f"Distortion plus weighted rate of decoded draws of the prior; of the examples it is {real:.4g}. "
        "Small if samples are simple too: it does not replace a comparison of samples with the data."
    )
    return Finding((Check("generated/loss", generated, unit, "info", says, n=len(few)), *drift))


def _applies(view: View) -> bool:
    """Whether examples are arrays of numbers that the model encodes to a posterior and decodes completely."""
    x, target = view.batch.x, view.batch.target
    plain = isinstance(x, Tensor) and isinstance(target, Tensor) and x.is_floating_point()
    if not plain or view.rate is None or view.elements or view.mixed or view.weight is not None:
        return False
    same = x.shape == target.shape and bool(torch.equal(x, target))
    return same and view.output.shape == x.shape and not view.model.likelihood.autoregressive


def _drift(view: View, x: Tensor, rounds: list[Tensor]) -> tuple[Check, ...]:
    """The mean squared distance from the examples after some rounds, in units of their variance."""
    variance = (x - x.mean(0)).square().mean()
    if not float(variance) > 0:
        return ()
    return tuple(
        Check(
            f"generated/drift-{k}",
            float((rounds[k - 1].to(x) - x).square().mean() / variance),
            "",
            "info",
            f"Squared distance from the examples after {k} round{'s' * (k > 1)} of encoding and decoding, of variance.",
            n=len(x),
        )
        for k in _ROUNDS
    )
