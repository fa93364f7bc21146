"""The objective of sparse autoencoders: reconstruct, at a price, and see to the latents that have died."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from torch import Tensor

from narrows.core import Autoencoder, Batch, Code, Loss, Objective
from narrows.core import counted as where_it_counts
from narrows.core.schedules import Schedule
from narrows.kernels.metrics import Explained, Tally
from narrows.objectives.dead_latents import Revival
from narrows.objectives.target import Target

__all__ = ["SparseObjective"]


class SparseObjective(Objective):
    r"""A distortion, weighted costs of the code, and a term by which dead latents are revived.

    .. math:: L = d(x, \hat x) + \sum_c \lambda_c\, c(z) + \alpha\, r

    A subclass that measures the distortion otherwise (prefixes, another model's output) defines `fidelity`. After
    each step the code's ``seen["residual"]`` is what the code left out, and ``seen["fvu"]`` the batch's share of
    variance unexplained, where there is a target to steer by it.

    Args:
        revival: what brings dead latents back, or None.
        target: what finds a cost's weight by itself, or None where `weights` say it.
        weights: schedules by term.
        reduce: from (B,) to a scalar; the mean when None.
    """

    splits = ()

    def __init__(
        self,
        *,
        revival: Revival | None = None,
        target: Target | None = None,
        weights: Mapping[str, Schedule] | None = None,
        reduce: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        revived = {} if revival is None else {revival.name: revival.weight}
        super().__init__(weights={**revived, **(weights or {})}, reduce=reduce)
        self.revival, self.target = revival, target
        self.smooth = revival is None or revival.smooth  # type: ignore[misc]

    def fidelity(self, model: Autoencoder, batch: Batch, code: Code, output: Tensor) -> Tensor:
        """The distortion of each example, (B,), of what the decoder put out for the code."""
        return model.likelihood.nll(output, batch.goal, where_it_counts(code, batch))

    def settled(self, step: int) -> bool:
        """Never where a target steers a weight; revival's own weight does not matter, for `followed` leaves it out."""
        return self.target is None and super().settled(step)

    def followed(self, found: Mapping[str, float], step: int) -> float:
        """The loss without the term that revives dead latents, which comes and goes with them."""
        if self.revival is None or self.revival.name not in found:
            return found["loss"]
        return found["loss"] - self.weight(self.revival.name, step) * found[self.revival.name]

    def forward(self, model: Autoencoder, batch: Batch, step: int = 0) -> Loss:
        """The loss of a batch; the code is decoded once for all terms. Pure."""
        code = model.encode(batch, self.samples)
        output = model.decode(code.z, batch.given)
        residual = batch.goal - model.likelihood.mean(output).detach()
        terms = {
            "distortion": self.fidelity(model, batch, code, output),
            **code.costs,
            **self.extra(model, batch, code),
        }
        if self.target is not None:
            terms[self.target.cost] = self.target.weight * terms[self.target.cost]
        revived = None if self.revival is None else self.revival(model, batch, code, residual)
        if self.revival is not None and revived is not None:
            terms[self.revival.name] = revived
        total = self.reduce(self.weigh(terms, step))
        seen = {**code.seen, "residual": residual}
        if self.target is not None and self.target.fvu is not None:
            varies = (batch.goal - batch.goal.mean(0)).square().sum()
            seen["fvu"] = residual.square().sum() / varies.clamp_min(1e-30)
        terms = {name: term.detach().mean() for name, term in terms.items()}
        return Loss(total, terms, replace(code, seen=seen))

    def facts(self, model: Autoencoder, batch: Batch, code: Code) -> Mapping[str, Tensor | Tally]:
        """The fraction of variance unexplained and the mean cosine of what comes back."""
        residual = code.seen.get("residual")
        if residual is None:
            return {}
        return {"explained": Explained.of(batch.goal, batch.goal - residual)}
