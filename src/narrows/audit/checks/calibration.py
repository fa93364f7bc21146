"""Predicted labels: how often they are right, and how far their probabilities can be trusted."""

from __future__ import annotations

import torch

from narrows.audit.evidence.reseeds import spread
from narrows.audit.evidence.view import View, device_of
from narrows.audit.metrics.calibration import calibration_error
from narrows.audit.report.finding import Check, Finding
from narrows.core.predictor import Predictor

__all__ = ["calibration"]

_FAR = 0.1
"""A calibration error that asks for attention."""


def calibration(view: View) -> Finding:
    """Accuracy, negative log-probability and calibration error of predicted labels."""
    model = view.model
    if not isinstance(model, Predictor) or not model.likelihood.discrete:
        return Finding()
    with torch.no_grad():
        p = model.predict(view.batch.to(str(device_of(model)))).cpu().double()
    known = slice(None) if view.weight is None else view.weight.squeeze(1) > 0
    p, labels = p[known], view.batch.target.squeeze(1)[known]
    if not len(p):
        return Finding()
    n, seed = len(p), view.seed
    right = (p.argmax(1) == labels).double()
    nll = -p.gather(1, labels[:, None]).squeeze(1).clamp_min(1e-300).log()
    ece = calibration_error(p, labels)
    says = "The mean distance of the probability of the predicted class from the share of right predictions."
    if ece > _FAR:
        over = float(p.max(1).values.mean()) > float(right.mean())
        fix = "high: a larger beta lowers them" if over else "low: train longer, or with a smaller beta"
        says += f" The probabilities are too {fix}."
    return Finding(
        (
            Check(
                "label/accuracy",
                float(right.mean()),
                says="The share of examples whose most probable class is the true one.",
                spread=spread(lambda rows: float(right[rows].mean()), n, seed),
                n=n,
            ),
            Check(
                "label/nll",
                float(nll.mean()),
                "nats",
                says="-log p(y | x) of the true class, on average.",
                spread=spread(lambda rows: float(nll[rows].mean()), n, seed),
                n=n,
            ),
            Check(
                "label/calibration",
                ece,
                "",
                "warn" if ece > _FAR else "ok",
                says,
                spread=spread(lambda rows: calibration_error(p[rows], labels[rows]), n, seed),
                n=n,
            ),
        )
    )
