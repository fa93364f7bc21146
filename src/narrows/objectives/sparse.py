"""The objective of sparse autoencoders: distortion, sparsity penalty, and a treatment of dead latents."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from torch import Tensor

from narrows.core import Accumulator, Autoencoder, Batch, Loss, Objective, Pass
from narrows.core.evidence import Residual
from narrows.core.schedules import Schedule
from narrows.kernels.metrics import Explained
from narrows.objectives.dead_latents import DeadLatents
from narrows.objectives.start import scale_encoder
from narrows.objectives.target import Target

__all__ = ["SparseObjective"]


class SparseObjective(Objective):
    r"""A distortion, weighted costs of the code, and a term that revives dead latents.

    .. math:: L = d(x, \hat x) + \sum_c \lambda_c\, c(z) + \alpha\, r

    Subclasses with another distortion (prefixes, another model's output) override `distortion`. The returned
    pass has `Residual` in its code's evidence.

    Args:
        dead: the treatment of dead latents, or None.
        target: adapts a cost's weight, or None if `weights` sets it.
        weights: schedules by term.
        reduce: from (B,) to a scalar; the mean if None.
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

    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Let the code start at its target, and the reconstructions at the size of the data."""
        if self.target is not None:
            self.target.begin(model, batch)
        if scale_encoder(model, batch) and self.target is not None:
            self.target.begin(model, batch)  # the thresholds have the scale of the pre-activations

    def settled(self, step: int) -> bool:
        """Whether all weights are final (never with a target); the weight of dead latents is ignored."""
        return self.target is None and super().settled(step)

    def monitored(self, found: Mapping[str, float], step: int) -> float:
        """The loss without the term for dead latents, which varies with their number."""
        if self.dead is None or self.dead.name not in found:
            return found["loss"]
        return found["loss"] - self.weight(self.dead.name, step) * found[self.dead.name]

    def revives_after(self) -> int | None:
        """The `dead_after` of the treatment of dead latents."""
        return None if self.dead is None else self.dead.dead_after

    def of(self, model: Autoencoder, passed: Pass, step: int) -> Loss:
        """The loss for a pass."""
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
        """The fraction of variance unexplained and the mean cosine of the reconstructions."""
        residual = passed.code.find(Residual)
        if residual is None:
            return {}
        return {"explained": Explained.of(passed.batch.target, passed.batch.target - residual.value)}
