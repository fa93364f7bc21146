"""JumpReLU: each latent is active above a learned threshold, trained with a kernel gradient estimate."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from narrows.bottlenecks.sparse.penalised import Penalised
from narrows.core import Autoencoder, Batch, Pass, Sparse
from narrows.core.check import choice, number, refuse
from narrows.kernels.sparse import LazyLinear

__all__ = ["JumpReLU", "jump", "step"]

_PENALTIES = ("l0", "tanh", "quadratic")
_THRESHOLD, _LEAST = 0.1, 0.01
"""Of the initial thresholds, in units of the data's scale: the default, and the least that data can set."""


class JumpReLU(Penalised):
    r"""Pre-activations above their latent's threshold pass unchanged: :math:`z = h\, H(h - \theta)`.

    The gradient with respect to theta is zero almost everywhere, so theta gets kernel estimates of the
    gradients of expectations (straight-through), with the rectangular kernel :math:`K(t) = 1[|t| < 1/2]`:

    .. math:: \frac{\partial z}{\partial \theta} := -\frac{\theta}{\epsilon} K\Big(\frac{h - \theta}{\epsilon}\Big),
        \qquad \frac{\partial H(h - \theta)}{\partial \theta} :=
        -\frac{1}{\epsilon} K\Big(\frac{h - \theta}{\epsilon}\Big)

    The cost is named after the penalty. ``l0``: :math:`\sum_n H(h_n - \theta_n)` of the pre-activations, so
    that those just below their threshold contribute to the kernel estimate too. ``tanh`` (Anthropic):
    :math:`\sum_n \tanh(c\, s_n)` with the sizes of `Penalised`. ``quadratic``:
    :math:`(\bar L_0 / L_0^* - 1)^2` with the batch mean.

    Args:
        latents: number of latents, N.
        penalty: ``l0``, ``tanh`` or ``quadratic``.
        threshold: initial thresholds, in units of the data's scale: the root mean square of a coordinate of
            the centred examples, which is that of their projections on random directions. With 0 a target for
            L0 sets them, such that each latent is active on the same share of the examples; without one 0.1.
        bandwidth: width of the kernel, epsilon, in the same units.
        positive: ``log`` learns the logarithm of theta, ``raw`` theta itself, clamped at 0.
        speed: learning rate of the thresholds relative to other parameters under Adam: the parameter is their
            logarithm, or the thresholds themselves, divided by this.
        to_input: pass the kernel's term, with the opposite sign, to the pre-activations too (Anthropic).
        steepness: c of ``tanh``.
        l0: L0* of ``quadratic``.

    Raises:
        RequestError: an unknown choice, or a number out of range.

    Example:
        >>> code = JumpReLU(3, threshold=1.5)(torch.tensor([[1.0, -2.0, 3.0]]))
        >>> code.z.tolist(), code.costs["l0"].tolist()
        ([[0.0, 0.0, 3.0]], [1.0])

    Reference:
        Rajamanoharan et al., Jumping Ahead, 2024. arXiv:2407.14435. The tanh penalty and gradients to the
        input: Anthropic, Circuits Updates, January 2025.
    """

    smooth = False  # the gradients of the thresholds are estimates

    def __init__(
        self,
        latents: int,
        *,
        penalty: str = "l0",
        threshold: float = 0.0,
        bandwidth: float = 1.0,
        positive: str = "log",
        speed: float = 1.0,
        to_input: bool = False,
        steepness: float = 4.0,
        l0: float = 0.0,
    ) -> None:
        super().__init__(latents)
        self.penalty = choice("penalty", penalty, _PENALTIES)
        self.positive = choice("positive", positive, ("log", "raw"))
        self.given = number("threshold", threshold, low=0) > 0
        self.initial = threshold or _THRESHOLD
        self.speed = number("threshold_speed", speed, low=1e-6)
        self.bandwidth = number("bandwidth", bandwidth, low=1e-9)
        self.to_input, self.steepness = to_input, number("steepness", steepness, low=0)
        self.l0 = number("target_l0", l0, low=0)
        if penalty == "quadratic" and not self.l0:
            raise refuse("target_l0", l0, "above 0 with the quadratic penalty", "Set the L0 to train for.")
        start = math.log(self.initial) if positive == "log" else self.initial
        self.threshold = nn.Parameter(torch.full((latents,), start / self.speed))

    @property
    def theta(self) -> Tensor:
        """The thresholds, (N,); a negative one, such as a file may have, is 0."""
        learned = self.speed * self.threshold
        return learned.exp() if self.positive == "log" else learned.clamp_min(0)

    def floor(self) -> Tensor:
        """The pre-activations above which a latent is active: the thresholds, (N,)."""
        return self.theta

    def activate(self, pre: Tensor | LazyLinear) -> tuple[Sparse | Tensor, dict[str, Tensor]]:
        """The latents above their threshold, and the penalty."""
        theta, width = self.theta, self.bandwidth * self.grain
        h, at = self.candidates(pre, theta - width / 2)
        if at is not None:
            theta = theta[at]
        active = jump(h, theta, width, self.to_input)
        z = self.code(active, at)
        if self.penalty == "tanh":
            return z, {"tanh": self.price((self.steepness * self.sizes(active, at)).tanh())}
        on = step(h, theta, width, self.to_input)
        if self.penalty == "l0":
            return z, {"l0": self.price(on)}
        gap = on.sum(-1).mean() / self.l0 - 1
        return z, {"quadratic": (self.unit * gap.square()).expand(len(on))}

    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Initialise the thresholds in units of the data."""
        super().prepare(model, batch)
        self.threshold.copy_(self._learned(self.initial * self.grain))

    def raise_floor(self, level: Tensor) -> Tensor:
        """Set the thresholds to levels (N,), unless they were given; return what is left for the bias."""
        if self.given:
            return torch.zeros_like(level)
        theta = level.clamp_min(_LEAST * self.grain)
        self.threshold.copy_(self._learned(theta))
        return level - theta

    def after_step(self, passed: Pass) -> None:
        """Clamp thresholds that are learned directly at 0."""
        super().after_step(passed)
        if self.positive == "raw":
            self.threshold.clamp_(min=0)

    def rescale(self, factor: Tensor) -> None:
        """Rescale the thresholds with the pre-activations."""
        super().rescale(factor)
        if self.positive == "log":
            self.threshold.add_(factor.log() / self.speed)
        else:
            self.threshold.mul_(factor)

    def reset(self, rows: Tensor) -> list[nn.Parameter]:
        """Reset the thresholds of some latents."""
        self.threshold[rows] = self._learned(self.initial * self.grain)
        return [*super().reset(rows), self.threshold]

    def _learned(self, theta: Tensor) -> Tensor:
        """The parameter whose thresholds are theta."""
        return (theta.log() if self.positive == "log" else theta) / self.speed


def jump(h: Tensor, theta: Tensor, bandwidth: Tensor | float, to_input: bool = False) -> Tensor:
    """``h`` where it exceeds ``theta``, else 0, (B, N); theta (N,) gets the kernel estimate of its gradient.

    Of some pre-activations only, both have their shape (B, k).

    Example:
        >>> theta = torch.tensor([1.0], requires_grad=True)
        >>> jump(torch.tensor([[1.2]]), theta, 0.5).sum().backward()
        >>> theta.grad
        tensor([-2.])
    """
    out: Tensor = _Jump.apply(h, theta, bandwidth, to_input)
    return out


def step(h: Tensor, theta: Tensor, bandwidth: Tensor | float, to_input: bool = False) -> Tensor:
    """1 where ``h`` exceeds ``theta``, else 0, (B, N); theta (N,) gets the kernel gradient estimate."""
    out: Tensor = _Step.apply(h, theta, bandwidth, to_input)
    return out


class _Jump(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, h: Tensor, theta: Tensor, bandwidth: Tensor | float, to_input: bool) -> Tensor:
        ctx.save_for_backward(h, theta)
        ctx.bandwidth, ctx.to_input = bandwidth, to_input
        return torch.where(h > theta, h, h.new_zeros(()))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        h, theta = ctx.saved_tensors
        kernel = grad * theta * _kernel(h, theta, ctx.bandwidth)
        to_h = grad * (h > theta)
        return to_h + kernel if ctx.to_input else to_h, -kernel.sum_to_size(theta.shape), None, None


class _Step(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, h: Tensor, theta: Tensor, bandwidth: Tensor | float, to_input: bool) -> Tensor:
        ctx.save_for_backward(h, theta)
        ctx.bandwidth, ctx.to_input = bandwidth, to_input
        return (h > theta).to(h.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        h, theta = ctx.saved_tensors
        kernel = grad * _kernel(h, theta, ctx.bandwidth)
        return kernel if ctx.to_input else None, -kernel.sum_to_size(theta.shape), None, None


def _kernel(h: Tensor, theta: Tensor, bandwidth: Tensor | float) -> Tensor:
    """The rectangular kernel K((h - theta) / epsilon) / epsilon: 1 / epsilon near theta, else 0."""
    return ((h - theta).abs() < bandwidth / 2).to(h.dtype) / bandwidth
