"""What a net predicts of a noisy state: data, noise, velocity or score, and the conversions between them."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from narrows.core.check import choice, refuse
from narrows.diffusion.paths import Level, Path

__all__ = ["PREDICTIONS", "Denoised", "check_prediction", "express", "gaussian", "read"]

PREDICTIONS = ("x", "e", "v", "score")
"""What a net may predict: data x, noise e, velocity v, or the score."""


class Denoised(NamedTuple):
    """The data and the noise that a state is thought to be made of, each (n, ...): x_t = alpha x + sigma e."""

    x: Tensor
    e: Tensor


def check_prediction(prediction: str, path: Path) -> str:
    """Return the name of a prediction, or refuse it.

    Raises:
        RequestError: it is unknown, or does not determine the data at t = 1 of this path.
    """
    choice("prediction", prediction, PREDICTIONS)
    if path.ends_in_noise and prediction in ("e", "score"):
        fix = "At t = 1 nothing of the data is left, so that the noise does not determine them."
        raise refuse("prediction", prediction, f"`x` or `v` on the path `{type(path).__name__.lower()}`", fix)
    return prediction


def read(prediction: str, value: Tensor, state: Tensor, level: Level, path: Path) -> Denoised:
    r"""Data and noise, of any of the four predictions.

    .. math::
        \epsilon = \frac{x_t - \alpha x}{\sigma} = -\sigma\, s,\qquad
        x = \frac{b\, x_t - \sigma v}{\alpha b - \sigma a},\quad
        \epsilon = \frac{\alpha v - a\, x_t}{\alpha b - \sigma a}\quad\text{with } v = a x + b \epsilon

    Args:
        prediction: ``x``, ``e``, ``v`` or ``score``.
        value: what is predicted, (n, ...).
        state: x_t, (n, ...).
        level: its alpha and sigma, which broadcast.
        path: the path, which defines the velocity.
    """
    alpha, sigma = level
    if prediction == "x":
        return Denoised(value, (state - alpha * value) / sigma)
    if prediction == "v":
        a, b = path.direction(level)
        scale = alpha * b - sigma * a
        return Denoised((b * state - sigma * value) / scale, (alpha * value - a * state) / scale)
    e = value if prediction == "e" else -sigma * value
    return Denoised((state - sigma * e) / alpha, e)


def express(prediction: str, denoised: Denoised, level: Level, path: Path) -> Tensor:
    """A prediction, of data and noise: the inverse of `read`."""
    if prediction == "v":
        a, b = path.direction(level)
        return a * denoised.x + b * denoised.e
    return {"x": denoised.x, "e": denoised.e, "score": -denoised.e / level.sigma}[prediction]


def gaussian(state: Tensor, level: Level) -> Denoised:
    r"""The posterior means of data and noise where data are N(0, I).

    .. math:: E[x \mid x_t] = \frac{\alpha\, x_t}{\alpha^2 + \sigma^2},\qquad
              E[\epsilon \mid x_t] = \frac{\sigma\, x_t}{\alpha^2 + \sigma^2}

    The score is then -x_t / (alpha^2 + sigma^2).
    """
    return Denoised(level.alpha / level.power * state, level.sigma / level.power * state)
