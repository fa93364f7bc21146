"""The JumpReLU sparse autoencoder."""

from typing import Any

from narrows.bottlenecks.sparse.jumprelu import JumpReLU
from narrows.core import Autoencoder, Spec
from narrows.core.check import RequestError, number
from narrows.core.schedules import Schedule
from narrows.methods.sparse._assemble import penalised_terms, sparse_autoencoder, spec_and_latents
from narrows.objectives import TARGETS
from narrows.objectives.dead_latents import DeadLatents
from narrows.objectives.sparse import SparseObjective
from narrows.objectives.target import Target, TargetL0

_FIRM = 20
"""Weight of the quadratic penalty per target L0: its minimum is then a few per cent off the target."""


def jumprelu_sae(
    spec: Spec | tuple[int, ...],
    *,
    latents: int = 0,
    penalty: str = "l0",
    weight: Schedule = 0.0,
    price_target: str | Target = "none",
    threshold: float = 0.0,
    bandwidth: float = 0.0,
    positive: str = "log",
    threshold_speed: float = 10.0,
    ste_to_input: bool = False,
    dead: str | DeadLatents = "none",
    unit_norm: bool = True,
    normalise: bool = True,
    centre: bool = True,
    token_norm: str = "none",
    by_norm: bool = False,
) -> Autoencoder:
    r"""Latents are active above learned thresholds, with a penalty on L0.

    .. math:: z = h\, H(h - \theta), \quad h = W (x - b_d) + b_e, \qquad
        L = \|x - \hat x\|^2 + \lambda \sum_n H(h_n - \theta_n)

    The thresholds are trained with the kernel estimates of `bottlenecks.jumprelu`. Active latents are not
    penalised by size, so there is no shrinkage. ``penalty`` may also be ``tanh`` (Anthropic) or
    ``quadratic``, the squared relative difference of a batch's mean L0 and the target, with a constant
    weight.

    Args:
        penalty: ``l0``, ``tanh`` or ``quadratic``.
        weight: weight of the penalty, lambda; with 0 it is 1, and for ``quadratic`` twenty times the L0 of
            `price_target`.
        threshold: initial thresholds, as a share of the centred examples' root mean square norm (the paper
            scales data to mean squared norm 1); 0.001 there. With 0 `price_target` sets them: each latent is
            active on the same share of the examples, and L0 is the target from the first step on; without a
            target they are a tenth of the root mean square of a coordinate.
        bandwidth: width of the kernel, in the same unit; 0.001 in the paper, for many more steps. With 0 it
            is the root mean square of a coordinate, which is that of a projection on a random direction.
        positive: ``log`` learns the logarithm of the thresholds, as in the paper; ``raw`` the thresholds,
            clamped at 0.
        threshold_speed: learning rate of the thresholds relative to the weights; 1 in the paper, with longer
            training.
        ste_to_input: pass the kernel's gradient to the encoder too (Anthropic).

    Raises:
        RequestError: an argument out of range; ``quadratic`` without a target for L0; data with a target.

    Example:
        >>> model = jumprelu_sae((8,), latents=32, price_target="l0=4")
        >>> sorted(model.loss(Batch(torch.randn(5, 8))).terms)
        ['distortion', 'l0']

    Reference:
        Rajamanoharan et al., Jumping Ahead: Improving Reconstruction Fidelity with JumpReLU Sparse
        Autoencoders, 2024. arXiv:2407.14435
    """
    spec, latents = spec_and_latents(spec, "jumprelu-sae", latents)
    firm = penalty == "quadratic"
    l0 = _wanted(price_target) if firm else 0.0
    norm = spec.size**0.5  # of an example with mean square 1, the unit of the bottleneck
    bottleneck = JumpReLU(
        latents,
        penalty=penalty,
        threshold=number("threshold", threshold, low=0) * norm,
        bandwidth=number("bandwidth", bandwidth, low=0) * norm or 1.0,
        positive=positive,
        speed=threshold_speed,
        to_input=ste_to_input,
        l0=l0,
    )
    weight = weight or (_FIRM * l0 if firm else 1.0)
    terms = penalised_terms(spec, latents, penalty, weight, "none" if firm else price_target, dead)
    objective = SparseObjective(**terms)
    shared: dict[str, Any] = {"centre": centre, "token_norm": token_norm, "by_norm": by_norm}
    return sparse_autoencoder(spec, bottleneck, objective, unit_norm=unit_norm, normalise=normalise, **shared)


def _wanted(target: str | Target) -> float:
    """The target L0 of the quadratic penalty, whose weight is not adapted."""
    made = None if TARGETS.word(target) else TARGETS.make(target)
    if not isinstance(made, TargetL0):
        raise RequestError("The quadratic penalty needs a number of latents: ``price_target='l0=16'``.")
    return made.l0
