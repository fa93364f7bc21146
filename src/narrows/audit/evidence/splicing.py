"""The loss of a language model whose activations are replaced by reconstructions."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeAlias

import torch
from torch import Tensor

from narrows.activations.capture import capture
from narrows.activations.hook_points import HookPoint, resolve
from narrows.activations.provenance import Provenance
from narrows.activations.splice import Baseline, Costs, Replace, baseline, join, measure, stack
from narrows.core import Autoencoder, Batch
from narrows.core.check import NarrowsError
from narrows.data.dataset import Dataset, Examples

__all__ = ["Splicer", "language_model", "language_of", "spliceable"]

TOKENS, BATCH = 4096, 16
"""Largest number of tokens, and number of contexts in one run of the language model."""

Change: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""From activations and their reconstructions to what replaces the activations."""

_LOGITS = 1 << 26
"""Largest number of the original model's logits that are cached; more of them are computed each time."""


class Splicer:
    """Measures the costs of replacing a language model's activations by a model's reconstructions.

    Only harvested positions are replaced; the others (such as the first of a text) keep their activations. Every token
    but the first of each context counts as a prediction.

    Args:
        dataset: examples that are single rows of one hook point, with a `provenance`.
        language: the causal language model of the harvest, a `narrows.activations.models.Model`.
        hook_point: where activations are read.
        tokens: largest number of tokens.
        target: where activations are replaced, if the target differs from the input (a transcoder).
    """

    def __init__(
        self,
        dataset: Dataset,
        language: Any,
        hook_point: HookPoint,
        tokens: int = TOKENS,
        target: HookPoint | None = None,
    ) -> None:
        self.dataset, self.module, self.hook_point = dataset, language.module, hook_point
        self.target = hook_point if target is None else target
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
        """The splicer of a data set; None if it is not a harvest of one hook point of a causal language model.

        Args:
            dataset: any data.
            tokens: largest number of tokens.
            largest: largest number of parameters of the language model; None is returned for larger ones.

        Raises:
            RequestError: the language model is missing or has changed.
            WorkError: transformers is not installed.
        """
        provenance = spliceable(dataset)
        if provenance is None or not isinstance(dataset, Dataset):
            return None
        names = [provenance.at[0], *(() if dataset.target is None else provenance.target)]
        language = language_of(provenance)
        if largest is not None and sum(p.numel() for p in language.module.parameters()) > largest:
            return None
        hook_points = [resolve(language.module, name) for name in names]
        if any(len(found) != 1 for found in hook_points):
            return None
        return cls(dataset, language, hook_points[0][0], tokens, hook_points[-1][0])

    def __call__(self, model: Autoencoder) -> Costs:
        """The costs of replacing activations by a model's reconstructions of them, for each prediction."""
        return join(self.parts(model))

    def contexts(self, model: Autoencoder, change: Change | None = None) -> Costs:
        """The same with a row for each context, (contexts, T - 1); `change` is that of `parts`."""
        return stack(self.parts(model, change))

    @torch.no_grad()
    def parts(self, model: Autoencoder, change: Change | None = None) -> list[Costs]:
        """The costs of each batch of contexts, (B, T - 1).

        Args:
            model: gives the reconstructions.
            change: from the activations and their reconstructions, (B, T, ...) each, to what replaces the activations
                at harvested positions; None takes the reconstructions.
        """
        parts = []
        for number, (inputs, kept) in enumerate(self.inputs):
            before = self.kept[number] if self.kept is not None else None
            wanted = {self.hook_point.name: self.hook_point, self.target.name: self.target}
            both = capture(self.module, inputs, list(wanted.values()))
            source, old = both[self.hook_point.name], both[self.target.name]
            spread = kept.reshape(*kept.shape, *[1] * (old.ndim - 2))
            new = self._made(model, source, old)
            made = torch.where(spread, new if change is None else change(old, new), old)
            parts.append(measure(self.module, inputs, self.target, _always(made), before=before))
        return parts

    def _made(self, model: Autoencoder, source: Tensor, old: Tensor) -> Tensor:
        """The reconstructions of activations (B, T, ...), in the units and the shape of those they replace."""
        data = self.dataset
        scaling = data.scaling if data.target is None else data.target_scaling
        x = data.scaling.apply(source.reshape(-1, *data.shape).float().cpu())
        device = next((t.device for t in model.parameters()), torch.device("cpu"))
        out = scaling.invert(model.reconstruct(Batch(x.to(device))).float().cpu())
        return out.reshape(old.shape).to(old)


def spliceable(dataset: Examples | None) -> Provenance | None:
    """The provenance of a harvest of single rows of one hook point of a causal language model; None of other data."""
    if not isinstance(dataset, Dataset) or dataset.provenance is None:
        return None
    provenance = dataset.provenance
    single = len(provenance.at) == 1 and not provenance.length
    single = single and (dataset.target is None or len(provenance.target) == 1)
    causal = provenance.manifest.header["model"].get("kind") == "causal"
    return provenance if single and causal else None


def language_of(provenance: Provenance) -> Any:
    """The model of a harvest, of the same revision, in float32.

    Raises:
        RequestError: it was a model in memory, cannot be loaded, or has changed.
        WorkError: transformers is not installed.
    """
    from narrows.activations.models import model_source

    return language_model(*model_source(provenance.manifest.header["model"]))


@lru_cache(maxsize=1)
def language_model(source: str, revision: str) -> Any:
    """A frozen language model by source and revision; the last one is cached."""
    from narrows.activations.models import load

    found = load(source, revision=revision, fetch=False)
    found.module.requires_grad_(False)
    return found


def _contexts(dataset: Dataset, tokens: int) -> list[tuple[Tensor, Tensor]]:
    """Whole contexts of the examples: their token ids (T,), and a mask of the positions that are examples (T,)."""
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
        raise NarrowsError("The harvest has no context of two tokens or more.")
    return found


def _always(made: Tensor) -> Replace:
    """A replacement that does not depend on the activation."""
    return lambda activation: made


def _padded(contexts: list[tuple[Tensor, Tensor]], device: torch.device) -> tuple[dict[str, Tensor], Tensor]:
    """Contexts as one padded batch, and a mask of the positions that are examples, (B, T)."""
    longest = max(len(ids) for ids, _ in contexts)
    ids = torch.zeros(len(contexts), longest, dtype=torch.long)
    mask, kept = torch.zeros_like(ids), torch.zeros_like(ids, dtype=torch.bool)
    for row, (tokens, of) in enumerate(contexts):
        ids[row, : len(tokens)], mask[row, : len(tokens)], kept[row, : len(tokens)] = tokens, 1, of
    return {"input_ids": ids.to(device), "attention_mask": mask.to(device)}, kept.to(device)
