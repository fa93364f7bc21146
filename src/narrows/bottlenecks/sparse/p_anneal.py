"""ReLU latents with an Lp penalty whose power is annealed from L1 toward L0."""

from __future__ import annotations

import torch
from torch import Tensor

from narrows.bottlenecks.sparse.penalised import Penalised
from narrows.core import Pass, Sparse, all_sum
from narrows.core.check import number, refuse, whole
from narrows.core.evidence import Latents
from narrows.core.schedules import Schedule, at, constant_from, schedule
from narrows.kernels.sparse import LazyLinear

__all__ = ["AnnealedP"]

_TINY = 1e-6
"""Added to sizes, because the derivative of the p-th power is infinite at 0."""


class AnnealedP(Penalised):
    r"""ReLU latents with the penalty of p-th powers of sizes, with p annealed: cost ``lp``.

    .. math:: z = \max(h, 0), \qquad c = u\, \lambda_t \sum_n s_n^{p_t}, \qquad
        \lambda_{t'} = \lambda_t \frac{\sum_{q} \sum_n s_n^{p_t}}{\sum_{q} \sum_n s_n^{p_{t'}}}

    p is updated every `hold` steps. When it changes, the coefficient is adapted over the last `queue` batches
    so that the penalty keeps its value. The coefficient starts at 1, where p = 1 is the L1 penalty.

    Args:
        latents: number of latents, N.
        p: the power, a schedule over steps; above 0.
        hold: steps between two changes of p.
        queue: number of batches over which the coefficient is adapted.

    Raises:
        RequestError: a number out of range.

    Example:
        >>> code = AnnealedP(3, p=0.5)(torch.tensor([[4.0, -2.0, 9.0]]))
        >>> code.z.tolist(), code.costs["lp"].round(decimals=1).tolist()
        ([[4.0, 0.0, 9.0]], [5.0])

    Reference:
        Karvonen et al., Measuring Progress in Dictionary Learning for Language Model Interpretability with
        Board Game Models, 2024. arXiv:2408.00113
    """

    coefficient: Tensor
    power: Tensor
    upcoming: Tensor
    sums: Tensor

    def __init__(self, latents: int, *, p: Schedule = 1.0, hold: int = 100, queue: int = 10) -> None:
        super().__init__(latents)
        self._p = schedule(p, "p")
        if not number("p", at(self._p, 0)) > 0:
            raise refuse("p", p, "above 0 at all steps")
        self.hold = whole("hold", hold)
        self.queue = whole("queue", queue, high=hold, fix="The queue is refilled between two changes.")
        self.register_buffer("coefficient", torch.ones(()))
        self.register_buffer("power", torch.tensor(at(self._p, 0)))
        self.register_buffer("upcoming", torch.tensor(at(self._p, 0)))
        self.register_buffer("sums", torch.zeros(2, dtype=torch.double))
        self._counts = False

    def activate(self, pre: Tensor | LazyLinear) -> tuple[Sparse | Tensor, dict[str, Tensor]]:
        """The positive part, and the sum of its powers."""
        h, at = self.candidates(pre, self.floor())
        z = h.relu()
        return self.code(z, at), {
            "lp": self.coefficient * self.price(self._powers(self.sizes(z, at), self.power))
        }

    def before_step(self, step: int) -> None:
        """At a change of p: adapt the coefficient. Shortly before one: start to collect the sums."""
        since = step % self.hold
        if since == 0:
            before, after = self.sums
            matched = torch.where(after > 0, before / after, torch.ones_like(after))
            self.coefficient.mul_(matched.to(self.coefficient.dtype))
            self.sums.zero_()
            self.power.fill_(at(self._p, step))
            self.upcoming.fill_(at(self._p, step + self.hold))
        self._counts = since >= self.hold - self.queue

    def settled(self, step: int) -> bool:
        """Whether the power has reached its final value."""
        return constant_from(self._p, step)

    def after_step(self, passed: Pass) -> None:
        """Shortly before a change: sum the penalty at the current power and at the next one."""
        super().after_step(passed)
        if self._counts:
            z = passed.code[Latents].z
            sizes = self.sizes(z.values, z.indices) if isinstance(z, Sparse) else self.sizes(z)
            sums = [self._powers(sizes, p).sum(dtype=torch.double) for p in (self.power, self.upcoming)]
            self.sums.add_(all_sum(torch.stack(sums)))

    @staticmethod
    def _powers(sizes: Tensor, p: Tensor) -> Tensor:
        """Sizes to the power p; 0 stays 0."""
        return (sizes + _TINY).pow(p) - p.new_tensor(_TINY).pow(p)
