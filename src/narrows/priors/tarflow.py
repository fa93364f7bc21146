"""TARFlow and STARFlow: normalising flows of causal transformers over tokens of real numbers."""

from __future__ import annotations

from narrows.core import Symbols
from narrows.core.check import whole
from narrows.priors.token_flow import TokenFlow

__all__ = ["STARFlow", "TARFlow"]


class TARFlow(TokenFlow):
    r"""A normalising flow: causal affine maps of tokens, with opposite orders one after the other.

    .. math:: -\log p(x) = -\log N(f(x);\, 0, I) - \log\left|\det \frac{\partial f}{\partial x}\right|,\qquad
              f = f_B \circ \ldots \circ f_1

    In each block a causal transformer reads shift and scale of a token from the tokens before it (see `AffineFlow`).
    The density is exact, and found in one pass; a draw takes B L passes with cached keys and values. Tokens are
    standardised with mean and deviation of each channel (of a vector, of each number).

    With `noise` the flow learns tokens with Gaussian noise, and draws are denoised by a step along the score,
    :math:`x + \sigma^2 \nabla \log p(x)`. Codes with a posterior have the noise of its draws, on which their decoder
    was trained.

    Args:
        blocks: number of affine maps, B.
        depth: transformer layers of each.
        noise: deviation of the noise, of standardised tokens.

    Raises:
        RequestError: the symbols are not real numbers, or an option is out of range.

    Example:
        >>> prior = TARFlow(Symbols((9, 4)), width=8, depth=1, heads=2)
        >>> prior.sample(2).shape, prior.nll(torch.zeros(3, 9, 4)).shape
        (torch.Size([2, 9, 4]), torch.Size([3]))

    Reference:
        Zhai et al., Normalizing Flows are Capable Generative Models, 2024. arXiv:2412.06329
    """

    def __init__(
        self,
        symbols: Symbols,
        *,
        classes: int = 0,
        blocks: int = 4,
        noise: float = 0.0,
        draws: bool = True,
        labels: bool = False,
        width: int = 128,
        depth: int = 2,
        heads: int = 4,
    ) -> None:
        depths = [whole("depth", depth)] * whole("blocks", blocks)
        super().__init__(
            symbols, classes, labels, draws, noise=noise, depths=depths, width=width, heads=heads
        )


class STARFlow(TokenFlow):
    r"""`TARFlow` with one deep block, next to the noise, and shallow ones before it.

    .. math:: f = f_{\text{deep}} \circ f_{\text{shallow}} \circ \ldots \circ f_{\text{shallow}}

    The paper adds noise of deviation 0.3 to codes (`noise`) and tunes the decoder to it. Here codes with a posterior
    are drawn from it, and their decoder knows this noise.

    Args:
        blocks: number of affine maps, B, one deep and others shallow.
        depth: transformer layers of the deep one.
        shallow: transformer layers of each other.
        noise: deviation of further noise, of standardised tokens.

    Raises:
        RequestError: the symbols are not real numbers, or an option is out of range.

    Example:
        >>> prior = STARFlow(Symbols((9, 4)), width=8, depth=2, heads=2)
        >>> prior.sample(2).shape, prior.nll(torch.zeros(3, 9, 4)).shape
        (torch.Size([2, 9, 4]), torch.Size([3]))

    Reference:
        Gu et al., STARFlow: Scaling Latent Normalizing Flows for High-resolution Image Synthesis, 2025.
        arXiv:2506.06276
    """

    def __init__(
        self,
        symbols: Symbols,
        *,
        classes: int = 0,
        blocks: int = 4,
        shallow: int = 1,
        noise: float = 0.0,
        draws: bool = True,
        labels: bool = False,
        width: int = 128,
        depth: int = 4,
        heads: int = 4,
    ) -> None:
        depths = [*[whole("shallow", shallow)] * (whole("blocks", blocks) - 1), whole("depth", depth)]
        super().__init__(
            symbols, classes, labels, draws, noise=noise, depths=depths, width=width, heads=heads
        )
