"""Lookup-free quantisation."""

from narrows.core import Autoencoder, Likelihood, Prior, Spec
from narrows.core.schedules import Schedule
from narrows.methods.quantised._assemble import binary_autoencoder
from narrows.nets.kinds import Net


def lfq(
    spec: Spec | tuple[int, ...],
    *,
    bits: int = 10,
    beta: Schedule = 0.25,
    entropy: Schedule = 0.1,
    diversity: Schedule = 0.1,
    temperature: float = 0.1,
    joint: int = 16,
    downsample: int = 4,
    prior: str | Prior = "autoregressive",
    net: str | Net = "auto",
    likelihood: str | Likelihood = "auto",
) -> Autoencoder:
    r"""A grid of tokens whose code is the sign of each channel, with K = 2^d codes and no codebook.

    .. math:: -\log p(x \mid q) + \beta \|z - \mathrm{sg}(q)\|^2
              + w \sum_l H(p(c \mid z_l)) - v L\, H\big(E[p(c \mid z)]\big),\qquad q = \mathrm{sign}(z)

    The two entropies together reward tokens whose code is certain while all codes are in use. They are computed
    without a table of tokens times codes: see `BinaryQuantizer`.

    Args:
        bits: number of channels of a token, d.
        entropy: w, weight of the entropy of the tokens' codes, a number or a schedule.
        diversity: v, weight of the entropy of their mean, a number or a schedule.
        temperature: tau of the entropies; published code has 0.01.
        joint: number of channels up to which the second entropy is exact; beyond it, a sum over groups of so many.

    Raises:
        RequestError: an argument out of range, or a prior on labels that the data do not have.

    Example:
        >>> model = lfq((1, 8, 8), bits=5)
        >>> model.bottleneck.codes, model.sample(3).shape
        (32, torch.Size([3, 1, 8, 8]))

    Reference:
        Yu et al., Language Model Beats Diffusion: Tokenizer is Key to Visual Generation, 2023. arXiv:2310.05737
    """
    return binary_autoencoder(
        spec,
        bits=bits,
        spherical=False,
        weights={"commitment": beta, "entropy": entropy, "diversity": diversity},
        temperature=temperature,
        joint=joint,
        downsample=downsample,
        prior=prior,
        net=net,
        likelihood=likelihood,
    )
