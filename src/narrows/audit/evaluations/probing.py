"""`probing`: sparse probing of labelled concepts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

from narrows.audit.evaluations.labels import Matrices, OnLabels, average, passing
from narrows.audit.evidence.reseeds import Reseeded, reseed
from narrows.audit.evidence.view import View
from narrows.audit.metrics.probing import Scores, components, probe, sparse_probes, standardised
from narrows.audit.report.finding import Chart, Check, Finding, Series, Verdict, not_measured
from narrows.core.check import whole
from narrows.data.labelled import Split, fits

__all__ = ["Probing"]

_NUMBERS = 1 << 26
"""Elements of the examples of several concepts that are probed together."""


class Probing(OnLabels):
    r"""How well the few latents that separate a concept best predict it.

    .. math:: S_k = \operatorname{top-}k_j\, |\bar f_{j \mid y=1} - \bar f_{j \mid y=0}|, \qquad
        \hat y = \sigma(w \cdot f_{S_k} + b)

    For each concept, codes f are standardised on the training examples, the k latents are chosen there, and a logistic
    regression is fitted; its penalty (C from 1e5 to 1e-5) is the one with the best AUC on validation examples. The
    figure is the AUC on test examples, the mean over concepts; as many examples have the concept as have it not. F1 and
    accuracy stand beside it, and the same for the best dimensions of the activations and their principal components.

    Figures: `probing/auc-kK` for each number K of latents, `probing/auc-all`, and `probing/activations`.

    Chance: the latents of a random dictionary of equal shape and L0, chosen and probed in the same way. It is far above
    0.5: random directions of activations that hold a concept hold some of it.

    Cost: the language model reads the texts once; 55 probes for each concept and each of five splits.

    Misleads when: k is large. All latents of any wide code, random ones too, hold what the activations hold; only a
    figure for few latents tells codes apart. Concepts that no dictionary can be expected to have as a latent say
    little, and one whose probe of all activations is weak (AUC below 0.7) is left out.

    Args:
        labels: the labelled set: a name (`masc-pos`, `subjectivity`, `pros-cons`, `movie-reviews`, `names`,
            `udhr2-languages`), or a file with the columns text and label.
        k: numbers of latents; all of them are probed too.
        pooling: the code of a text, or of a word with several tokens: the `mean` over its tokens, or the `last` one.
        texts: largest number of texts.
        examples: largest number of examples of a concept; a quarter is the test part.

    Example:
        >>> Probing(labels="subjectivity", k=(1, 5)).k
        (1, 5)

    Reference:
        Gurnee et al., Finding neurons in a haystack: case studies with sparse probing, 2023. arXiv:2305.01610;
        Kantamneni et al., Are sparse autoencoders useful? A case study in sparse probing, 2025. arXiv:2502.16681
    """

    seconds: ClassVar[float] = 25

    def __init__(
        self,
        labels: str = "masc-pos",
        k: tuple[int, ...] = (1, 2, 5, 20),
        pooling: str = "mean",
        texts: int = 2000,
        examples: int = 1000,
    ) -> None:
        super().__init__(labels, pooling, texts, examples)
        self.k = tuple(sorted({whole("k", one) for one in k}))

    def __call__(self, view: View) -> Finding:
        """The AUC of k latents, for each k, and of all."""
        matrices = self.matrices(view)
        labelled = matrices.states.labelled
        found = reseed(lambda seed: self._measure(matrices, seed), view.seed)
        strong, left_out = passing(found, labelled.concepts)
        tests = int(found["tests"].mean)
        ks = [*map(str, self.k), "all"]
        if not strong:
            return Finding(
                tuple(not_measured(f"probing/auc-{_named(k)}", left_out.strip(), tests) for k in ks)
            )
        notes = f"{left_out} {matrices.states.says}".rstrip()
        checks = [self._check(found, strong, k, tests, notes) for k in ks]
        raw = average(found, [f"{name}/activations" for name in strong])
        says = f"A probe of all activations, the mean AUC over {len(strong)} concepts of {labelled.name}."
        checks.append(
            Check("probing/activations", raw.mean, "", "info", says, chance=0.5, spread=raw.spread, n=tests)
        )
        return Finding(tuple(checks), (self._curves(found, strong), self._concepts(found, strong)))

    def _measure(self, matrices: Matrices, seed: int) -> Mapping[str, float]:
        concepts = matrices.states.labelled.concepts
        splits = matrices.splits(seed, self.examples)
        found = {"tests": float(sum(len(split.test) for split in splits.values()))}
        for numbers in _batches(splits, matrices.z.shape[1]):
            some = [splits[number] for number in numbers]
            fits(self.k[-1], len(some[0].train), matrices.states.labelled.name)
            x = standardised(matrices.problems(matrices.x, some))
            parts: dict[str, Scores] = {"activations": probe(x)}
            for kind, codes in (("latents", matrices.z), ("random", matrices.control)):
                problems = standardised(matrices.problems(codes, some))
                parts |= {f"{kind}/{k}": s for k, s in sparse_probes(problems, self.k).items()}
                parts[f"{kind}/all"] = probe(problems)
            parts |= {f"neurons/{k}": s for k, s in sparse_probes(x, self.k).items()}
            parts |= {f"pca/{k}": probe(components(x, k)) for k in self.k}
            for at, number in enumerate(numbers):
                for kind, scores in parts.items():
                    found[f"{concepts[number]}/{kind}"] = float(scores.auc[at])
                    if kind.startswith("latents"):
                        found[f"{concepts[number]}/{kind}/f1"] = float(scores.f1[at])
                        found[f"{concepts[number]}/{kind}/accuracy"] = float(scores.accuracy[at])
        return found

    def _check(
        self, found: Mapping[str, Reseeded], strong: Sequence[str], k: str, tests: int, notes: str
    ) -> Check:
        mean = lambda kind: average(found, [f"{name}/{kind}" for name in strong])  # noqa: E731
        value, chance = mean(f"latents/{k}"), mean(f"random/{k}")
        f1, accuracy = mean(f"latents/{k}/f1"), mean(f"latents/{k}/accuracy")
        which = "all latents" if k == "all" else "the best latent" if k == "1" else f"the {k} best latents"
        says = f"AUC of {which}, the mean over {len(strong)} concepts of {self.labels}; F1 {f1.mean:.3f}, "
        says += f"accuracy {accuracy.mean:.3f}."
        verdict: Verdict = "info"
        if k != "all":
            beside = {kind: mean(f"{kind}/{k}").mean for kind in ("neurons", "pca")}
            says += f" The best dimensions of the activations: {beside['neurons']:.3f}, "
            says += f"principal components: {beside['pca']:.3f}."
            better = value.mean > chance.mean + max(value.spread, chance.spread)
            verdict = "ok" if better else "warn"
            says += "" if better else " No better than a random dictionary, as far as the spread tells."
        return Check(
            f"probing/auc-{_named(k)}", value.mean, "", verdict, says + (notes if k == str(self.k[0]) else ""),
            chance=chance.mean, spread=value.spread, n=tests,
        )  # fmt: skip

    def _curves(self, found: Mapping[str, Reseeded], strong: Sequence[str]) -> Chart:
        names = {
            "latents": "latents",
            "neurons": "dimensions",
            "pca": "principal components",
            "random": "random dictionary",
        }
        lines = tuple(
            Series(
                name,
                tuple(average(found, [f"{one}/{kind}/{k}" for one in strong]).mean for k in self.k),
                tuple(map(float, self.k)),
                tone=0 if kind == "random" else tone,
            )
            for tone, (kind, name) in enumerate(names.items(), 1)
        )
        says = "The mean AUC over concepts, by the number of latents (dimensions, components) that the probe reads."
        return Chart("probing/curves", "Sparse probing", says, "lines", lines, "k", "AUC")

    def _concepts(self, found: Mapping[str, Reseeded], strong: Sequence[str]) -> Chart:
        kinds = [*(f"latents/{k}" for k in (*self.k, "all")), f"random/{self.k[0]}", "activations"]
        rows = tuple(Series(name, tuple(found[f"{name}/{kind}"].mean for kind in kinds)) for name in strong)
        columns = (*(f"k={k}" for k in self.k), "all latents", f"random, k={self.k[0]}", "activations")
        says = "The AUC of each concept, by what the probe reads."
        return Chart("probing/concepts", "Sparse probing, by concept", says, "matrix", rows, columns=columns)


def _named(k: str) -> str:
    return k if k == "all" else f"k{k}"


def _batches(splits: Mapping[int, Split], width: int) -> Iterator[list[int]]:
    """Concepts with equally many examples, as many at once as fit into memory."""
    sizes: dict[tuple[int, int], list[int]] = {}
    for number, split in splits.items():
        sizes.setdefault((len(split.train), len(split.test)), []).append(number)
    for (train, test), numbers in sizes.items():
        step = max(1, _NUMBERS // ((train + test) * width))
        yield from (numbers[at : at + step] for at in range(0, len(numbers), step))
