"""The JumpReLU sparse autoencoder.

Rajamanoharan et al., Jumping Ahead: Improving Reconstruction Fidelity with JumpReLU Sparse Autoencoders, 2024.
arXiv:2407.14435
"""

from __future__ import annotations

from narrows.bottlenecks.sparse.jumprelu import JumpReLU
from narrows.core import Autoencoder, Spec, as_spec
from narrows.core.check import number, refuse
from narrows.core.schedules import Schedule
from narrows.methods.sparse.shared import priced_terms
from narrows.methods.sparse.topk_sae import default_latents, sparse_autoencoder
from narrows.objectives.sparse import SparseObjective

__all__ = ["jumprelu_sae"]

_FIRM = 20
"""Weight of the quadratic penalty for each wanted latent: its minimum is then some per cent off the target."""


def jumprelu_sae(
    spec: Spec | tuple[int, ...],
    *,
    latents: int = 0,
    penalty: str = "l0",
    weight: Schedule = 0.0,
    target_l0: float = 0.0,
    target_fvu: float = 0.0,
    threshold: float = 0.0125,
    bandwidth: float = 0.0625,
    positive: str = "log",
    threshold_speed: float = 10.0,
    ste_to_input: bool = False,
    dead: str = "none",
    dead_after: int = 0,
    aux_weight: Schedule = 1 / 32,
    unit_norm: bool = True,
    normalise: bool = True,
) -> Autoencoder:
    r"""Each latent passes whole above a threshold of its own, and the price is how many pass.

    .. math:: z = h\, H(h - \theta), \quad h = W (x - b_d) + b_e, \qquad
        L = \|x - \hat x\|^2 + \lambda \sum_n H(h_n - \theta_n)

    The thresholds learn through the kernel estimates of `bottlenecks.jumprelu`. Nothing pulls a latent that passes
    toward 0, so codes are not shrunk. ``penalty`` may also be ``tanh`` (Anthropic) or ``quadratic``, the square of
    how far the mean L0 of a batch is from `target_l0`, with a weight that stays.

    Args:
        spec: what the data look like, or the shape of one example; flattened.
        latents: how many, N; when 0, eight for each number of an example, at most 16384.
        penalty: ``l0``, ``tanh`` or ``quadratic``.
        weight: of the penalty, lambda; when 0, 1, and with ``quadratic`` twenty times `target_l0`.
        target_l0: how many latents shall be on in one example, on average; the weight is then steered. 0 is off.
        target_fvu: the share of variance that may stay unexplained; the weight is then steered. 0 is off.
        threshold: where the thresholds start, as a share of the centred examples' root mean square norm (the paper
            scales data to mean squared norm 1); 0.001 there.
        bandwidth: width of the kernel, in the same unit; 0.001 in the paper, for many more steps.
        positive: ``log`` learns the logarithm of the thresholds, as the paper; ``raw`` themselves, held above 0.
        threshold_speed: how many times as fast as the weights the thresholds learn; 1 in the paper, whose training
            is long enough to carry them anywhere.
        ste_to_input: let the kernel teach the encoder too (Anthropic).
        dead: what is done for dead latents: ``auxk``, ``resample``, ``ghost``, ``preact`` or ``none``.
        dead_after: a latent is dead when it was off for more examples than this; when 0, as many as suit the sizes.
        aux_weight: weight of the term by which dead latents learn, where there is one.
        unit_norm: hold every atom at length 1; else the ``tanh`` penalty counts its length.
        normalise: scale the data to mean square 1 inside the model while it trains.

    Raises:
        RequestError: an argument out of range; both targets; ``quadratic`` without `target_l0`; data with a
            target of their own.

    Example:
        >>> model = jumprelu_sae((8,), latents=32, target_l0=4)
        >>> import torch
        >>> from narrows.core import Batch
        >>> sorted(model.loss(Batch(torch.randn(5, 8))).terms)
        ['distortion', 'l0']

    Reference:
        Rajamanoharan et al., Jumping Ahead: Improving Reconstruction Fidelity with JumpReLU Sparse Autoencoders,
        2024. arXiv:2407.14435
    """
    spec = as_spec(spec)
    latents = latents or default_latents(spec)
    quadratic = penalty == "quadratic"
    if quadratic and target_fvu:
        raise refuse(
            "target_fvu", target_fvu, "0 with the quadratic penalty", "It has a target for L0 alone."
        )
    norm = spec.size**0.5  # of an example whose numbers have mean square 1, the unit of the bottleneck
    bottleneck = JumpReLU(
        latents,
        penalty=penalty,
        threshold=number("threshold", threshold, low=1e-9) * norm,
        bandwidth=number("bandwidth", bandwidth, low=1e-9) * norm,
        positive=positive,
        speed=threshold_speed,
        to_input=ste_to_input,
        l0=target_l0,
    )
    terms = priced_terms(
        spec,
        latents,
        penalty,
        weight or (_FIRM * target_l0 if quadratic else 1.0),
        target_l0=0.0 if quadratic else target_l0,
        target_fvu=target_fvu,
        dead=dead,
        dead_after=dead_after,
        aux_weight=aux_weight,
    )
    objective = SparseObjective(**terms)
    return sparse_autoencoder(spec, bottleneck, objective, unit_norm=unit_norm, normalise=normalise)
