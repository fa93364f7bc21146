"""Finite scalar quantisation."""

from narrows.bottlenecks.discrete.fsq import FiniteScalarQuantizer, levels_for
from narrows.bottlenecks.discrete.quantizer import Quantizer
from narrows.core import Autoencoder, Likelihood, Objective, Prior, Spec, as_spec
from narrows.methods.quantised._assemble import token_autoencoder
from narrows.nets.kinds import Net


def fsq(
    spec: Spec | tuple[int, ...],
    *,
    codes: int = 1000,
    levels: tuple[int, ...] = (),
    variant: str = "paper",
    downsample: int = 4,
    prior: str | Prior = "autoregressive",
    net: str | Net = "auto",
    likelihood: str | Likelihood = "auto",
) -> Autoencoder:
    r"""An FSQ autoencoder: a grid of tokens with a few channels, each bounded and rounded to its levels.

    .. math:: \hat z_i = \mathrm{round}(f_i(z_i)) / \lfloor L_i / 2 \rfloor,\qquad K = \textstyle\prod_i L_i

    The bound f differs from the paper's in two constants, see `FiniteScalarQuantizer`.

    Args:
        codes: approximate size of the codebook, K; the levels with the nearest product are used.
        levels: the number of levels of each channel, such as (8, 5, 5, 5); overrides `codes`.
        variant: ``paper``, or ``symmetric``, with levels symmetric around 0 for even numbers too.

    Raises:
        RequestError: an argument out of range, or a prior on labels that the data do not have.

    Example:
        >>> model = fsq((1, 8, 8), levels=(5, 4))
        >>> model.bottleneck.codes, model.sample(3).shape
        (20, torch.Size([3, 1, 8, 8]))

    Reference:
        Mentzer et al., Finite Scalar Quantization: VQ-VAE Made Simple, 2023. arXiv:2309.15505
    """
    chosen = tuple(levels) or levels_for(codes)
    spec, width = as_spec(spec), len(chosen)

    def quantizer(tokens: int) -> Quantizer:
        return FiniteScalarQuantizer(width, levels=chosen, tokens=tokens, variant=variant)

    return token_autoencoder(
        spec, quantizer, Objective(), width, downsample, prior=prior, net=net, likelihood=likelihood
    )
