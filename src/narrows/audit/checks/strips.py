"""How a prior draws, step by step: codes that are revealed a few at a time, or freed from noise."""

from __future__ import annotations

import torch
from torch import Tensor

from narrows.audit.evidence.view import View, device_of
from narrows.audit.report.finding import Finding, Gallery
from narrows.core import Autoencoder, Condition, seeded

__all__ = ["revealed", "strips"]

_ROWS, _STEPS = 6, 8


def strips(view: View) -> Finding:
    """Decoded states of a few draws from step to step, for priors that draw in steps; empty for others."""
    model = view.model
    prior = model.prior
    if prior is None or view.mixed or view.elements or not set(model.all_conditions) <= {"labels"}:
        return Finding()
    labels, condition = [""] * _ROWS, dict[str, Tensor]()
    if model.all_conditions:
        classes = view.batch.condition["labels"].shape[1] if "labels" in view.batch.condition else 0
        if not classes:
            return Finding()
        asked = torch.arange(_ROWS) % classes
        labels = [f"class {int(c)}" for c in asked]
        condition = {"labels": torch.nn.functional.one_hot(asked, classes).float().to(device_of(model))}
    with torch.no_grad(), seeded(view.seed):
        states = prior.states(_ROWS, condition, steps=_STEPS)
        if not states:
            return Finding()
        steps = [_decoded(model, symbols, hidden, condition) for symbols, hidden in states]
    if not isinstance(steps[0], Tensor) or steps[0].dim() < 3:
        return Finding()
    rows = torch.stack(steps, 1).cpu()
    masked = states[0][1] is not None
    name, title, says = (
        (
            "unmasking",
            "Codes revealed step by step",
            "Draws of the prior, a row each, before every pass and after the last. Codes that are still masked are "
            "decoded as the mean of the draws' codes.",
        )
        if masked
        else (
            "denoising",
            "Codes freed from noise step by step",
            "Draws of the prior, a row each: in every column the decoded estimate of the code at that level of noise, "
            "from noise alone to almost none.",
        )
    )
    return Finding(figures=(Gallery(name, title, says, tuple(zip(labels, rows, strict=True)), panels="row"),))


def _decoded(model: Autoencoder, symbols: Tensor, hidden: Tensor | None, condition: Condition) -> Tensor:
    z = model.bottleneck.from_symbols(symbols).z
    if hidden is not None:
        z = revealed(z, hidden)
    return model.likelihood.mean(model.decode(z, condition if model.conditions else {}))


def revealed(z: Tensor, hidden: Tensor) -> Tensor:
    """Tokens (n, L, F) with the mean of all in place of those that are hidden (n, L); others are returned unchanged.

    Example:
        >>> z = torch.tensor([[[1.0], [3.0]]])
        >>> revealed(z, torch.tensor([[True, False]])).flatten().tolist()
        [2.0, 3.0]
    """
    if z.dim() != 3 or z.shape[:2] != hidden.shape:
        return z
    return torch.where(hidden[..., None], z.mean((0, 1)), z)
