"""Measured at each look at held-out data besides the model's own facts: the language model behind a harvest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from narrows.audit.evidence.splicing import Splicer
from narrows.core import Autoencoder, seeded
from narrows.core.check import NarrowsError

__all__ = ["Spliced"]

_TOKENS = 2048
_LARGE = 300_000_000
"""A language model with more parameters is asked only where `measure_every` is given: it may take long."""


class Spliced:
    """Called with a model, gives what the language model loses with its reconstructions; nothing where there is none.

    Args:
        dataset: held-out data; a harvest of one place of a causal language model, or anything else.
        large: ask a large language model too.
        say: told why nothing can be measured.
    """

    def __init__(self, dataset: Any, large: bool, say: Any) -> None:
        self.dataset, self.large, self.say = dataset, large, say
        self.splicer: Splicer | None = None
        self.known = False

    def __call__(self, model: Autoencoder) -> Mapping[str, float]:
        """``splice/recovered``, ``splice/ce`` (what is added, nats) and ``splice/kl`` (nats)."""
        with seeded(0):  # loading a model may draw; the training must not notice
            splicer = self._found()
            if splicer is None:
                return {}
            costs = splicer(model)
        added = costs.average("spliced") - costs.average("original")
        return {"splice/recovered": costs.recovered, "splice/ce": added, "splice/kl": costs.average("kl")}

    def _found(self) -> Splicer | None:
        if not self.known:
            self.known = True
            try:
                self.splicer = Splicer.of(self.dataset, _TOKENS, None if self.large else _LARGE)
            except NarrowsError as error:
                self.say(f"What the language model loses is not measured. {error}")
        return self.splicer
