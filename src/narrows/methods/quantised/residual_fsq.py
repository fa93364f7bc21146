"""Residual finite scalar quantisation."""

from narrows.bottlenecks.discrete.fsq import levels_for
from narrows.bottlenecks.discrete.quantizer import Quantizer
from narrows.bottlenecks.discrete.residual_fsq import ResidualFSQ
from narrows.core import Autoencoder, Likelihood, Objective, Prior, Spec, as_spec
from narrows.methods.quantised._assemble import token_autoencoder
from narrows.nets.kinds import Net


def residual_fsq(
    spec: Spec | tuple[int, ...],
    *,
    codes: int = 125,
    levels: tuple[int, ...] = (),
    depth: int = 3,
    scale: str = "levels",
    downsample: int = 4,
    prior: str | Prior = "rq-transformer",
    net: str | Net = "auto",
    likelihood: str | Likelihood = "auto",
) -> Autoencoder:
    r"""An FSQ autoencoder that rounds what rounding left over, on finer grids: a stack of D indices for each token.

    .. math:: r_0 = \tanh(z),\quad e_d = s^{d-1} g(s^{1-d} r_{d-1}),\quad r_d = r_{d-1} - e_d,\qquad
              \hat z = \sum_d e_d,\quad s_i = 1 / (L_i - 1)

    g rounds to L_i levels from -1 to 1, see `ResidualFSQ`. The paper learns the scale of each depth, or normalises.

    Args:
        codes: approximate number of codes at each depth, K; the levels with the nearest product are used.
        levels: the number of levels of each channel, such as (5, 5, 5); overrides `codes`.
        depth: number of codes of a token, D.
        scale: ``levels``, or ``none``: do not scale residuals, the naive form.

    Raises:
        RequestError: an argument out of range, or a prior on labels that the data do not have.

    Example:
        >>> model = residual_fsq((1, 8, 8), levels=(5, 4), depth=2)
        >>> model.bottleneck.symbols.shape, model.sample(3).shape
        ((4, 2), torch.Size([3, 1, 8, 8]))

    Reference:
        Zhu et al., Robust Residual Finite Scalar Quantization for Neural Compression, 2025. arXiv:2508.15860
    """
    chosen = tuple(levels) or levels_for(codes)
    spec, width = as_spec(spec), len(chosen)

    def quantizer(tokens: int) -> Quantizer:
        return ResidualFSQ(width, levels=chosen, tokens=tokens, depth=depth, scale=scale)

    return token_autoencoder(
        spec, quantizer, Objective(), width, downsample, prior=prior, net=net, likelihood=likelihood
    )
