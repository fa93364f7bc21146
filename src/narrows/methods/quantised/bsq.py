"""Binary spherical quantisation."""

from narrows.core import Autoencoder, Likelihood, Prior, Spec
from narrows.core.schedules import Schedule
from narrows.methods.quantised._assemble import binary_autoencoder
from narrows.nets.kinds import Net


def bsq(
    spec: Spec | tuple[int, ...],
    *,
    bits: int = 10,
    entropy: Schedule = 0.1,
    diversity: Schedule = 0.1,
    temperature: float = 0.1,
    joint: int = 16,
    downsample: int = 4,
    prior: str | Prior = "autoregressive",
    net: str | Net = "auto",
    likelihood: str | Likelihood = "auto",
) -> Autoencoder:
    r"""A grid of tokens on the unit sphere, whose code is the nearest corner of a cube inside it.

    .. math:: u = \frac{z}{\|z\|},\qquad q = \frac{1}{\sqrt{d}} \mathrm{sign}(u),\qquad
              \|u - q\|^2 \le 2 - \frac{2}{\sqrt{d}}

    The loss is that of lookup-free quantisation without a commitment, since the error is bounded.

    Args:
        bits: number of channels of a token, d.
        entropy: weight of the entropy of the tokens' codes, a number or a schedule.
        diversity: weight of the entropy of their mean, a number or a schedule.
        temperature: tau of the entropies.
        joint: number of channels up to which the second entropy is exact; beyond it, a sum over groups of so many.

    Raises:
        RequestError: an argument out of range, or a prior on labels that the data do not have.

    Example:
        >>> model = bsq((1, 8, 8), bits=4)
        >>> model.bottleneck.vectors(torch.tensor([5]))
        tensor([[ 0.5000, -0.5000,  0.5000, -0.5000]])

    Reference:
        Zhao, Xiong, Kraehenbuehl, Image and Video Tokenization with Binary Spherical Quantization, 2024.
        arXiv:2406.07548
    """
    return binary_autoencoder(
        spec,
        bits=bits,
        spherical=True,
        weights={"entropy": entropy, "diversity": diversity},
        temperature=temperature,
        joint=joint,
        downsample=downsample,
        prior=prior,
        net=net,
        likelihood=likelihood,
    )
