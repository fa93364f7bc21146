"""`generation`: samples of a model against held-out examples."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from narrows.audit.evaluations.evaluation import Evaluation
from narrows.audit.evidence.reseeds import Reseeded, reseed
from narrows.audit.evidence.view import View, device_of
from narrows.audit.metrics.frechet import Features, classifier, frechet, principal_features
from narrows.audit.metrics.generation import kid, nearest_distances, support
from narrows.audit.report.finding import Check, Figure, Finding, Gallery, not_measured
from narrows.core import seeded
from narrows.core.check import NarrowsError, refuse, whole
from narrows.data.dataset import known_of

__all__ = ["Generation"]

_TRAIN, _STEPS, _WIDTH, _CHUNK = 10_000, 400, 32, 256
_SHOWN, _CLOSE = 10, 0.01
_GUIDANCE = (0.0, 1.0, 2.0, 4.0)


@dataclass(frozen=True)
class _Judge:
    """Features of examples (N, F), the classes that it tells, and a name: equal names are equal judges."""

    look: Features
    name: str
    classes: nn.Module | None = None


class Generation(Evaluation):
    r"""How near samples are to held-out examples, and how far they are from copies of the training data.

    .. math:: d^2 = \|m_a - m_b\|^2 + \mathrm{tr}\big(S_a + S_b - 2 (S_a S_b)^{1/2}\big)

    Examples are seen through a judge: the last hidden layer of a small classifier that is trained on the training data
    and their labels, or 32 standardised principal components where there are no labels. Held-out examples are split in
    two halves, and each figure compares one half with as many samples, reconstructions of the other half, or the other
    half itself, which is the floor. The label of a sample is asked in the proportions of the data.

    Figures: `generation/frechet`, `generation/frechet-reconstructions` and `generation/frechet-floor`, the squared
    Frechet distance of samples, reconstructions and examples; `generation/kid`, the unbiased kernel distance;
    `generation/precision`, `generation/recall`, `generation/density` and `generation/coverage`, with balls to the k-th
    neighbour; `generation/agreement`, the share of samples that the judge gives the label that was asked for;
    `generation/copies` and `generation/copies-pixels`, the share of samples that are nearer to a training example than
    99 % of held-out examples are, in the judge's features and in the data themselves.

    Chance: of the distances and the support, examples of the other half; of agreement, the share of the most frequent
    class; of copies, 0.01.

    Cost: a classifier of 400 steps, and samples of five times half the examples.

    Misleads when: two runs have other judges or numbers of examples, which `narrows compare` does not rank: the Frechet
    distance of few examples is too large. A judge that was trained on few examples or classes sees only what tells
    those apart.

    Args:
        examples: largest number of held-out examples; halves of them are compared.
        k: the neighbour that the balls of precision, recall, density and coverage reach to.

    Example:
        >>> Generation(examples=500).examples
        500

    Reference:
        Heusel et al., GANs Trained by a Two Time-Scale Update Rule, 2017. arXiv:1706.08500; Binkowski et al.,
        Demystifying MMD GANs, 2018. arXiv:1801.01401; Naeem et al., Reliable Fidelity and Diversity Metrics for
        Generative Models, 2020. arXiv:2002.09797
    """

    seconds: ClassVar[float] = 20

    def __init__(self, examples: int = 1000, k: int = 5) -> None:
        self.examples, self.k = whole("examples", examples, low=4), whole("k", k)
        if 2 * (self.k + 1) > self.examples:
            raise refuse("k", k, f"less than half of the examples, {self.examples}")

    def lacks(self, view: View) -> str:
        """Data other than arrays, conditions other than labels, no training examples, or no samples."""
        x, target = view.batch.x, view.batch.target
        plain = isinstance(x, Tensor) and isinstance(target, Tensor) and x.is_floating_point()
        if not plain or x.shape != target.shape or view.mixed or view.elements or view.weight is not None:
            return "It compares samples with examples that are complete arrays of numbers."
        if not isinstance(view.output, Tensor) or view.output.shape != x.shape:
            return "Reconstructions are not of the shape of the examples."
        if view.train is None:
            return "The judge is trained on the training examples, which are not given."
        told = {*view.model.inputs, *view.model.all_conditions}
        if not told <= {"labels"}:
            return f"Samples need conditions other than labels: {', '.join(sorted(told))}."
        if min(self.examples, len(view)) < 2 * (self.k + 1):
            return f"There are too few held-out examples, {len(view)}."
        try:
            _sample(view, torch.zeros(1, dtype=torch.long))
        except NarrowsError as error:
            return f"It cannot be sampled: {error}"
        return ""

    def __call__(self, view: View) -> Finding:
        """All figures, each a mean over five splits and sets of samples."""
        assert view.train is not None
        train = _batch_of(view.train, min(_TRAIN, len(view.train)))
        judge = _judge(view, train)
        count = min(self.examples, len(view)) // 2
        known = judge.look(train), train.flatten(1)
        found = reseed(lambda seed: self._measure(view, judge, known, count, seed), view.seed)
        unit = f"judge {judge.name}, N {count}"
        checks = [*_distances(found, unit, count), *_supports(found, self.k, count), *_copies(found, count)]
        checks.append(_agreement(view, found, judge, count))
        return Finding(tuple(checks), tuple(_pictures(view, train)))

    def _measure(
        self, view: View, judge: _Judge, known: tuple[Tensor, Tensor], count: int, seed: int
    ) -> Mapping[str, float]:
        order = torch.randperm(len(view), generator=torch.Generator().manual_seed(seed))
        one, other = order[:count], order[count : 2 * count]
        made = _sample(view, one)
        x, output = view.batch.x, view.output
        looks = {"made": made, "real": x[one], "other": x[other], "back": output[other]}
        at = {name: judge.look(examples) for name, examples in looks.items()}
        found = {
            "frechet": frechet(at["made"], at["real"]),
            "frechet-reconstructions": frechet(at["back"], at["real"]),
            "frechet-floor": frechet(at["other"], at["real"]),
            "kid": kid(at["made"], at["real"]),
            "kid-floor": kid(at["other"], at["real"]),
        }
        for name, rows in (("", at["made"]), ("-floor", at["other"])):
            found |= {f"{part}{name}": v for part, v in support(rows, at["real"], self.k)._asdict().items()}
        pairs = (
            ("copies", at["made"], at["other"], known[0]),
            ("copies-pixels", made.flatten(1), x[other].flatten(1), known[1]),
        )
        for name, samples, held_out, train in pairs:
            least = nearest_distances(held_out, train)[0].quantile(_CLOSE)
            found[name] = float((nearest_distances(samples, train)[0] < least).double().mean())
        labels = _labels(view)
        if judge.classes is not None and labels is not None and "labels" in view.model.all_conditions:
            for name, rows, asked in (
                ("agreement", made, labels[one]),
                ("accuracy", x[other], labels[other]),
            ):
                found[name] = float((judge.classes(rows).argmax(1) == asked).double().mean())
        return found


def _batch_of(examples: Any, rows: int) -> Tensor:
    x: Tensor = examples.batch(torch.arange(rows)).x
    return x


def _labels(view: View) -> Tensor | None:
    """The classes of the held-out examples."""
    told = view.batch.condition.get("labels")
    return view.labels if told is None else told.argmax(1)


def _judge(view: View, train: Tensor) -> _Judge:
    labels = known_of(view.train).labels
    described = hashlib.sha256(f"{_STEPS} {_WIDTH} {tuple(train.shape)}".encode())
    described.update(train.contiguous().numpy().tobytes())
    if labels is None:
        return _Judge(principal_features(train, width=_WIDTH), f"pca-{described.hexdigest()[:6]}")
    described.update(labels[: len(train)].contiguous().numpy().tobytes())
    with torch.enable_grad():
        net = classifier(train, labels[: len(train)], width=_WIDTH, steps=_STEPS)
    return _Judge(net[0], f"classifier-{described.hexdigest()[:6]}", net)


@torch.no_grad()
def _sample(view: View, rows: Tensor, **options: Any) -> Tensor:
    """As many samples as rows of the held-out examples, with their labels, where the model is told them."""
    made = []
    for part in rows.split(_CHUNK):
        told = {name: value[part].to(device_of(view.model)) for name, value in view.batch.condition.items()}
        drawn: Any = view.model.sample(len(part), told, **options)
        if not isinstance(drawn, Tensor):
            raise refuse("model", type(view.model).__name__, "a model whose samples are arrays")
        made.append(drawn.cpu().float())
    return torch.cat(made)


def _distances(found: Mapping[str, Reseeded], unit: str, n: int) -> list[Check]:
    floor = found["frechet-floor"].mean
    says = {
        "frechet": f"Squared Frechet distance of samples from examples; of two halves of those it is {floor:.3g}.",
        "frechet-reconstructions": "The same of reconstructions, whose quality no prior of these codes can exceed.",
        "frechet-floor": "The same of two halves of the held-out examples: what chance alone gives.",
    }
    checks = []
    for name, sentence in says.items():
        one, of_floor = found[name], name == "frechet-floor"
        chance, why = (None, "it is one itself") if of_floor else (floor, "")
        checks.append(
            Check(f"generation/{name}", one.mean, unit, "info", sentence, chance, one.spread, n, why)
        )
    sentence = (
        "Unbiased kernel distance of samples from held-out examples; its mean is 0 for one distribution."
    )
    one, of_halves = found["kid"], found["kid-floor"].mean
    return [
        *checks,
        Check("generation/kid", one.mean, unit, "info", sentence, of_halves, one.spread, n),
    ]


def _supports(found: Mapping[str, Reseeded], k: int, n: int) -> list[Check]:
    says = {
        "precision": "Share of samples within the support of the examples.",
        "recall": "Share of examples within the support of the samples.",
        "density": f"Balls of examples, to their neighbour {k}, that a sample is in, over {k}.",
        "coverage": "Share of examples whose ball has a sample: low if samples crowd.",
    }
    return [
        Check(
            f"generation/{name}",
            found[name].mean,
            "",
            "info",
            sentence,
            found[f"{name}-floor"].mean,
            found[name].spread,
            n,
        )
        for name, sentence in says.items()
    ]


def _copies(found: Mapping[str, Reseeded], n: int) -> list[Check]:
    spaces = {"copies": "in the judge's features", "copies-pixels": "in the data themselves"}
    checks = []
    for name, space in spaces.items():
        one = found[name]
        many = one.mean > 10 * _CLOSE
        says = f"Share of samples nearer to a training example than 99 % of held-out examples are, {space}."
        if many:
            says += " Samples may be copies, or simpler than the data: see the pictures."
        verdict = "warn" if many else "ok"
        checks.append(
            Check(f"generation/{name}", one.mean, "", verdict, says, _CLOSE, one.spread, n)  # type: ignore[arg-type]
        )
    return checks


def _agreement(view: View, found: Mapping[str, Reseeded], judge: _Judge, n: int) -> Check:
    name, labels = "generation/agreement", _labels(view)
    if "agreement" not in found or labels is None:
        return not_measured(name, "The model is told no labels, or the data have none.", n)
    share = float(labels.bincount().max()) / len(labels)
    says = f"Samples that the judge gives the label asked for; of held-out examples {found['accuracy'].mean:.3g}."
    return Check(name, found["agreement"].mean, "", "info", says, share, found["agreement"].spread, n)


def _pictures(view: View, train: Tensor) -> list[Figure]:
    """Samples beside their nearest training examples, and samples by class and guidance."""
    with seeded(view.seed):
        drawn = _sample(view, torch.arange(min(_SHOWN, len(view))))
    _, where = nearest_distances(drawn, train.flatten(1))
    says = "Samples, and below each the training example nearest to it."
    rows = (("samples", drawn), ("nearest in training", train[where]))
    found: list[Figure] = [Gallery("generation-nearest", "Samples and their neighbours", says, rows)]
    prior = view.model.prior
    labels = _labels(view)
    known = () if prior is None else inspect.signature(prior.sample).parameters
    if "guidance" in known and prior is not None and "labels" in prior.conditions and labels is not None:
        classes = view.batch.condition["labels"].shape[1]
        told = {"labels": F.one_hot(torch.arange(classes), classes).float().to(device_of(view.model))}
        graded = []
        for guidance in _GUIDANCE:
            with seeded(view.seed), torch.no_grad():
                try:
                    made = view.model.sample(classes, told, guidance=guidance)
                except NarrowsError:
                    continue
            graded.append((f"guidance {guidance:g}", made.cpu()))
        says = "A column for each class, a row for each guidance, all from the same noise; 1 is none, 0 is no label."
        found.append(Gallery("generation-guidance", "Samples by class and guidance", says, tuple(graded)))
    return found
