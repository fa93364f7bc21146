"""Labelled sets: texts, words in texts or arrays, with concepts that each of them has or lacks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np

from narrows.core.check import RequestError, refuse, whole

__all__ = ["Labelled", "Split", "fits", "of_classes"]

FEWEST = 8
"""Least number of examples of each class of a concept."""


class Split(NamedTuple):
    """Examples of one concept: their numbers and labels, for training and for testing.

    Args:
        train: numbers of the training examples, (B,).
        test: numbers of the test examples, (B,).
        train_labels: 1 where the example has the concept, else 0, (B,).
        test_labels: the same of the test examples.
    """

    train: np.ndarray
    test: np.ndarray
    train_labels: np.ndarray
    test_labels: np.ndarray


@dataclass(frozen=True, eq=False)
class Labelled:
    r"""Examples with several concepts.

    An example is a text, a word in a text, or a row of an array. Examples of one group (the words of a text, several
    texts of an author) are never divided between training and test examples; equal texts are one group.

    Args:
        name: of the set, for reports.
        concepts: the names of the concepts.
        labels: 1 if the example has the concept, 0 if not, -1 if that is unknown, (B, concepts) int8.
        texts: the texts, one per example, or those in which the words stand.
        words: of examples that are words: the number of its text and its first and last (exclusive) character, (B, 3).
        x: activations, in place of texts, (B, \*shape).
        groups: the group of each example, (B,); every text is one if None.
        test: whether each example belongs to the test part, (B,), where that was decided beforehand.

    Raises:
        RequestError: no examples, an empty text, a concept with one class, or a text in both parts.

    Example:
        >>> found = of_classes("colours", ["red", "blue", "dark red", "dark blue"] * 8, ["r", "b"] * 16)
        >>> found.concepts, len(found)
        (('r',), 4)
    """

    name: str
    concepts: tuple[str, ...]
    labels: np.ndarray
    texts: tuple[str, ...] = ()
    words: np.ndarray | None = None
    x: np.ndarray | None = None
    groups: np.ndarray | None = None
    test: np.ndarray | None = None

    def __post_init__(self) -> None:
        if not len(self.labels):
            raise RequestError(f"The labelled set {self.name} has no examples.")
        _no_empty_text(self)
        for concept, of in zip(self.concepts, self.labels.T, strict=True):
            found = {value: int((of == value).sum()) for value in (0, 1)}
            if not all(found.values()):
                raise RequestError(
                    f"The labelled set {self.name} has one class: all its examples are "
                    f"{'' if found[1] else 'not '}`{concept}`. A probe needs examples of two classes."
                )
        if self.test is not None:
            _apart(self, self.test)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def together(self) -> np.ndarray:
        """The group of each example, (B,) int64; equal texts have one group."""
        if self.groups is not None:
            return self.groups
        if not self.texts:
            return np.arange(len(self))
        numbers: dict[str, int] = {}
        of_text = np.array([numbers.setdefault(text, len(numbers)) for text in self.texts], np.int64)
        return of_text if self.words is None else of_text[self.words[:, 0]]

    def split(
        self,
        concept: int,
        seed: int,
        most: int = 1 << 20,
        share: float = 0.25,
        among: np.ndarray | None = None,
    ) -> Split:
        """Equally many examples with and without a concept, in a training and a test part, in random order.

        Args:
            concept: its number.
            seed: of the choice.
            most: largest number of examples.
            share: the share of the test part, unless the set has its own.
            among: the numbers of the examples that may be chosen; all if None.

        Raises:
            RequestError: a part has too few examples of a class.
        """
        parts = self.cells((concept,), seed, most, share, among)
        rng = np.random.default_rng(seed + 1)
        train, test = (rng.permutation(np.concatenate(list(part.values()))) for part in parts)
        of = self.labels[:, concept].astype(np.int64)
        return Split(train, test, of[train], of[test])

    def cells(
        self,
        concepts: Sequence[int],
        seed: int,
        most: int = 1 << 20,
        share: float = 0.25,
        among: np.ndarray | None = None,
    ) -> list[dict[tuple[int, ...], np.ndarray]]:
        """Equally many examples of every combination of some concepts, in a training and a test part.

        Args:
            concepts: their numbers.
            seed: as for `split`.
            most: as for `split`.
            share: as for `split`.
            among: as for `split`.

        Returns:
            For both parts, the examples (B,) by their labels, such as (1, 0).

        Raises:
            RequestError: a part has too few examples of a combination.
        """
        rng = np.random.default_rng(seed)
        usable = np.ones(len(self), bool) if among is None else np.isin(np.arange(len(self)), among)
        test, found = self._test_part(rng, share), []
        for part, size in ((usable & ~test, 1 - share), (usable & test, share)):
            kinds = list(product((0, 1), repeat=len(concepts)))
            cells = {
                kind: rng.permutation(np.flatnonzero(part & (self.labels[:, concepts] == kind).all(1)))
                for kind in kinds
            }
            count = min(*map(len, cells.values()), max(1, int(most * size / len(kinds))))
            if count < FEWEST:
                names = " and ".join(f"`{self.concepts[concept]}`" for concept in concepts)
                raise RequestError(
                    f"The labelled set {self.name} has {count} examples of a class of {names} in one part, but a "
                    f"probe needs {FEWEST} of each class, for training and for testing."
                )
            found.append({kind: rows[:count] for kind, rows in cells.items()})
        return found

    def _test_part(self, rng: np.random.Generator, share: float) -> np.ndarray:
        """Whether each example is in the test part: as the set says, or by groups drawn at random."""
        if self.test is not None:
            return self.test
        names, group = np.unique(self.together, return_inverse=True)
        drawn: np.ndarray = (rng.permutation(len(names)) < round(share * len(names)))[group]
        return drawn


def of_classes(
    name: str,
    texts: Sequence[str],
    classes: Sequence[str] | np.ndarray,
    *,
    test: np.ndarray | None = None,
    groups: Sequence[str] | None = None,
    names: Mapping[str, str] | None = None,
) -> Labelled:
    """A labelled set of texts of one class each; with more than two classes, each class is a concept.

    A text that occurs several times counts once; one that occurs with several classes is left out.

    Args:
        name: of the set.
        texts: one per example.
        classes: the class of each text.
        test: whether each text belongs to the test part, if the set divides them itself.
        groups: the group of each text.
        names: names of the classes, in the order of the concepts; the order of the text if None. Of two classes, the
            last is the concept.

    Raises:
        RequestError: as `Labelled`.
    """
    stripped = [text.strip() for text in texts]
    if empty := [i for i, text in enumerate(stripped, 1) if not text]:
        raise RequestError(f"The labelled set {name} has an empty text: number {empty[0]}. Leave it out.")
    if test is not None and (both := _in_both(stripped, test)):
        raise _in_both_parts(name, both)
    labels = [str(label) for label in classes]
    if len(labels) != len(stripped):
        raise refuse(
            "labels", f"{len(labels)} labels", f"a label for each of the {len(stripped)} texts of {name}"
        )
    known = list(names) if names is not None else sorted(set(labels))
    if len(known) < 2:
        raise RequestError(
            f"The labelled set {name} has one class: every text is `{known[0] if known else ''}`. A probe needs two."
        )
    several = Counter(text for text, _ in set(zip(stripped, labels, strict=True)))
    first = {text: i for i, text in reversed(list(enumerate(stripped)))}
    kept = np.array(
        [i for i, text in enumerate(stripped) if first[text] == i and several[text] == 1], np.int64
    )
    if stripped and not len(kept):
        raise RequestError(
            f"The labelled set {name} has no text with one label: {stripped[0]!r}, and every other one, occurs with "
            "several. Give each text one label."
        )
    chosen = known[1:] if len(known) == 2 else known
    matrix = np.array([[labels[i] == c for c in chosen] for i in kept], np.int8).reshape(
        len(kept), len(chosen)
    )
    numbers = None
    if groups is not None:
        order = {group: at for at, group in enumerate(dict.fromkeys(groups))}
        numbers = np.array([order[groups[i]] for i in kept], np.int64)
    concepts = tuple(names[c] if names is not None else c for c in chosen)
    inside = None if test is None else test[kept]
    return Labelled(name, concepts, matrix, tuple(stripped[i] for i in kept), groups=numbers, test=inside)


def fits(k: int, examples: int, name: str) -> None:
    """Check that there are at least as many training examples as latents in a probe.

    Args:
        k: the number of latents.
        examples: the number of training examples.
        name: of the set.

    Raises:
        RequestError: there are fewer.
    """
    if examples < whole("k", k):
        raise RequestError(
            f"The labelled set {name} has {examples} training examples, fewer than k = {k}. Use a smaller k, or more "
            "examples."
        )


def _no_empty_text(found: Labelled) -> None:
    if empty := [i for i, text in enumerate(found.texts, 1) if not text.strip()]:
        raise RequestError(
            f"The labelled set {found.name} has an empty text: number {empty[0]}. Leave it out."
        )
    if not found.texts and found.x is None:
        raise RequestError(f"The labelled set {found.name} has neither texts nor activations.")


def _apart(found: Labelled, test: np.ndarray) -> None:
    """Check that no text and no group is in both parts."""
    if found.texts and found.words is None and (both := _in_both(found.texts, test)):
        raise _in_both_parts(found.name, both)
    both_groups = np.intersect1d(found.together[test], found.together[~test])
    if len(both_groups):
        raise RequestError(
            f"The labelled set {found.name} has a group in both parts, training and test: a probe could learn its "
            "members by heart. Put every group into one part."
        )


def _in_both(texts: Sequence[str], test: np.ndarray) -> str:
    """A text that is in both parts, or an empty string."""
    inside = {text for text, of in zip(texts, test, strict=True) if of}
    return next((text for text, of in zip(texts, test, strict=True) if not of and text in inside), "")


def _in_both_parts(name: str, text: str) -> RequestError:
    shown = text if len(text) <= 60 else text[:57] + "..."
    return RequestError(
        f"The labelled set {name} has the same text in its training and its test part: {shown!r}. A probe could learn "
        "it by heart. Leave it out of one of them."
    )
