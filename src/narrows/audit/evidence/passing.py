"""Passes over data: counts of all latents, their top examples, and the tokens around those."""

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

__all__ = ["COUNTED", "SEARCHED", "CodeReader", "FeatureExample", "Streamed", "examples_of", "stream"]

COUNTED, SEARCHED = 200_000, 50_000
"""Default numbers of rows on which latents are counted, and among which their top examples are searched."""

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

    def search(self, found: Streamed) -> None:
        """Count the activations of all latents and keep their top examples, one a context, and random ones."""
        start = 0
        while start < self.total:
            rows, groups = self.piece(start)
            here = entries(self.codes(rows), start)
            found.counts.add(here, rows.stop - start, start)
            found.others.add(here, random_priority(here, self.seed))
            peak = peaks(here, groups[here.row - start])
            found.top.add(peak, peak.value.abs())
            self.advance(rows.stop, self.total)
            start = rows.stop

    def count(self, found: Counts, rows: range) -> None:
        """Count the activations of all latents in some rows, of codes of any number of positions."""
        for start in range(rows.start, rows.stop, _ROWS):
            z = _flat(self.codes(slice(start, min(start + _ROWS, rows.stop))))
            found.add(entries(z), len(z.values if isinstance(z, Sparse) else z))
            self.advance(min(start + _ROWS, rows.stop), rows.stop)

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
            self.advance(min(start + _ROWS, len(rows)), len(rows))
        return out


@dataclass(frozen=True)
class Streamed:
    """What one pass over many rows found; only counts and a few examples of each latent are kept.

    Args:
        counts: of the activations of all latents.
        top: the largest activations of each latent, one a context, among the rows that were searched.
        others: random ones.
        searched: the number of rows that were searched.
        training: the number of rows of the training data among those that were counted.
    """

    counts: Counts
    top: TopEntries
    others: TopEntries
    searched: int
    training: int


def stream(
    model: Autoencoder,
    dataset: Examples,
    width: int,
    train: Examples | None = None,
    *,
    counted: int = COUNTED,
    searched: int = SEARCHED,
    seed: int = 0,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> Streamed:
    """Count the activations of all latents, chunk by chunk: in the data, then in the training data.

    Args:
        model: with a sparse code.
        dataset: the examples.
        width: N, the number of latents.
        train: further rows that are counted if there are fewer examples than `counted`; not if they are computed when
            they are read.
        counted: largest number of rows that are counted.
        searched: of the first rows of the data, how many are searched for examples; 0 for codes of several positions.
        seed: of the random examples.
        advance: called with the finished and the total number of rows.
    """
    own = min(len(dataset), counted)
    searched = min(own, searched)
    extra = 0 if train is None or known_blocks(train) else min(len(train), counted - own)
    found = Streamed(Counts(width), TopEntries(width, _TOP), TopEntries(width, _OTHERS), searched, extra)
    total = own + extra

    def reader(data: Examples, rows: int, before: int) -> CodeReader:
        return CodeReader(model, data, rows, seed, lambda done, _: advance(before + done, total))

    reader(dataset, searched, 0).search(found)
    reader(dataset, own, 0).count(found.counts, range(searched, own))
    if train is not None and extra:
        reader(train, extra, own).count(found.counts, range(extra))
    return found


def known_blocks(examples: Examples) -> bool:
    """Whether rows are computed when they are read, a whole shard at a time."""
    return getattr(examples, "blocks", None) is not None


def _flat(z: Tensor | Sparse) -> Tensor | Sparse:
    """Codes with one row for each position."""
    if isinstance(z, Sparse):
        return Sparse(z.indices.flatten(0, -2), z.values.flatten(0, -2), z.width)
    return z.flatten(0, -2)


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
