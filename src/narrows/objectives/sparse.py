"""The objective of sparse autoencoders: reconstruct, at a price, and see to the latents that have died."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from torch import Tensor

from narrows.core import Accumulator, Autoencoder, Loss, Objective, Pass
from narrows.core.evidence import Residual
from narrows.core.schedules import Schedule
from narrows.kernels.metrics import Explained
from narrows.objectives.dead_latents import DeadLatents
from narrows.objectives.target import Target

__all__ = ["SparseObjective"]


class SparseObjective(Objective):
    r"""A distortion, weighted costs of the code, and a term by which dead latents are revived.

    .. math:: L = d(x, \hat x) + \sum_c \lambda_c\, c(z) + \alpha\, r

    A subclass that measures the distortion otherwise (prefixes, another model's output) defines `distortion`. The
    pass of each loss has `Residual` among its code's evidence.

    Args:
        dead: what brings dead latents back, or None.
        target: what finds a cost's weight by itself, or None where `weights` say it.
        weights: schedules by term.
        reduce: from (B,) to a scalar; the mean when None.
    """

    splits = ()

    def __init__(
        self,
        *,
        dead: DeadLatents | None = None,
        target: Target | None = None,
        weights: Mapping[str, Schedule] | None = None,
        reduce: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        revived = {} if dead is None else {dead.name: dead.weight}
        super().__init__(weights={**revived, **(weights or {})}, reduce=reduce)
        self.dead, self.target = dead, target
        self.smooth = dead is None or dead.smooth  # type: ignore[misc]

    def settled(self, step: int) -> bool:
        """Never where a target steers a weight; that of the term for dead latents does not matter to `followed`."""
        return self.target is None and super().settled(step)

    def monitored(self, found: Mapping[str, float], step: int) -> float:
        """The loss without the term that revives dead latents, which comes and goes with them."""
        if self.dead is None or self.dead.name not in found:
            return found["loss"]
        return found["loss"] - self.weight(self.dead.name, step) * found[self.dead.name]

    def revives_after(self) -> int | None:
        """What `dead` waits for."""
        return None if self.dead is None else self.dead.dead_after

    def of(self, model: Autoencoder, passed: Pass, step: int) -> Loss:
        """The loss of a pass."""
        residual = passed.batch.target - model.likelihood.mean(passed.output).detach()
        terms = self.terms(model, passed)
        if self.target is not None:
            terms[self.target.cost] = self.target.weight * terms[self.target.cost]
        revived = None if self.dead is None else self.dead(model, passed, residual)
        if self.dead is not None and revived is not None:
            terms[self.dead.name] = revived
        total = self.reduce(self.weigh(terms, step))
        code = replace(passed.code, evidence=(*passed.code.evidence, Residual(residual)))
        terms = {name: term.detach().mean() for name, term in terms.items()}
        return Loss(total, terms, replace(passed, code=code))

    def metrics(self, model: Autoencoder, passed: Pass) -> Mapping[str, Tensor | Accumulator]:
        """The fraction of variance unexplained and the mean cosine of what comes back."""
        residual = passed.code.find(Residual)
        if residual is None:
            return {}
        return {"explained": Explained.of(passed.batch.target, passed.batch.target - residual.value)}
