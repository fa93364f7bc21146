"""The head of a token of real numbers: a small denoiser, conditioned on h."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from narrows.core.check import whole
from narrows.diffusion.ode import solve
from narrows.nets.denoiser import VectorDenoiser
from narrows.priors.labels import guided
from narrows.priors.sequence import Head

__all__ = ["Denoiser"]


class Denoiser(Head):
    r"""A velocity field from noise to a token, whose perceptron is modulated by h and the time.

    .. math:: x_t = (1 - t)\, x + t\, \epsilon,\qquad
              \min_v E_{\epsilon, t} \|v(x_t, t \mid h) - (\epsilon - x)\|^2

    The expectation is a mean over `draws` of (t, epsilon) for each token, since they cost less than h. The net learns
    what v is beyond that of tokens from N(0, I), :math:`(2t - 1) / (t^2 + (1 - t)^2)\, x_t`.

    Args:
        width: channels of h, W.
        channels: numbers of a token, C.
        hidden: width of the perceptron.
        depth: its blocks.
        draws: how many draws of (t, epsilon) a token.

    Raises:
        RequestError: a size that is not an integer of at least 1.

    Example:
        >>> head = Denoiser(8, channels=3, hidden=16, depth=1)
        >>> head.loss(torch.zeros(2, 5, 8), torch.zeros(2, 5, 3)).shape, head.draw(torch.zeros(4, 8), steps=2).shape
        (torch.Size([2, 5]), torch.Size([4, 3]))

    Reference:
        Li et al., Autoregressive Image Generation without Vector Quantization, 2024, section 3.2. arXiv:2406.11838
    """

    def __init__(self, width: int, channels: int, hidden: int, depth: int, draws: int = 4) -> None:
        super().__init__()
        self.channels, self.draws = channels, whole("draws", draws)
        self.net = VectorDenoiser(channels, width=hidden, depth=depth, condition=width)

    def velocity(self, x: Tensor, t: Tensor, h: Tensor) -> Tensor:
        """v at states (R, C) and times (R,), given h (R, W)."""
        base = (2 * t - 1) / (t.square() + (1 - t).square())
        v: Tensor = base[:, None] * x + self.net(x, t, h)
        return v

    def loss(self, h: Tensor, tokens: Tensor) -> Tensor:
        """The mean squared error of the velocity of tokens (B, L, C) given h (B, L, W): (B, L)."""
        x, condition = (part.expand(self.draws, *part.shape).flatten(0, -2) for part in (tokens, h))
        t = (torch.rand(1, device=x.device) + torch.arange(len(x), device=x.device) / len(x)) % 1
        t = t[torch.randperm(len(x), device=x.device)].to(x.dtype)
        noise = torch.randn_like(x)
        v = self.velocity((1 - t[:, None]) * x + t[:, None] * noise, t, condition)
        error = (v - (noise - x)).square().mean(-1)
        return error.view(self.draws, *tokens.shape[:-1]).mean(0)

    def draw(self, h: Tensor, steps: int = 10, sampler: str = "heun", guidance: float = 1.0) -> Tensor:
        """Tokens (R, C) from h (R, W).

        Args:
            h: with guidance, the rows with labels, then those without.
            steps: steps of the solver.
            sampler: a name of `narrows.diffusion.ode.SOLVERS`.
            guidance: w.
        """
        copies = 1 if guidance == 1 else 2

        def velocity(x: Tensor, t: Tensor) -> Tensor:
            both = x.repeat(copies, 1)
            return guided(self.velocity(both, t.expand(len(both)), h), guidance)

        noise = torch.randn(len(h) // copies, self.channels, dtype=h.dtype, device=h.device)
        return solve(velocity, noise, steps, solver=sampler).repeat(copies, 1)

    def nll(self, h: Tensor, tokens: Tensor, embed: nn.Module) -> Tensor:
        """Not defined: the loss is no likelihood."""
        raise NotImplementedError("a denoiser has no likelihood")
