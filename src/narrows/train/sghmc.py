"""Stochastic gradient Hamiltonian Monte Carlo: an optimizer whose iterates are draws of a posterior of weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from narrows.core.check import number, refuse, whole

__all__ = ["SGHMC"]

_DECAY = 0.99
"""Of the running mean of squared gradients."""
_STRIDE = 1_000_003
"""Distance of the seeds of two chains, so that their steps do not share noise."""


class SGHMC(Optimizer):
    r"""Stochastic gradient Hamiltonian Monte Carlo with friction.

    .. math:: v \leftarrow (1 - a)\, v - h\, \nabla U(w) + N(0, 2 a h),\qquad w \leftarrow w + v,\qquad
              U = N L,\quad h = \frac{a \eta}{N r}

    L is the mean over examples of -log p(x | w), plus the negative log-density of the prior divided by N. For small
    steps the iterates are draws of the density proportional to exp(-U). r is 1, or with `adapt` the root mean square
    of the gradient of L for each tensor, a running mean that is frozen after so many steps: then eta is on the scale
    of Adam's learning rate. The noise is the same on all processes that share a batch.

    Args:
        params: the weights.
        lr: eta, the learning rate.
        rows: N, the number of training examples. With 1 the posterior is that of a single one.
        friction: a, above 0 and at most 1.
        adapt: number of steps in which r is adapted; 0 for none.
        weight_decay: factor of the weights that is added to the gradient of L: a Gaussian prior with variance
            1 / (N weight_decay).
        seed: of the noise.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> weight = nn.Parameter(torch.zeros(10_000))
        >>> chain = SGHMC([weight], lr=1.0, rows=4, friction=0.1)
        >>> for _ in range(200):
        ...     chain.zero_grad()
        ...     (weight.square().sum() / 2).backward()
        ...     chain.step()
        >>> 0.2 < float(weight.detach().var()) < 0.3
        True

    Reference:
        Chen, Fox, Guestrin, Stochastic Gradient Hamiltonian Monte Carlo, 2014. arXiv:1402.4102;
        Springenberg et al., Bayesian Optimization with Robust Bayesian Neural Networks, 2016 (adapted scales)
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float,
        *,
        rows: int = 1,
        friction: float = 0.05,
        adapt: int = 0,
        weight_decay: float = 0.0,
        seed: int = 0,
    ) -> None:
        if not 0 < number("friction", friction) <= 1:
            raise refuse("friction", friction, "above 0 and at most 1", "Try 0.05.")
        defaults = {
            "lr": number("lr", lr, low=0),
            "rows": whole("rows", rows),
            "friction": friction,
            "adapt": whole("adapt", adapt, low=0),
            "weight_decay": number("weight_decay", weight_decay, low=0),
            "seed": whole("seed", seed, low=0),
            "at": 0,
        }
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step of the chain."""
        assert closure is None
        for group in self.param_groups:
            known = [p for p in group["params"] if p.grad is not None]
            if not known:
                continue
            slopes: list[Tensor] = [p.grad for p in known if p.grad is not None]
            if group["weight_decay"]:
                slopes = list(torch._foreach_add(slopes, known, alpha=group["weight_decay"]))
            speeds = [self._speed(p) for p in known]
            rates = self._rates(group, known, slopes)
            torch._foreach_mul_(speeds, 1 - group["friction"])
            torch._foreach_addcmul_(speeds, slopes, rates, -1)
            deviations = torch._foreach_sqrt(torch._foreach_mul(rates, 2 * group["friction"] / group["rows"]))
            torch._foreach_addcmul_(speeds, self._noise(group, known), list(deviations))
            torch._foreach_add_(known, speeds)
            group["at"] += 1

    def _rates(
        self, group: dict[str, Any], parameters: list[nn.Parameter], slopes: list[Tensor]
    ) -> list[Tensor]:
        """h N = a eta / r of each tensor, scalars; r is updated in the first steps."""
        rate = group["friction"] * group["lr"]
        if not group["adapt"]:
            return [slope.new_tensor(rate) for slope in slopes]
        rates = []
        for p, slope in zip(parameters, slopes, strict=True):
            state = self.state[p]
            if group["at"] < group["adapt"]:
                square = slope.square().mean()
                before = state.get(
                    "square", square.clamp_min(1)
                )  # no long steps where a first gradient is small
                state["square"] = _DECAY * before + (1 - _DECAY) * square
            rates.append(rate / state["square"].sqrt())
        return rates

    def _speed(self, parameter: nn.Parameter) -> Tensor:
        state = self.state[parameter]
        if "speed" not in state:
            state["speed"] = torch.zeros_like(parameter)
        speed: Tensor = state["speed"]
        return speed

    def _noise(self, group: dict[str, Any], parameters: list[nn.Parameter]) -> list[Tensor]:
        """Standard normal noise of this step, by a seed of its own: a resumed chain goes on alike."""
        first = parameters[0]
        random = torch.Generator(first.device).manual_seed(group["seed"] * _STRIDE + group["at"])
        drawn = torch.randn(
            sum(p.numel() for p in parameters), dtype=first.dtype, device=first.device, generator=random
        )
        parts = drawn.split([p.numel() for p in parameters])
        return [part.view_as(p) for part, p in zip(parts, parameters, strict=True)]
