"""`tpp` and `scr`: what probes still say when latents are ablated. Neither is recommended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from narrows.audit.evaluations.labels import GATE, Matrices, OnLabels, passing
from narrows.audit.evidence.drawn import directions as atoms_of
from narrows.audit.evidence.reseeds import Reseeded, reseed
from narrows.audit.evidence.view import View
from narrows.audit.metrics.ablation import accuracy, effect, perturbation, removal, strongest
from narrows.audit.metrics.probing import Problems, auc, directions
from narrows.audit.report.finding import Check, Finding, not_measured
from narrows.core.check import RequestError, refuse, whole

__all__ = ["SCR", "TPP"]

_WHY = {
    "tpp": "Not recommended: in an audit of benchmarks it fell while dictionaries improved (arXiv 2605.18229).",
    "scr": "Not recommended: in an audit of benchmarks it was negatively correlated with the quality of dictionaries "
    "when many latents are ablated (arXiv 2605.18229).",
}
_HEADROOM = 0.05
"""Least accuracy that the correlation costs the biased probe."""


class _Ablation(OnLabels):
    """What both have in common."""

    def __init__(self, labels: str, n: tuple[int, ...], pooling: str, texts: int, examples: int) -> None:
        super().__init__(labels, pooling, texts, examples)
        self.n = tuple(sorted({whole("n", one) for one in n}))

    def lacks(self, view: View) -> str:
        """What `OnLabels` needs, and a code of the activations themselves."""
        why = super().lacks(view)
        if not why and view.batch.target is not view.batch.x:
            return "The code does not reconstruct its own input (a transcoder), so that nothing is ablated in it."
        return why

    def _both(self, view: View, matrices: Matrices) -> dict[str, tuple[Tensor, Tensor]]:
        """Codes and atoms of the model and of the random dictionary."""
        assert view.control is not None
        return {
            "": (matrices.z, atoms_of(view)),
            "/chance": (matrices.control, view.control.atoms),
        }

    def _checks(
        self, name: str, found: Mapping[str, Reseeded], n: int, what: str, says: str
    ) -> tuple[Check, ...]:
        return tuple(
            Check(
                f"{name}/n{count}", found[f"{count}"].mean, "", "info",
                f"{_WHY[name]} {what.format(count=count)}{says if count == self.n[0] else ''}",
                chance=found[f"{count}/chance"].mean, spread=found[f"{count}"].spread, n=n,
            )
            for count in self.n
        )  # fmt: skip


class TPP(_Ablation):
    r"""Targeted probe perturbation: whether the latents of a concept matter to its probe alone. Not recommended.

    .. math:: \mathrm{TPP}_n = \operatorname{mean}_c \Big[\Delta_{c, c} - \operatorname{mean}_{c' \ne c}
        \Delta_{c', c}\Big], \qquad e_j = \max(0, \bar f_{j \mid c} - \bar f_{j \mid \neg c})\; w_c \cdot d_j

    For each concept c, a logistic probe with weights w reads the activations. The n latents with the largest effects e
    on it are set to 0, the error of the reconstruction is kept, and :math:`\Delta_{c', c}` is the accuracy that the
    probe of c' loses. The penalty of a probe is chosen on validation examples, never on the test examples.

    Figures: `tpp/nN` for each number N of latents.

    Chance: the latents of a random dictionary of equal shape and L0, chosen in the same way.

    Cost: that of the texts; ablations of a linear probe need no second pass.

    Misleads when: dictionaries are compared. It is not recommended: in an audit of benchmarks (arXiv 2605.18229), it
    fell while dictionaries improved. A dictionary with few dense latents scores well, since ablating one of them
    destroys the probe.

    Args:
        labels: the labelled set, with three or more concepts, as for `probing`.
        n: numbers of latents.
        pooling: as for `probing`.
        texts: as for `probing`.
        examples: as for `probing`.

    Example:
        >>> TPP(n=(2, 10)).n
        (2, 10)

    Reference:
        Karvonen et al., SAEBench: a comprehensive benchmark for sparse autoencoders, 2025. arXiv:2503.09532
    """

    seconds: ClassVar[float] = 12

    def __init__(
        self,
        labels: str = "masc-pos",
        n: tuple[int, ...] = (2, 5, 10, 20, 50),
        pooling: str = "mean",
        texts: int = 2000,
        examples: int = 1000,
    ) -> None:
        super().__init__(labels, n, pooling, texts, examples)

    def __call__(self, view: View) -> Finding:
        """TPP for each number of latents."""
        matrices = self.matrices(view)
        both = self._both(view, matrices)
        concepts = matrices.states.labelled.concepts
        gates = reseed(lambda seed: self._gates(matrices, seed), view.seed)
        strong, left_out = passing(gates, concepts)
        if len(strong) < 2:
            reason = f"Two concepts with a probe of AUC {GATE:g} or more are needed.{left_out}"
            return Finding(tuple(not_measured(f"tpp/n{n}", reason) for n in self.n))
        chosen = [concepts.index(name) for name in strong]
        found = reseed(lambda seed: self._measure(matrices, both, chosen, seed), view.seed)
        what = "Accuracy that a probe loses when the {count} latents of its concept are ablated, less the mean loss of "
        what += f"the others, over {len(strong)} concepts of {self.labels}."
        return Finding(self._checks("tpp", found, int(found["tests"].mean), what, left_out))

    def _gates(self, matrices: Matrices, seed: int) -> Mapping[str, float]:
        found = {}
        for number, split in matrices.splits(seed, self.examples).items():
            problems = matrices.problems(matrices.x, [split])
            value = auc(_margins(problems, *directions(problems)), problems.test_labels)
            found[f"{matrices.states.labelled.concepts[number]}/activations"] = float(value)
        return found

    def _measure(
        self, matrices: Matrices, both: Mapping[str, tuple[Tensor, Tensor]], chosen: Sequence[int], seed: int
    ) -> Mapping[str, float]:
        splits = matrices.splits(seed, self.examples)
        size = min(len(splits[number].test) for number in chosen)
        probes = []
        for number in chosen:
            problems = matrices.problems(matrices.x, [splits[number]])
            weights, bias = directions(problems)
            probes.append((weights[0], _margins(problems, weights, bias)[0, :size]))
        weights, margins = (torch.stack(parts) for parts in zip(*probes, strict=True))
        y = torch.stack([torch.from_numpy(splits[number].test_labels[:size]) for number in chosen])
        found = {"tests": float(y.numel())}
        for end, (z, atoms) in both.items():
            codes = torch.stack([z[matrices.rows(splits[number].test[:size])] for number in chosen])
            strength = torch.stack(
                [
                    _positive(z[matrices.rows(splits[number].train)], splits[number].train_labels, w, atoms)
                    for number, w in zip(chosen, weights, strict=True)
                ]
            )
            values = perturbation(margins, y, codes, weights, atoms, strength, self.n)
            found |= {f"{count}{end}": value for count, value in values.items()}
        return found


class SCR(_Ablation):
    r"""Spurious correlation removal: whether ablating a concept's latents removes it from a probe. Not recommended.

    .. math:: \mathrm{SCR}_n = \frac{\sum (a_\text{ablated} - a_\text{biased})}
        {\sum (a_\text{clean} - a_\text{biased})}, \qquad
        e_j = |(\bar f_{j \mid c} - \bar f_{j \mid \neg c})\; w_c \cdot d_j|

    A biased probe is trained on examples with both of two concepts or with neither, so that it cannot tell them apart.
    A clean probe of one concept is trained on examples in which the other is as often there as not, and both are judged
    on such examples. The n latents with the largest effects e on the probe of the other concept are ablated, the error
    of the reconstruction is kept. The sums are over the two concepts.

    Figures: `scr/nN` for each number N of latents.

    Chance: the latents of a random dictionary of equal shape and L0, chosen in the same way.

    Cost: that of the texts; ablations of a linear probe need no second pass.

    Misleads when: many latents are ablated, or dictionaries are compared. It is not recommended: in an audit of
    benchmarks (arXiv 2605.18229), it was negatively correlated with quality for large n. An ablation also moves all
    margins to one side while the bias of the probe stays, so that the figure can be low for a code that holds both
    concepts exactly.

    Args:
        labels: the labelled set, as for `probing`; all four combinations of the two concepts must occur.
        concepts: the names of two concepts.
        n: numbers of latents.
        pooling: as for `probing`.
        texts: as for `probing`.
        examples: largest number of examples; a quarter is the test part.

    Example:
        >>> SCR(concepts=("noun", "spoken")).concepts
        ('noun', 'spoken')

    Reference:
        Karvonen et al., SAEBench: a comprehensive benchmark for sparse autoencoders, 2025. arXiv:2503.09532
    """

    seconds: ClassVar[float] = 8

    def __init__(
        self,
        labels: str = "masc-pos",
        concepts: tuple[str, ...] = ("noun", "long word"),
        n: tuple[int, ...] = (2, 5, 10, 20, 50),
        pooling: str = "mean",
        texts: int = 2000,
        examples: int = 2000,
    ) -> None:
        super().__init__(labels, n, pooling, texts, examples)
        if len(set(concepts)) != 2:
            raise refuse("concepts", concepts, "the names of two concepts")
        self.concepts = concepts

    def __call__(self, view: View) -> Finding:
        """SCR for each number of latents."""
        matrices = self.matrices(view)
        names = matrices.states.labelled.concepts
        if missing := [name for name in self.concepts if name not in names]:
            known = ", ".join(f"`{name}`" for name in names)
            raise RequestError(
                f"The labelled set {self.labels} has no concept `{missing[0]}`. It has {known}."
            )
        pair = [names.index(name) for name in self.concepts]
        both = self._both(view, matrices)
        found = reseed(lambda seed: self._measure(matrices, both, pair, seed), view.seed)
        biased, clean = found["biased"].mean, found["clean"].mean
        strong, left_out = passing(found, self.concepts)
        what = f"{self.concepts[0]} and {self.concepts[1]}: clean accuracy {clean:.3f}, biased {biased:.3f}."
        if len(strong) < 2 or clean - biased < _HEADROOM:
            reason = left_out.strip() or f"the correlation costs the probe too little. {what}"
            return Finding(tuple(not_measured(f"scr/n{n}", reason) for n in self.n))
        says = "The share of the accuracy that a spurious correlation costs which ablating {count} latents restores. "
        return Finding(self._checks("scr", found, int(found["tests"].mean), says + what, ""))

    def _measure(
        self, matrices: Matrices, both: Mapping[str, tuple[Tensor, Tensor]], pair: Sequence[int], seed: int
    ) -> Mapping[str, float]:
        train, test = matrices.states.labelled.cells(pair, seed, self.examples, among=matrices.states.rows)
        probes = [_cells(matrices.x, matrices, train, test, kind) for kind in (None, 0, 1)]
        weights, biases = zip(*(directions(problems) for problems in probes), strict=True)
        found = {"tests": float(sum(map(len, test.values())))}
        ablated: dict[str, list[float]] = {f"{n}{end}": [] for n in self.n for end in both}
        biased, clean = [], []
        for of in (0, 1):
            problems = probes[1 + of]
            y = problems.test_labels[0]
            margins = _margins(problems, weights[0], biases[0])[0]
            own = _margins(problems, weights[1 + of], biases[1 + of])
            biased.append(float(((margins > 0) == y.bool()).double().mean()))
            clean.append(float(((own[0] > 0) == y.bool()).double().mean()))
            found[f"{self.concepts[of]}/activations"] = float(auc(own, problems.test_labels))
            for end, (z, atoms) in both.items():
                codes = _cells(z, matrices, train, test, of)
                other = _cells(z, matrices, train, test, 1 - of)
                strength = effect(other.train[0], other.train_labels[0], weights[2 - of][0], atoms).abs()
                for n in self.n:
                    chosen = strongest(strength, n)
                    ablated[f"{n}{end}"].append(
                        accuracy(margins, y, codes.test[0], weights[0][0], atoms, chosen)
                    )
        for name, values in ablated.items():
            found[name] = removal(values, biased, clean) if sum(clean) > sum(biased) else float("nan")
        return found | {"biased": sum(biased) / 2, "clean": sum(clean) / 2}


def _margins(problems: Problems, weights: Tensor, bias: Tensor) -> Tensor:
    return (problems.test @ weights[..., None])[..., 0] + bias[:, None]


def _positive(z: Tensor, labels: np.ndarray, weights: Tensor, atoms: Tensor) -> Tensor:
    """The effects of the latents that are stronger in examples of the concept; 0 for the others."""
    y = torch.from_numpy(labels)
    stronger = z[y == 1].mean(0) > z[y == 0].mean(0)
    return effect(z, y, weights, atoms) * stronger


def _cells(
    matrix: Tensor,
    matrices: Matrices,
    train: Mapping[tuple[int, ...], np.ndarray],
    test: Mapping[tuple[int, ...], np.ndarray],
    of: int | None,
) -> Problems:
    """One problem of the four combinations: one of the concepts; or, for None, both against neither."""
    parts, labels = [], []
    rng = np.random.default_rng(0)
    for part in (train, test):
        kinds = [kind for kind in part if of is not None or kind[0] == kind[1]]
        rows = np.concatenate([part[kind] for kind in kinds])
        y = np.concatenate([np.full(len(part[kind]), kind[of or 0]) for kind in kinds])
        order = rng.permutation(len(rows))
        parts.append(matrix[matrices.rows(rows[order])][None])
        labels.append(torch.from_numpy(y[order])[None])
    return Problems(parts[0], parts[1], labels[0], labels[1])
