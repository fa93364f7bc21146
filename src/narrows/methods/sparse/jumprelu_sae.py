"""The JumpReLU sparse autoencoder."""

from narrows.bottlenecks.sparse.jumprelu import JumpReLU
from narrows.core import Autoencoder, Spec
from narrows.core.check import RequestError, number
from narrows.core.schedules import Schedule
from narrows.methods.sparse._assemble import priced, sized, sparse_autoencoder
from narrows.objectives import TARGETS
from narrows.objectives.dead_latents import DeadLatents
from narrows.objectives.sparse import SparseObjective
from narrows.objectives.target import Target, TargetL0

_FIRM = 20
"""Weight of the quadratic penalty for each wanted latent: its minimum is then some per cent off the target."""


def jumprelu_sae(
    spec: Spec | tuple[int, ...],
    *,
    latents: int = 0,
    penalty: str = "l0",
    weight: Schedule = 0.0,
    price_target: str | Target = "none",
    threshold: float = 0.0125,
    bandwidth: float = 0.0625,
    positive: str = "log",
    threshold_speed: float = 10.0,
    ste_to_input: bool = False,
    dead: str | DeadLatents = "none",
    unit_norm: bool = True,
    normalise: bool = True,
) -> Autoencoder:
    r"""Each latent passes whole above a threshold of its own, and the price is how many pass.

    .. math:: z = h\, H(h - \theta), \quad h = W (x - b_d) + b_e, \qquad
        L = \|x - \hat x\|^2 + \lambda \sum_n H(h_n - \theta_n)

    The thresholds learn through the kernel estimates of `bottlenecks.jumprelu`. Nothing pulls a latent that passes
    toward 0, so codes are not shrunk. ``penalty`` may also be ``tanh`` (Anthropic) or ``quadratic``, the square of
    how far the mean L0 of a batch is from the target's, with a weight that stays.

    Args:
        penalty: ``l0``, ``tanh`` or ``quadratic``.
        weight: of the penalty, lambda; when 0, 1, and with ``quadratic`` twenty times the L0 of `price_target`.
        threshold: where the thresholds start, as a share of the centred examples' root mean square norm (the paper
            scales data to mean squared norm 1); 0.001 there.
        bandwidth: width of the kernel, in the same unit; 0.001 in the paper, for many more steps.
        positive: ``log`` learns the logarithm of the thresholds, as the paper; ``raw`` themselves, held above 0.
        threshold_speed: how many times as fast as the weights the thresholds learn; 1 in the paper, whose training
            is long enough to carry them anywhere.
        ste_to_input: let the kernel teach the encoder too (Anthropic).

    Raises:
        RequestError: an argument out of range; ``quadratic`` without a target for L0; data with a target.

    Example:
        >>> model = jumprelu_sae((8,), latents=32, price_target="l0=4")
        >>> sorted(model.loss(Batch(torch.randn(5, 8))).terms)
        ['distortion', 'l0']

    Reference:
        Rajamanoharan et al., Jumping Ahead: Improving Reconstruction Fidelity with JumpReLU Sparse Autoencoders,
        2024. arXiv:2407.14435
    """
    spec, latents = sized(spec, "jumprelu-sae", latents)
    firm = penalty == "quadratic"
    l0 = _wanted(price_target) if firm else 0.0
    norm = spec.size**0.5  # of an example whose numbers have mean square 1, the unit of the bottleneck
    bottleneck = JumpReLU(
        latents,
        penalty=penalty,
        threshold=number("threshold", threshold, low=1e-9) * norm,
        bandwidth=number("bandwidth", bandwidth, low=1e-9) * norm,
        positive=positive,
        speed=threshold_speed,
        to_input=ste_to_input,
        l0=l0,
    )
    weight = weight or (_FIRM * l0 if firm else 1.0)
    terms = priced(spec, latents, penalty, weight, "none" if firm else price_target, dead)
    objective = SparseObjective(**terms)
    return sparse_autoencoder(spec, bottleneck, objective, unit_norm=unit_norm, normalise=normalise)


def _wanted(target: str | Target) -> float:
    """How many latents the quadratic penalty pulls to, which has a target without steering its weight."""
    made = None if TARGETS.word(target) else TARGETS.make(target)
    if not isinstance(made, TargetL0):
        raise RequestError("The quadratic penalty needs a number of latents: ``price_target='l0=16'``.")
    return made.l0
