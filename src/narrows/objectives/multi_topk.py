"""Multi-TopK: an additional error with four times as many active latents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from narrows.bottlenecks.sparse.topk import TopK
from narrows.core import Autoencoder, Batch, Pass
from narrows.core.check import refuse
from narrows.core.schedules import Schedule
from narrows.objectives.sparse import SparseObjective

__all__ = ["MultiTopK"]

_WIDER = 4


class MultiTopK(SparseObjective):
    r"""A sparse objective with a second error at 4k active latents: :math:`L(k) + w\, L(4k)`.

    A model trained at a single k overfits to it, and its error increases for larger k.

    Args:
        weight: weight of the second error, w; 1/8 in the paper.
        options: arguments of `SparseObjective`.

    Reference:
        Gao et al., Scaling and evaluating sparse autoencoders, 2024, section 2.5 and appendix.
        arXiv:2406.04093
    """

    def __init__(self, *, weight: Schedule = 1 / 8, **options: Any) -> None:
        super().__init__(weights={**options.pop("weights", {}), "multi": weight}, **options)

    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Require a TopK bottleneck."""
        super().prepare(model, batch)
        if not isinstance(model.bottleneck, TopK):
            raise refuse(
                "bottleneck", type(model.bottleneck).__name__, "TopK", "Only TopK can use another k."
            )

    def extra(self, model: Autoencoder, passed: Pass) -> Mapping[str, Tensor]:
        """The error with 4 k active latents, (B,)."""
        bottleneck = model.bottleneck
        assert isinstance(bottleneck, TopK)
        wide = bottleneck.largest(passed.features, _WIDER * bottleneck.now)
        return {
            "multi": self.distortion(
                model, replace(passed, output=model.decode(wide, passed.batch.condition))
            )
        }
