"""`ravel`: whether latents move one attribute of an entity and leave its others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from narrows.audit.evaluations.evaluation import Evaluation
from narrows.audit.evidence.drawn import vectors
from narrows.audit.evidence.questions import Questions, own_facts
from narrows.audit.evidence.reseeds import reseed, spread
from narrows.audit.evidence.splicing import language_of, spliceable
from narrows.audit.evidence.view import View, device_of
from narrows.audit.metrics.interchange import (
    LatentSwap,
    Pairs,
    RotatedSwap,
    Scores,
    Swap,
    fit_masks,
    interchange,
)
from narrows.audit.report.finding import Check, Finding, not_measured
from narrows.core import Autoencoder, Batch, dense
from narrows.core.check import RequestError, choice, refuse, whole
from narrows.core.evidence import Latents
from narrows.data.dataset import Dataset
from narrows.data.facts import read_facts

__all__ = ["Ravel"]

KNOWN, CARRIED = 0.8, 0.8
"""The gate: the least share of prompts that the language model answers rightly, and of those that it answers with the
source's value if the whole activation is replaced by the source's."""

_NOTHING = 0.5
"""The score of swapping nothing, or everything."""

_FEWEST, _POOL, _CHUNK, _TRIES = 10, 2000, 1024, 100


class Ravel(Evaluation):
    r"""Whether latents can move one attribute of an entity to another entity, and leave its other attributes.

    .. math::
        \text{cause} = P\big(y(x') = v_a(s)\big), \quad \text{isolate} = P\big(y(x') = v_b(e)\big), \qquad
        x' = x + g\big(f + 1[m_a > 0] (f_s - f)\big) - g(f)

    x is the activation at the last token of an entity e in a prompt, x' replaces it, f and :math:`f_s` are the codes of
    e and of another entity s, g decodes, and y is the language model's answer: to a prompt that asks for the attribute
    a, it should become the value of s, and to one that asks for another attribute b, stay the value of e. Pairs have
    different values of what is asked for. The mask :math:`m_a` of each attribute is trained on one half of the
    entities, in place of :math:`1[m > 0]` with :math:`\sigma(m / T)`, T from 1 to 0.0001, to give these answers (lr
    0.001), and judged on pairs of the other half. The *score* is the mean of both, means over attributes. Entities and
    attributes are those that the language model was trained on, if it is one of `narrows.testing.facts.facts_lm`, or
    those of a file. As a bound, *rotation* is the score of swapping coordinates of x in an orthonormal basis that is
    trained with the mask.

    Figures: `ravel/cause`, `ravel/isolate`, `ravel/score`, that of a rotation `ravel/rotation`, and the premises
    `ravel/known` and `ravel/carried`.

    Chance: a random dictionary of equal shape and L0 with masks of its own, trained in the same way. A mask that swaps
    nothing has a cause of 0 and isolates perfectly, one that swaps everything the reverse: both score 0.5.

    Cost: eleven times `steps` passes of the language model over `batch` prompts and back.

    Misleads when: the language model does not know the facts, or holds them elsewhere. Unless it answers 80 % of the
    prompts rightly, and 80 % with the other entity's value if the whole activation is replaced, nothing is reported. A
    dictionary with a latent for each entity reconstructs well, but what was learned on some entities does not hold for
    others: then isolation is near 1 and cause is near 0. With ``error=drop``, as in SAEBench, a bad reconstruction
    lowers both.

    Args:
        facts: a JSON file of facts; by default those in the language model's folder.
        entities: largest number of entities.
        steps: number of steps of the training of masks.
        batch: pairs per step.
        pairs: number of test pairs of each attribute for cause, and for isolation.
        error: ``keep`` the error of the reconstruction, or ``drop`` it.

    Raises:
        RequestError: an option out of range, or a file that holds no facts.

    Example:
        >>> Ravel(steps=50).error
        'keep'

    Reference:
        Huang et al., RAVEL: Evaluating Interpretability Methods on Disentangling Language Model Representations, 2024.
        arXiv:2402.17700
    """

    seconds: ClassVar[float] = 90

    def __init__(
        self,
        facts: str = "",
        entities: int = 200,
        steps: int = 200,
        batch: int = 128,
        pairs: int = 200,
        error: str = "keep",
    ) -> None:
        self.facts, self.error = facts, choice("error", error, ("keep", "drop"))
        self.given = read_facts(facts) if facts else None
        self.entities = whole("entities", entities, low=2 * _FEWEST)
        self.steps, self.batch = whole("steps", steps), whole("batch", batch, low=2)
        self.pairs = whole("pairs", pairs, low=_FEWEST)

    def lacks(self, view: View) -> str:
        """A sparse code at one hook point of a causal language model, and facts that it knows."""
        if not vectors(view):
            return "The model has no sparse code of one vector for each example."
        provenance = spliceable(view.dataset)
        if provenance is None or view.model.conditions:
            return "The data are not single activations of one hook point of a causal language model."
        if self.given is None and own_facts(provenance) is None:
            return (
                "RAVEL needs entities whose attributes the language model knows, and its folder has none. Give them "
                "with ravel:facts=FILE.json, or harvest the model of `narrows.testing.facts.facts_lm`."
            )
        language_of(provenance)  # raises if the language model is gone
        return ""

    def __call__(self, view: View) -> Finding:
        """Cause, isolation and their mean, beside those of a rotation."""
        assert isinstance(view.dataset, Dataset)
        assert view.dataset.provenance is not None
        assert view.control is not None
        path = own_facts(view.dataset.provenance)
        assert self.given is not None or path is not None
        facts = read_facts(path) if self.given is None and path is not None else self.given
        assert facts is not None
        if len(facts.entities) < 2 * _FEWEST:
            raise refuse("facts", f"{len(facts.entities)} entities", f"at least {2 * _FEWEST} entities")
        drawn = torch.randperm(len(facts.entities), generator=torch.Generator().manual_seed(view.seed))
        facts = facts.some(drawn[: self.entities].tolist())
        questions = Questions.of(view.dataset, facts)
        premises, closed = _premises(questions, view.seed)
        if closed:
            names = (f"ravel/{name}" for name in (*Scores._fields, "score", "rotation"))
            return Finding((*premises, *(not_measured(name, closed, len(questions.known)) for name in names)))
        found = reseed(lambda seed: self._latents(view, view.model, questions, seed), view.seed)
        first = view.seed * 1000
        chance = self._latents(view, view.control.model, questions, first)
        n = 2 * self.pairs * len(questions.value)
        swapped, width = found["swapped"].mean, view.control.z.width
        says = {
            "cause": "The share of prompts for an attribute that get the value of another entity when the attribute's "
            f"latents, {swapped:.0f} of {width} on average, are swapped for that entity's.",
            "isolate": "The share of prompts for other attributes that keep their answer then.",
            "score": f"The mean of cause and isolation. Swapping nothing, or everything, has {_NOTHING:g}.",
        }
        checks = [
            Check(f"ravel/{name}", found[name].mean, "", "info", text, chance[name], found[name].spread, n)
            for name, text in says.items()
        ]
        return Finding((*premises, *checks, self._rotation(questions, view.seed, n)))

    def _rotation(self, questions: Questions, seed: int, n: int) -> Check:
        """The score of a trained rotation of the activations, with its spread over reseeds."""
        flat = questions.written.flatten(1)
        found = reseed(
            lambda one: self._fitted(RotatedSwap(len(questions.value), flat, one), questions, one), seed
        )
        cause, isolate, swapped = (found[name].mean for name in ("cause", "isolate", "swapped"))
        text = (
            "The score of swapping coordinates in a trained orthonormal basis of the activations: cause "
            f"{cause:.3f}, isolation {isolate:.3f}, with {swapped:.0f} of {flat.shape[1]} coordinates."
        )
        score = found["score"]
        return Check("ravel/rotation", score.mean, "", "info", text, _NOTHING, score.spread, n)

    def _latents(
        self, view: View, model: Autoencoder, questions: Questions, seed: int
    ) -> Mapping[str, float]:
        """The figures of swapping the latents of a model."""
        assert isinstance(view.dataset, Dataset)
        swap = _latent_swap(model, view.dataset, questions, self.error == "keep")
        return self._fitted(swap, questions, seed)

    def _fitted(self, swap: Swap, questions: Questions, seed: int) -> Mapping[str, float]:
        """The figures on one half of the entities of masks that are trained on the other half."""
        generator = torch.Generator().manual_seed(seed)
        count = questions.value.shape[1]
        half = torch.randperm(count, generator=generator) < count // 2
        train = draw_pairs(questions, half, _POOL, generator)
        test = draw_pairs(questions, ~half, self.pairs, generator)
        fit_masks(swap, train, questions.logits, steps=self.steps, batch=self.batch, seed=seed)
        scores = interchange(swap, test, questions.logits)
        return {
            **scores._asdict(),
            "score": scores.disentangled,
            "swapped": float(swap.swapped.double().mean()),
        }


def draw_pairs(questions: Questions, among: Tensor, count: int, generator: torch.Generator) -> Pairs:
    """Pairs of prompts for each attribute, `count` for cause and as many for isolation.

    The base is a prompt that the language model answers rightly; the source names an entity with another value of what
    the base asks for, which the model gives to most of the prompts for it.

    Args:
        questions: all prompts.
        among: the entities of bases and sources, (E,) bool.
        count: number of pairs of an attribute.
        generator: draws them.

    Raises:
        RequestError: an attribute without such pairs.
    """
    attributes = len(questions.value)
    here = among[questions.entity]
    asked = questions.attribute * questions.value.shape[1] + questions.entity
    votes = torch.zeros(questions.value.numel()).index_add(0, asked, 2 * questions.known.float() - 1)
    sure = (votes > 0).view_as(questions.value)
    sources = here.nonzero().squeeze(1)
    parts = []
    for mask in range(attributes):
        for cause in (True, False):
            bases = (here & questions.known & ((questions.attribute == mask) == cause)).nonzero().squeeze(1)
            if not len(bases):
                raise _no_pairs(mask)
            base = bases[torch.randint(len(bases), (count,), generator=generator)]
            about, own = questions.attribute[base], questions.right[base]
            source, good = base.clone(), torch.zeros(count, dtype=torch.bool)
            for _ in range(_TRIES):
                drawn = sources[torch.randint(len(sources), (count,), generator=generator)]
                other = questions.entity[drawn]
                fits = ~good & sure[about, other] & (questions.value[about, other] != own)
                source, good = torch.where(fits, drawn, source), good | fits
                if good.all():
                    break
            if not good.any():
                raise _no_pairs(mask)
            wanted = questions.value[about, questions.entity[source]] if cause else own
            whole_pairs = Pairs(
                base, source, torch.full_like(base, mask), torch.full((count,), cause), wanted
            )
            parts.append(whole_pairs[good])
    return Pairs.join(parts)


def _no_pairs(mask: int) -> RequestError:
    return RequestError(
        f"Attribute {mask + 1} has no two entities with different values that the language model knows. Give more "
        "entities."
    )


def _premises(questions: Questions, seed: int) -> tuple[tuple[Check, ...], str]:
    """Whether the language model knows the facts, and holds them at the entity; why not, empty if it does."""
    known = questions.known.double()
    guess = torch.stack([row.unique(return_counts=True)[1].max() / len(row) for row in questions.value])
    says = "The share of prompts that the language model answers rightly."
    checks = [
        Check(
            "ravel/known",
            float(known.mean()),
            "",
            "info",
            says,
            float(guess.mean()),
            _spread(known, seed),
            len(known),
        )
    ]
    if float(known.mean()) < KNOWN:
        return tuple(checks), (
            f"the language model answers {known.mean():.0%} of the prompts rightly, and {KNOWN:.0%} are needed."
        )
    everyone = torch.ones(questions.value.shape[1], dtype=torch.bool)
    pairs = draw_pairs(
        questions, everyone, _POOL // len(questions.value), torch.Generator().manual_seed(seed)
    )
    pairs = pairs[pairs.cause]
    with torch.no_grad():
        answers = [
            questions.logits(some.base, questions.written[some.source]).argmax(1) for some in pairs.batches()
        ]
    moved = (torch.cat(answers) == pairs.wanted).double()
    unmoved = (questions.answer[pairs.base] == pairs.wanted).double()
    says = "The share of prompts that get another entity's value when the whole activation is replaced by its own."
    share = float(moved.mean())
    checks.append(
        Check(
            "ravel/carried", share, "", "info", says, float(unmoved.mean()), _spread(moved, seed), len(moved)
        )
    )
    if share < CARRIED:
        return tuple(checks), (
            f"with the whole activation replaced by another entity's, {share:.0%} of the prompts get that entity's "
            f"value, and {CARRIED:.0%} are needed. The language model holds the facts elsewhere: harvest another layer."
        )
    return tuple(checks), ""


def _spread(right: Tensor, seed: int) -> float | None:
    return spread(lambda rows: float(right[rows].mean()), len(right), seed)


@torch.no_grad()
def _latent_swap(model: Autoencoder, dataset: Dataset, questions: Questions, keep_error: bool) -> LatentSwap:
    """The swap of a model's latents in the units of the language model."""
    device, skips, codes = device_of(model), list[Tensor](), list[Tensor]()
    for some in questions.read.split(_CHUNK):
        code = model.encode(Batch(dataset.arrange(some).to(device)))
        latents = code.find(Latents)
        assert latents is not None
        codes.append(dense(latents.z).float())
        if latents.skip is not None:
            skips.append(latents.skip)
    skip = torch.cat(skips) if skips else None
    scaling = dataset.scaling if dataset.target is None else dataset.target_scaling
    shape = questions.written.shape[1:]

    def decode(z: Tensor, rows: Tensor) -> Tensor:
        read = z.to(device) if skip is None else (z.to(device), skip[rows])
        made = scaling.invert(model.likelihood.mean(model.decode(read, {})))
        return made.reshape(-1, *shape).to(questions.written)

    return LatentSwap(len(questions.value), questions.written, torch.cat(codes).cpu(), decode, keep_error)
