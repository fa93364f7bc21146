"""Passes over data: activations of latents, their top examples, and the tokens around those."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from narrows.activations.provenance import Provenance
from narrows.audit.evidence.streams import Counts, Entries, TopEntries, entries, peaks, random_priority
from narrows.audit.evidence.tokens import TokenText
from narrows.audit.evidence.view import device_of
from narrows.core import Autoencoder, Sparse
from narrows.core.check import RequestError
from narrows.core.evidence import Latents
from narrows.data.dataset import Examples, known_of

__all__ = ["CodeReader", "FeatureExample", "examples_of"]

_ROWS, _TOP, _OTHERS = 1024, 6, 3
_BEFORE, _AFTER = 18, 9


@dataclass(frozen=True)
class FeatureExample:
    """An example that activates a latent.

    Args:
        row: its row number in the data.
        value: the latent's activation.
        words: of text, the tokens around it.
        values: the latent's activation at each token; None if the harvest left the token out.
        at: the position of the example among `words`.
        x: the example in the model's units, if it is not text.
    """

    row: int
    value: float
    words: tuple[str, ...] = ()
    values: tuple[float | None, ...] = ()
    at: int = 0
    x: Tensor | None = None


class CodeReader:
    """Encodes the first rows of the data, in order."""

    def __init__(
        self,
        model: Autoencoder,
        dataset: Examples,
        total: int,
        seed: int,
        advance: Callable[[int, int], None],
    ) -> None:
        self.model, self.dataset, self.total, self.seed, self.advance = model, dataset, total, seed, advance
        provenance = known_of(dataset).provenance
        self.provenance = None if provenance is None or provenance.length else provenance
        self.text = self.provenance is not None and _is_text(self.provenance)

    def codes(self, rows: slice | Tensor) -> Tensor | Sparse:
        """The sparse codes of some rows."""
        batch = self.dataset.batch(rows, conditions=self.model.conditions, device=device_of(self.model))
        code = self.model.encode(batch)
        found = code.find(Latents)
        return code.z if found is None else found.z

    def first(self, width: int) -> tuple[Counts, TopEntries, TopEntries]:
        """Count the activations of all latents and keep their top examples, one a context, and random ones."""
        counts, top, others = Counts(width), TopEntries(width, _TOP), TopEntries(width, _OTHERS)
        start = 0
        while start < self.total:
            rows, groups = self.piece(start)
            found = entries(self.codes(rows), start)
            counts.add(found, rows.stop - start)
            others.add(found, random_priority(found, self.seed))
            peak = peaks(found, groups[found.row - start])
            top.add(peak, peak.value.abs())
            self.advance(rows.stop, 2 * self.total)
            start = rows.stop
        return counts, top, others

    def piece(self, start: int) -> tuple[slice, Tensor]:
        """The rows of one batch from `start` on, and the context of each; contexts are kept whole if they fit."""
        stop = min(start + _ROWS, self.total)
        if self.provenance is None:
            return slice(start, stop), torch.arange(start, stop)
        groups: Tensor = self.provenance.contexts(slice(start, stop))
        begins = (groups[1:] != groups[:-1]).nonzero().squeeze(1) + 1
        if stop < self.total and len(begins):
            stop = start + int(begins[-1])
        return slice(start, stop), groups[: stop - start]

    def values(self, wanted: Entries) -> Tensor:
        """The activations at the latents and rows of some entries, (E,); the entries' own values are ignored."""
        rows, where = wanted.row.unique(return_inverse=True)
        out = torch.zeros(len(wanted.row))
        for start in range(0, len(rows), _ROWS):
            z = self.codes(rows[start : start + _ROWS])
            here = ((where >= start) & (where < start + _ROWS)).nonzero().squeeze(1)
            row, latent = where[here] - start, wanted.latent[here]
            if isinstance(z, Sparse):
                match = z.indices.cpu()[row] == latent[:, None]
                out[here] = (z.values.float().cpu()[row] * match).sum(1)
            else:
                out[here] = z.float().cpu()[row, latent]
            self.advance(self.total + self.total * min(start + _ROWS, len(rows)) // len(rows), 2 * self.total)
        return out


@dataclass(frozen=True)
class Window:
    """The tokens around an example.

    Args:
        shown: the index of the example's latent among the chosen ones.
        row: the example's row number.
        value: the latent's activation there.
        ids: of the tokens.
        at: the position of the example among the tokens.
        rows: the row of each token, -1 if it was not harvested.
    """

    shown: int
    row: int
    value: float
    ids: list[int]
    at: int
    rows: list[int]


def examples_of(
    reader: CodeReader, tables: tuple[TopEntries, TopEntries], chosen: Tensor
) -> tuple[list[tuple[FeatureExample, ...]], list[tuple[FeatureExample, ...]]]:
    """The top examples and the random examples of each chosen latent."""
    if reader.text:
        made = _in_context(reader, tables, chosen)
    else:
        made = [_raw_examples(reader, table, chosen) for table in tables]
    return made[0], made[1]


def _raw_examples(reader: CodeReader, table: TopEntries, chosen: Tensor) -> list[tuple[FeatureExample, ...]]:
    rows = table.row[chosen]
    known = rows[rows >= 0].unique()
    x = reader.dataset.batch(known, device="cpu").x
    return [
        tuple(
            FeatureExample(row, value, x=x[int(torch.searchsorted(known, row))])
            for row, value in zip(rows[i].tolist(), table.value[latent].tolist(), strict=True)
            if row >= 0
        )
        for i, latent in enumerate(chosen.tolist())
    ]


def _in_context(
    reader: CodeReader, tables: tuple[TopEntries, TopEntries], chosen: Tensor
) -> list[list[tuple[FeatureExample, ...]]]:
    """Examples that are tokens, with the tokens around them and the latent's activation at each."""
    words, made = TokenText.of(reader.provenance), []
    windows = [
        [
            _window(reader, i, row, value)
            for i, latent in enumerate(chosen.tolist())
            for row, value in zip(table.row[latent].tolist(), table.value[latent].tolist(), strict=True)
            if row >= 0
        ]
        for table in tables
    ]
    points = [(w.shown, row) for table in windows for w in table for row in w.rows if row >= 0]
    latent, row = chosen[torch.tensor([p[0] for p in points])], torch.tensor([p[1] for p in points])
    values = iter(reader.values(Entries(latent, row, torch.zeros(len(row)))).tolist())
    for table in windows:
        shown: list[list[FeatureExample]] = [[] for _ in range(len(chosen))]
        for w in table:
            activations = tuple(next(values) if row >= 0 else None for row in w.rows)
            shown[w.shown].append(FeatureExample(w.row, w.value, tuple(map(words, w.ids)), activations, w.at))
        made.append([tuple(few) for few in shown])
    return made


def _window(reader: CodeReader, shown: int, row: int, value: float) -> Window:
    provenance = reader.provenance
    assert provenance is not None
    ids, position = provenance.context_of(row)
    first, last = max(0, position - _BEFORE), min(len(ids), position + _AFTER + 1)
    near = torch.arange(max(0, row - _BEFORE), min(len(reader.dataset), row + _AFTER + 1))
    near = near[provenance.contexts(near) == provenance.contexts(torch.tensor([row]))]
    rows = [-1] * (last - first)
    for at, which in zip(provenance.positions(near).tolist(), near.tolist(), strict=True):
        if first <= at < last:
            rows[at - first] = which
    return Window(shown, row, value, ids[first:last].tolist(), position - first, rows)


def _is_text(provenance: Provenance) -> bool:
    try:
        provenance.tokens(slice(0, 1))
    except RequestError:
        return False
    return True
