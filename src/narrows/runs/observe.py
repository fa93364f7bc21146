"""An additional metric on held-out data: the loss of a language model with reconstructions spliced in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from narrows.audit.evidence.splicing import Splicer
from narrows.core import Autoencoder, seeded
from narrows.core.check import NarrowsError

__all__ = ["Spliced"]

_TOKENS = 2048
_LARGE = 300_000_000
"""A language model with more parameters is used only if `measure_every` is given, since that takes long."""


class Spliced:
    """Computes the loss of the language model behind harvested activations with reconstructions spliced in.

    Args:
        dataset: held-out data; no metrics unless they are activations of one hook point of a causal language model.
        large: use a large language model too.
        say: called with the reason if nothing can be measured.
    """

    def __init__(self, dataset: Any, large: bool, say: Any) -> None:
        self.dataset, self.large, self.say = dataset, large, say
        self.splicer: Splicer | None = None
        self.loaded = False

    def __call__(self, model: Autoencoder) -> Mapping[str, float]:
        """``splice/recovered``, ``splice/ce`` (the increase, nats) and ``splice/kl`` (nats)."""
        with seeded(0):  # loading a model may draw random numbers, which must not change the training
            splicer = self._load()
            if splicer is None:
                return {}
            costs = splicer(model)
        added = costs.average("spliced") - costs.average("original")
        return {"splice/recovered": costs.recovered, "splice/ce": added, "splice/kl": costs.average("kl")}

    def _load(self) -> Splicer | None:
        if not self.loaded:
            self.loaded = True
            try:
                self.splicer = Splicer.of(self.dataset, _TOKENS, None if self.large else _LARGE)
            except NarrowsError as error:
                self.say(f"The loss of the language model is not measured. {error}")
        return self.splicer
