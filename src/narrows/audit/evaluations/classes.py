"""Classes in the codes: agreement of clusters with them, and their prediction from nearest neighbours."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from narrows.audit.evaluations.evaluation import Evaluation
from narrows.audit.evidence.reseeds import Reseeded, spread
from narrows.audit.evidence.view import View, device_of
from narrows.audit.metrics.neighbours import adjusted_rand, mutual_information, neighbour_accuracy
from narrows.audit.report.finding import Check, Finding
from narrows.core import seeded
from narrows.core.check import whole
from narrows.data.dataset import known_of
from narrows.kernels.kmeans import kmeans, nearest

__all__ = ["Classes"]

_CHUNK = 512


class Classes(Evaluation):
    r"""Whether the codes tell the classes of the examples, such as the types of cells, without being trained on them.

    .. math:: \mathrm{ARI} = \frac{\mathrm{RI} - E[\mathrm{RI}]}{1 - E[\mathrm{RI}]},\qquad
        \mathrm{NMI} = \frac{2\, I(c, y)}{H(c) + H(y)}

    k-means on the codes of the audit's examples, with as many clusters as there are classes, gives the cluster c of
    each example, whose class is y. RI is the share of pairs of examples on which clusters and classes agree. The
    neighbours of an example are the nearest training examples in the code; their most frequent class is the prediction.

    Figures: `classes/ari` and `classes/nmi`, means of several runs of k-means; `classes/neighbours`, the accuracy of
    the prediction.

    Chance: shuffled classes; for the neighbours, the most frequent class.

    Cost: that of k-means, and of encoding the training examples.

    Misleads when: classes are not what the data differ in most, or have very unequal sizes: k-means then splits large
    classes. The distances between codes are what k-means and neighbours see, and a code may tell the classes in another
    way.

    Args:
        runs: the number of runs of k-means.
        neighbours: the number of neighbours.
        rows: largest number of training examples.

    Example:
        >>> Classes(runs=3).runs
        3

    Reference:
        Hubert and Arabie, Comparing partitions, 1985. doi:10.1007/BF01908075
    """

    seconds: ClassVar[float] = 5

    def __init__(self, runs: int = 10, neighbours: int = 15, rows: int = 20_000) -> None:
        self.runs, self.neighbours = whole("runs", runs, low=2), whole("neighbours", neighbours)
        self.rows = whole("rows", rows)

    def lacks(self, view: View) -> str:
        """Classes of the audit's and of the training examples, and a dense code."""
        if view.labels is None or view.train is None or known_of(view.train).labels is None:
            return "The examples have no classes. Name them with --labels."
        if len(view.labels.unique()) < 2:
            return "The examples are all of one class."
        return (
            "" if view.dense is not None else "The model has no dense code, in which examples have distances."
        )

    def __call__(self, view: View) -> Finding:
        """The three figures."""
        codes, answers = view.dense, view.labels
        assert codes is not None
        assert answers is not None
        codes, answers = codes.float(), answers.long()
        shuffled = answers[torch.randperm(len(answers), generator=torch.Generator().manual_seed(view.seed))]
        found: dict[str, list[float]] = {"ari": [], "nmi": [], "ari/chance": [], "nmi/chance": []}
        for run in range(self.runs):
            with seeded(view.seed + run):
                centres, _ = kmeans(codes, len(answers.unique()), 50)
            clusters = nearest(codes, centres)
            for name, of in (("ari", adjusted_rand), ("nmi", mutual_information)):
                found[name].append(of(clusters, answers))
                found[f"{name}/chance"].append(of(clusters, shuffled))
        says = f"of k-means clusters of the codes and the classes, the mean of {self.runs} runs of k-means."
        checks = [
            Check(
                f"classes/{name}",
                Reseeded(tuple(found[name])).mean,
                "",
                "info",
                f"{what} {says}",
                chance=Reseeded(tuple(found[f"{name}/chance"])).mean,
                spread=Reseeded(tuple(found[name])).spread,
                n=len(answers),
            )
            for name, what in (("ari", "Adjusted Rand index"), ("nmi", "Normalised mutual information"))
        ]
        return Finding((*checks, self._neighbours(view, codes, answers)))

    def _neighbours(self, view: View, codes: Tensor, answers: Tensor) -> Check:
        """The accuracy of the neighbours' class."""
        train = view.train
        assert train is not None
        labels = known_of(train).labels
        assert labels is not None
        rows = torch.randperm(len(train), generator=torch.Generator().manual_seed(view.seed))[: self.rows]
        parts = []
        for some in rows.split(_CHUNK):
            batch = train.batch(some, view.model.conditions, device_of(view.model))
            parts.append(view.model.features(batch).cpu().float())
        known = labels.cpu()[rows].long()
        right = neighbour_accuracy(torch.cat(parts), known, codes, answers, self.neighbours)
        return Check(
            "classes/neighbours",
            float(right.double().mean()),
            "of 1",
            "info",
            f"Share of examples whose class is the most frequent one of their {self.neighbours} nearest training "
            "examples in the code.",
            chance=float((answers == known.mode().values).double().mean()),
            spread=spread(partial(_mean_of, right.double()), len(right), view.seed),
            n=len(right),
        )


def _mean_of(values: Tensor, rows: Tensor) -> float:
    return float(values[rows].mean())
