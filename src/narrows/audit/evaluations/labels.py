"""What the evaluations on labelled sets share: their options, and the activations and codes of the examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from narrows.audit.evaluations.evaluation import Evaluation
from narrows.audit.evidence.drawn import vectors
from narrows.audit.evidence.reseeds import Reseeded
from narrows.audit.evidence.states import POOLING, States, codes, lacks_states, states
from narrows.audit.evidence.view import View
from narrows.audit.metrics.probing import Problems
from narrows.core.check import RequestError, choice, whole
from narrows.data.dataset import Dataset
from narrows.data.labelled import Split
from narrows.data.named.labelled import LABELLED, absent, open_labelled

__all__ = ["GATE", "Matrices", "OnLabels", "average", "passing"]

GATE = 0.7
"""AUC of a probe of all activations below which a concept is not in them, so that no code can show it."""


@dataclass(frozen=True, eq=False)
class Matrices:
    """Labelled examples as rows of matrices, in the order of `states.rows`.

    Args:
        states: the examples.
        x: activations, pooled, (S, D).
        z: codes, pooled, (S, N).
        control: codes of the random dictionary, pooled, (S, N).
    """

    states: States
    x: Tensor
    z: Tensor
    control: Tensor

    def rows(self, numbers: np.ndarray) -> Tensor:
        """The rows of examples by their numbers in the labelled set."""
        return torch.from_numpy(np.searchsorted(self.states.rows, numbers))

    def problems(self, matrix: Tensor, splits: Sequence[Split]) -> Problems:
        """Problems of equal size, not standardised."""
        labels = [
            torch.from_numpy(np.stack([getattr(split, name) for split in splits]))
            for name in ("train_labels", "test_labels")
        ]
        train, test = (
            torch.stack([matrix[self.rows(getattr(split, name))] for split in splits])
            for name in ("train", "test")
        )
        return Problems(train, test, labels[0], labels[1])

    def splits(self, seed: int, most: int) -> dict[int, Split]:
        """A split of each concept that has enough examples of both classes.

        Raises:
            RequestError: no concept has.
        """
        labelled, found, errors = self.states.labelled, dict[int, Split](), list[RequestError]()
        for concept in range(len(labelled.concepts)):
            try:
                found[concept] = labelled.split(concept, seed, most, among=self.states.rows)
            except RequestError as error:
                errors.append(error)
        if not found:
            raise errors[0]
        return found


class OnLabels(Evaluation):
    """An evaluation on a labelled set.

    Args:
        labels: the labelled set: a name, or a file with the columns text and label.
        pooling: of `POOLING`.
        texts: largest number of texts.
        examples: largest number of examples of a concept.
    """

    def __init__(self, labels: str, pooling: str, texts: int, examples: int) -> None:
        self.labels, self.pooling = labels, choice("pooling", pooling, POOLING)
        self.texts, self.examples = whole("texts", texts), whole("examples", examples, low=16)
        if labels not in LABELLED:
            open_labelled(labels)

    def lacks(self, view: View) -> str:
        """A sparse code of one vector for each example, the model of a harvest, and the labelled set."""
        if not vectors(view):
            return "The model has no sparse code of one vector for each example."
        assert view.dataset is not None
        return lacks_states(view.dataset, view.model.conditions) or absent(self.labels)

    def matrices(self, view: View) -> Matrices:
        """The activations and codes of the examples."""
        assert isinstance(view.dataset, Dataset)
        assert view.control is not None
        found = states(open_labelled(self.labels), view.dataset, self.pooling, self.texts)
        pooled = (found.pooled(codes(model)) for model in (view.model, view.control.model))
        return Matrices(found, found.pooled(), *pooled)


def passing(
    found: Mapping[str, Reseeded], concepts: Sequence[str], gate: float = GATE
) -> tuple[list[str], str]:
    """The concepts whose probe of all activations has the AUC of the gate, and a sentence about the others.

    Args:
        found: with ``CONCEPT/activations``.
        concepts: names of concepts.
        gate: the least AUC.
    """
    values = {name: found[f"{name}/activations"].mean for name in concepts if f"{name}/activations" in found}
    strong = [name for name, value in values.items() if value >= gate]
    weak = [f"{name} ({value:.2f})" for name, value in values.items() if value < gate]
    few = [name for name in concepts if name not in values]
    says = ""
    if weak:
        says = f" Left out, since a probe of all activations has an AUC below {gate:g}: {', '.join(weak)}."
    if few:
        says += f" Left out for want of examples: {', '.join(few)}."
    return strong, says


def average(found: Mapping[str, Reseeded], names: Sequence[str]) -> Reseeded:
    """The mean of several figures, seed by seed."""
    rows = zip(*(found[name].values for name in names), strict=True)
    return Reseeded(tuple(sum(row) / len(row) for row in rows))
