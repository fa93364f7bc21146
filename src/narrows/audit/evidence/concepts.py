"""Binary concepts of examples whose absorption is measured: parents of a hierarchy, first letters of words."""

from __future__ import annotations

from dataclasses import dataclass
from string import ascii_lowercase

import torch
from torch import Tensor

from narrows.activations.provenance import Provenance
from narrows.audit.evidence.tokens import TokenText
from narrows.core.check import NarrowsError
from narrows.data.dataset import Dataset, Examples, known_of
from narrows.data.stores import read_store
from narrows.data.synthetic.hierarchy import HierarchyTruth

__all__ = ["Concepts", "first_letter", "words_of"]

_SCANNED = 200_000
"""Largest number of rows of a harvest that are searched for words."""

_EACH = 3
"""Largest number of examples of one word, since frequent words would decide every figure."""


@dataclass(frozen=True)
class Concepts:
    """Examples with labels.

    Args:
        rows: of the data set, (R,).
        labels: whether each has each concept, (R, C) bool.
        names: of the concepts.
        groups: of each example, (R,): those of one group are never in both halves of a split.
        directions: of the concepts in the units of the model, (C, D), if they are known.
    """

    rows: Tensor
    labels: Tensor
    names: tuple[str, ...]
    groups: Tensor
    directions: Tensor | None = None

    @classmethod
    def of(cls, dataset: Examples | None, after: int, limit: int, seed: int) -> Concepts | None:
        """The concepts of a data set; None if it has none.

        Args:
            dataset: synthetic data with parents and children, or a harvest of single tokens.
            after: of text, how many tokens after a word the activation is read.
            limit: largest number of examples.
            seed: of the choice of examples.
        """
        if not isinstance(dataset, Dataset):
            return None
        known, generator = known_of(dataset), torch.Generator().manual_seed(seed)
        if isinstance(known.truth, HierarchyTruth) and "codes" in known.columns:
            return _parents(dataset, known.truth, limit, generator)
        provenance = known.provenance
        if provenance is None or provenance.length or len(provenance.at) != 1:
            return None
        try:
            return _letters(provenance, len(dataset), after, limit, generator)
        except NarrowsError:  # not of text, or its tokenizer is not here
            return None

    def half(self, seed: int) -> Tensor:
        """A random half of the groups, as a mask of the examples, (R,) bool."""
        found, number = self.groups.unique(return_inverse=True)
        order = torch.randperm(len(found), generator=torch.Generator().manual_seed(seed))
        return (order < len(found) // 2)[number]


def _parents(dataset: Dataset, truth: HierarchyTruth, limit: int, generator: torch.Generator) -> Concepts:
    rows = torch.randperm(len(dataset), generator=generator)[:limit].sort().values
    codes = read_store(dataset.columns["codes"], rows)[0]
    atoms = torch.as_tensor(truth.atoms[: truth.parents], dtype=torch.float32)
    return Concepts(
        rows,
        codes[:, : truth.parents] != 0,
        tuple(f"parent {p}" for p in range(truth.parents)),
        rows,
        atoms / torch.as_tensor(dataset.scaling.scale, dtype=torch.float32),
    )


def _letters(
    provenance: Provenance, count: int, after: int, limit: int, generator: torch.Generator
) -> Concepts | None:
    """Words of at least two letters by their first letter; the first position of a context is left out."""
    text = TokenText.of(provenance)
    if text.tokenizer is None:
        return None
    words, at = words_of(provenance, slice(0, min(count, _SCANNED)), after)
    kinds, kind = words.unique(return_inverse=True)
    letter = torch.tensor([first_letter(text(int(word))) if word >= 0 else -1 for word in kinds])[kind]
    usable = ((letter >= 0) & (at > 0)).nonzero().squeeze(1)
    usable = usable[torch.randperm(len(usable), generator=generator)]
    order = words[usable].argsort(stable=True)
    ranked = words[usable][order]
    first = torch.searchsorted(ranked, ranked)  # where the examples of the same word begin
    few = torch.arange(len(ranked)) - first < _EACH
    rows = usable[order[few]]
    rows = rows[torch.randperm(len(rows), generator=generator)[:limit]].sort().values
    if not len(rows):
        return None
    there = letter[rows].unique()
    labels = letter[rows][:, None] == there
    return Concepts(rows, labels, tuple(ascii_lowercase[i] for i in there), words[rows])


def words_of(provenance: Provenance, rows: slice, after: int) -> tuple[Tensor, Tensor]:
    """The token some positions before each row in its context, -1 if there is none, and the row's position, (R,)."""
    at, context = provenance.positions(rows), provenance.contexts(rows)
    found, starts = (
        torch.full_like(at, -1),
        torch.unique_consecutive(context, return_counts=True)[1].cumsum(0),
    )
    for start, stop in zip([0, *starts[:-1].tolist()], starts.tolist(), strict=True):
        ids, _ = provenance.context_of(start)
        place = at[start:stop] - after
        found[start:stop] = torch.where(place >= 0, ids[place.clamp_min(0)], -1)
    return found, at


def first_letter(token: str) -> int:
    """The number of a word's first letter, 0 to 25; -1 for what is no word of at least two letters.

    Example:
        >>> first_letter(" Boat"), first_letter(" a"), first_letter("12")
        (1, -1, -1)
    """
    word = token.strip().lower()
    known = len(word) > 1 and word.isalpha() and word[0] in ascii_lowercase
    return ascii_lowercase.index(word[0]) if known else -1
