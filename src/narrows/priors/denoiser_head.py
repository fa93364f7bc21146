"""A causal transformer over tokens of real numbers, with a small denoiser for each."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from narrows.core import NO_CONDITION, Batch, Code, Condition, Loss, Pass, Prior, Symbols
from narrows.core.check import choice, whole
from narrows.diffusion.ode import SOLVERS
from narrows.priors.heads.denoiser import Denoiser
from narrows.priors.real import RealTokens
from narrows.priors.sequence import Sequence

__all__ = ["DenoiserHead"]


class DenoiserHead(RealTokens, Sequence):
    r"""An autoregressive prior over tokens of real numbers, each of which a denoiser draws from noise.

    .. math:: p(x_1 \ldots x_L) = \prod_l p(x_l \mid h_l(x_1 \ldots x_{l-1})),\qquad
              \min_v E_{\epsilon, t} \sum_l \|v((1 - t) x_l + t \epsilon,\, t \mid h_l) - (\epsilon - x_l)\|^2

    h_l is the output of a causal transformer, which reads tokens by a linear map, and a start token that encodes the
    labels. Its loss is no likelihood. Tokens are standardised with mean and deviation of each channel (of a vector, of
    each number).

    Args:
        head_depth: blocks of the denoiser, a perceptron of the transformer's width.
        times: draws of (t, epsilon) a token in each step of training.

    Raises:
        RequestError: the symbols are not real numbers, or an option is out of range.

    Example:
        >>> prior = DenoiserHead(Symbols((9, 4)), width=8, depth=1, heads=2)
        >>> prior.sample(2, steps=3).shape
        torch.Size([2, 9, 4])

    Reference:
        Sun et al., Multimodal Latent Language Modeling with Next-Token Diffusion, 2024. arXiv:2412.08635. The head:
        Li et al., Autoregressive Image Generation without Vector Quantization, 2024. arXiv:2406.11838
    """

    head: Denoiser
    nll = Prior.nll
    token_nll = Prior.token_nll  # type: ignore[assignment]

    def __init__(
        self,
        symbols: Symbols,
        *,
        classes: int = 0,
        head_depth: int = 2,
        times: int = 4,
        draws: bool = True,
        labels: bool = False,
        width: int = 128,
        depth: int = 3,
        heads: int = 4,
    ) -> None:
        length, channels = self.shape_of(symbols)
        super().__init__(
            symbols,
            classes,
            labels,
            draws,
            tokens=length,
            embed=lambda: nn.Linear(channels, width),
            head=lambda: Denoiser(width, channels, width, head_depth, whole("times", times)),
            width=width,
            depth=depth,
            heads=heads,
        )

    def loss(self, batch: Batch, step: int = 0, passed: Pass | None = None) -> Loss:
        """The mean squared error of the velocity, a number of the code."""
        z = self.drawn(batch)
        tokens = self.arrange(z)
        h = self.net(tokens, self.told(batch.condition, len(z)))
        error = self.head.loss(h, tokens).mean()
        codes = z.view(-1, *self.symbols.shape)
        return Loss(error, {"velocity": error.detach()}, Pass(batch, Code(codes)))

    @torch.no_grad()
    def sample(
        self,
        n: int,
        condition: Condition = NO_CONDITION,
        *,
        steps: int = 10,
        sampler: str = "heun",
        guidance: float = 1.0,
    ) -> Tensor:
        """n codes (n, *shape), token by token with cached keys and values. `narrows.priors.SAMPLING` explains guidance.

        Args:
            n: how many.
            condition: their ``labels``, one-hot (n, G); where the prior is told labels and none are given, drawn as
                often as in training.
            steps: steps of the solver for each token.
            sampler: the solver: ``euler`` or ``ab2`` (one evaluation of the denoiser a step), ``heun`` (two) or ``rk4``
                (four).
        """
        choice("sampler", sampler, tuple(SOLVERS))
        steps = whole("steps", steps)
        return self.generate(
            n,
            condition,
            guidance,
            lambda h: self.head.draw(h, steps=steps, sampler=sampler, guidance=guidance),
        )
