"""What a language model loses where its activations are replaced by what a model makes of them."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from narrows.activations.capture import capture
from narrows.activations.hook_points import HookPoint, resolve
from narrows.activations.provenance import Provenance
from narrows.activations.splice import Baseline, Costs, Replace, baseline, join, measure
from narrows.core import Autoencoder, Batch
from narrows.core.check import NarrowsError
from narrows.data.dataset import Dataset, Examples

__all__ = ["Splicer", "language_model", "language_of"]

TOKENS, BATCH = 4096, 16
"""Tokens and contexts that are looked at; contexts that pass the language model at once."""

_LOGITS = 1 << 26
"""Logits of the untouched model that are kept; where there are more, they are computed anew each time."""


class Splicer:
    """Contexts of a harvest, and what the untouched language model makes of them; called with a model, its costs.

    Only the positions that were harvested are replaced: tokens that were left out (such as the first of a text) stay
    as they are. Every token but the first of each context counts as a prediction.

    Args:
        dataset: examples that are single rows of one place, with a `provenance`.
        language: the causal language model that they are from, a `narrows.activations.models.Model`.
        place: where it is read.
        tokens: how many tokens at most.
        target: where it is replaced, if the data have a target of their own (a transcoder's).
    """

    def __init__(
        self,
        dataset: Dataset,
        language: Any,
        place: HookPoint,
        tokens: int = TOKENS,
        target: HookPoint | None = None,
    ) -> None:
        self.dataset, self.module, self.place = dataset, language.module, place
        self.target = place if target is None else target
        contexts = _contexts(dataset, tokens)
        self.inputs = [
            _padded(contexts[first : first + BATCH], language.device)
            for first in range(0, len(contexts), BATCH)
        ]
        count = sum(inputs["input_ids"].numel() for inputs, _ in self.inputs)
        self.kept: list[Baseline] | None = None
        if count * max(1, language.vocabulary) <= _LOGITS:
            self.kept = [baseline(self.module, inputs, self.target) for inputs, _ in self.inputs]

    @classmethod
    def of(cls, dataset: Examples | None, tokens: int = TOKENS, largest: int | None = None) -> Splicer | None:
        """The splicer of a data set, or None where it is no harvest of one place of a causal language model.

        Args:
            dataset: any data.
            tokens: how many tokens at most.
            largest: None, too, where the language model has more parameters than this.

        Raises:
            RequestError: the language model cannot be found again.
            WorkError: transformers is not installed.
        """
        if not isinstance(dataset, Dataset) or dataset.provenance is None:
            return None
        provenance = dataset.provenance
        if len(provenance.at) != 1 or provenance.length:
            return None
        names = [provenance.at[0], *(() if dataset.target is None else provenance.target)]
        if len(names) != 1 + (dataset.target is not None):
            return None
        if provenance.manifest.header["model"].get("kind") != "causal":
            return None
        language = language_of(provenance)
        if largest is not None and sum(p.numel() for p in language.module.parameters()) > largest:
            return None
        places = [resolve(language.module, name) for name in names]
        if any(len(found) != 1 for found in places):
            return None
        return cls(dataset, language, places[0][0], tokens, places[-1][0])

    @torch.no_grad()
    def __call__(self, model: Autoencoder) -> Costs:
        """The costs of replacing activations by a model's reconstructions of them."""
        parts = []
        for number, (inputs, kept) in enumerate(self.inputs):
            before = self.kept[number] if self.kept is not None else None
            wanted = {self.place.name: self.place, self.target.name: self.target}
            both = capture(self.module, inputs, list(wanted.values()))
            seen, old = both[self.place.name], both[self.target.name]
            spread = kept.reshape(*kept.shape, *[1] * (old.ndim - 2))
            made = torch.where(spread, self._made(model, seen, old), old)
            parts.append(measure(self.module, inputs, self.target, _always(made), before=before))
        return join(parts)

    def _made(self, model: Autoencoder, seen: Tensor, old: Tensor) -> Tensor:
        """What the model makes of activations (B, T, ...), in the units and the shape of what it replaces."""
        data = self.dataset
        scaling = data.scaling if data.target is None else data.target_scaling
        x = data.scaling.apply(seen.reshape(-1, *data.shape).float().cpu())
        device = next((t.device for t in model.parameters()), torch.device("cpu"))
        out = scaling.invert(model.reconstruct(Batch(x.to(device))).float().cpu())
        return out.reshape(old.shape).to(old)


def language_of(provenance: Provenance) -> Any:
    """The model that a harvest is from, as it was then, in float32.

    Raises:
        RequestError: it was a model in memory, cannot be loaded, or is another by now.
        WorkError: transformers is not installed.
    """
    from narrows.activations.models import model_source

    return language_model(*model_source(provenance.manifest.header["model"]))


@lru_cache(maxsize=1)
def language_model(source: str, revision: str) -> Any:
    """A language model as a harvest notes it, frozen; the last one is remembered."""
    from narrows.activations.models import load

    found = load(source, revision=revision, fetch=False)
    found.module.requires_grad_(False)
    return found


def _contexts(dataset: Dataset, tokens: int) -> list[tuple[Tensor, Tensor]]:
    """Whole contexts of the examples: their token ids (T,), and which positions are examples (T,)."""
    provenance, row, total = dataset.provenance, 0, 0
    assert provenance is not None
    found: list[tuple[Tensor, Tensor]] = []
    while row < len(dataset) and (not found or total < tokens):
        ids, _ = provenance.context_of(row)
        rows = torch.arange(row, min(row + len(ids), len(dataset)))
        numbers = provenance.contexts(rows)
        rows = rows[numbers == numbers[0]]
        kept = torch.zeros(len(ids), dtype=torch.bool)
        kept[provenance.positions(rows)] = True
        if len(ids) > 1:
            found.append((ids, kept))
            total += len(ids)
        row += len(rows)
    if not found:
        raise NarrowsError("The harvest holds no context of two tokens or more.")
    return found


def _always(made: Tensor) -> Replace:
    """What stands in an activation's place, whatever it was."""
    return lambda activation: made


def _padded(contexts: list[tuple[Tensor, Tensor]], device: torch.device) -> tuple[dict[str, Tensor], Tensor]:
    """Contexts as one batch, and which of its positions are examples, (B, T)."""
    longest = max(len(ids) for ids, _ in contexts)
    ids = torch.zeros(len(contexts), longest, dtype=torch.long)
    mask, kept = torch.zeros_like(ids), torch.zeros_like(ids, dtype=torch.bool)
    for row, (tokens, of) in enumerate(contexts):
        ids[row, : len(tokens)], mask[row, : len(tokens)], kept[row, : len(tokens)] = tokens, 1, of
    return {"input_ids": ids.to(device), "attention_mask": mask.to(device)}, kept.to(device)
