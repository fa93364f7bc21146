"""Features: the interpretation of single latents of a sparse code by the examples that activate them.

One pass over the data counts the activations of every latent and keeps its top examples: that of the audit, if there
was one. A second pass reads the activations of the chosen latents around those. Memory does not grow with the data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from narrows.audit.evidence.effects import effects
from narrows.audit.evidence.passing import (
    COUNTED,
    SEARCHED,
    CodeReader,
    FeatureExample,
    Streamed,
    examples_of,
    stream,
)
from narrows.audit.evidence.streams import Counts
from narrows.audit.evidence.tokens import TokenText, Unembedding
from narrows.audit.evidence.view import View, as_examples, examine
from narrows.core import Autoencoder, Sparse, evaluation_mode
from narrows.core.check import RequestError, whole
from narrows.data.dataset import Dataset, Examples
from narrows.kernels.metrics import dense_above

__all__ = ["Feature", "FeatureExample", "Features", "NoActiveLatents", "collect"]

COUNT = 300
"""Default number of latents that are shown."""

_NEIGHBOURS, _TOKENS, _CHUNK, _ATOMS = 5, 8, 1024, 1 << 15


class NoActiveLatents(RequestError):
    """No latent is on for any of the examples."""


@dataclass(frozen=True)
class Feature:
    """The statistics and examples of one latent.

    Args:
        latent: its number.
        fires: the number of examples in which it is on.
        density: the share of examples in which it is on.
        largest: its largest absolute activation.
        mean: its mean absolute activation where it is on.
        energy: its share of the output: mean square activation times the atom's squared norm, over the sum of these.
        mark: ``dead`` (never on), ``dense``, or empty.
        bins: histogram of its absolute activations, see `streams.BINS`.
        top: the examples with the largest activations, one for each context.
        others: random examples in which it is on.
        promoted: the tokens that it promotes most, and by how much.
        suppressed: the tokens that it suppresses most.
        neighbours: the latents with the nearest atoms, and the cosines.
        atom: its contribution to the output, for pictures and vectors.
    """

    latent: int
    fires: int
    density: float
    largest: float
    mean: float
    energy: float
    mark: str
    bins: tuple[int, ...]
    top: tuple[FeatureExample, ...] = ()
    others: tuple[FeatureExample, ...] = ()
    promoted: tuple[tuple[str, float], ...] = ()
    suppressed: tuple[tuple[str, float], ...] = ()
    neighbours: tuple[tuple[int, float], ...] = ()
    atom: Tensor | None = None


@dataclass(frozen=True)
class Features:
    """The chosen latents of a model, and how they were chosen.

    Args:
        features: the chosen latents.
        width: N, the number of latents.
        examples: the number of examples on which latents were counted.
        searched: the number of examples among which the examples of latents were searched.
        kind: ``text``, ``images`` or ``vectors``.
        density: the share of examples in which each latent is on, (N,).
        rule: a sentence on how the latents were chosen.
        logits: whether promoted tokens are known.
    """

    features: tuple[Feature, ...]
    width: int
    examples: int
    searched: int
    kind: str
    density: Tensor
    rule: str
    logits: bool

    def to_json(self) -> dict[str, Any]:
        """The features as values that JSON can hold; pictures and curves as row numbers."""
        plain = ("latent", "fires", "density", "largest", "mean", "energy", "mark")
        pairs = ("promoted", "suppressed", "neighbours")
        features = [
            {name: getattr(f, name) for name in plain}
            | {name: [list(pair) for pair in getattr(f, name)] for name in pairs}
            | {"top": [{"row": s.row, "value": s.value, "text": "".join(s.words)} for s in f.top]}
            for f in self.features
        ]
        numbers = {"width": self.width, "examples": self.examples, "searched": self.searched}
        return {**numbers, "rule": self.rule, "features": features}


def collect(
    model: Autoencoder,
    dataset: Any,
    *,
    count: int = COUNT,
    examples: int | None = None,
    latents: Sequence[int] = (),
    seed: int = 0,
    train: Examples | None = None,
    streamed: Streamed | None = None,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> Features | None:
    """Collect statistics and examples of latents.

    Args:
        model: with a sparse code, one for each example.
        dataset: the examples, as for `audit.audit`; tokens are shown if it has a `provenance`.
        count: number of latents: two thirds with the largest contribution to the output, the others drawn at random.
        examples: largest number of examples; the first ones are used. By default latents are counted on 200,000, and
            their examples are searched among 50,000.
        latents: show these latents instead, in this order.
        seed: of the random choices.
        train: further examples for the counts, if there are too few.
        streamed: the pass of an audit of the same model and data, if there was one.
        advance: called with the finished and the total number of steps.

    Returns:
        None if the code is not sparse, or has several positions.

    Raises:
        RequestError: a latent that does not exist, or no examples.
    """
    whole("count", count)
    dataset = as_examples(dataset)
    counted, searched = (COUNTED, SEARCHED) if examples is None else (whole("examples", examples),) * 2
    view = examine(model, dataset, 256, seed)
    z = view.sparse
    if z is None or (z.values if isinstance(z, Sparse) else z).ndim != 2:
        return None
    width = z.width if isinstance(z, Sparse) else z.shape[1]
    for latent in latents:
        whole("latents", latent, low=0, high=width - 1, fix="They are counted from 0.")
    with evaluation_mode(model):
        if streamed is None:
            sizes = {"counted": counted, "searched": searched}
            streamed = stream(model, dataset, width, train, **sizes, seed=seed, advance=advance)
        reader = CodeReader(model, dataset, streamed.searched, seed, advance)
        counts = streamed.counts
        chosen, energy = _chosen(view, counts, count, latents, seed)
        return _joined(view, dataset, reader, streamed, chosen, energy, _rule(counts, latents, count))


def _chosen(
    view: View, counts: Counts, count: int, latents: Sequence[int], seed: int
) -> tuple[Tensor, Tensor]:
    """The latents to show, and the share of each latent in the output, (N,)."""
    living = (counts.fires > 0).nonzero().squeeze(1)
    lengths = torch.zeros(len(counts.fires), dtype=torch.double)
    for some in living.split(_CHUNK):
        one = effects(view, some, torch.ones(len(some)))
        lengths[some] = one.double().flatten(1).square().sum(1)
    energy = counts.square * lengths
    energy = energy / energy.sum().clamp_min(1e-30)
    if latents:
        return torch.tensor(list(latents)), energy
    order = living[energy[living].argsort(descending=True, stable=True)]
    first = order[: count - count // 3]
    rest = order[len(first) :]
    drawn = torch.randperm(len(rest), generator=torch.Generator().manual_seed(seed))[: count - len(first)]
    return torch.cat([first, rest[drawn]]), energy


def _rule(counts: Counts, latents: Sequence[int], count: int) -> str:
    living = int((counts.fires > 0).sum())
    if latents:
        return f"Shown are the {len(latents)} latents that were asked for."
    if living <= count:
        return f"Shown are all {living:,} latents that were ever on."
    drawn = count // 3
    return (
        f"Shown are the {count - drawn} latents that add most to the output (mean square of the activation times the "
        f"squared length of the atom), and {drawn} drawn at random from the {living - count + drawn:,} others."
    )


def _joined(
    view: View,
    dataset: Examples,
    reader: CodeReader,
    streamed: Streamed,
    chosen: Tensor,
    energy: Tensor,
    rule: str,
) -> Features:
    """The features of the chosen latents."""
    if not len(chosen):
        raise NoActiveLatents("No latent is ever on in these data: there are no features to show.")
    counts = streamed.counts
    density, often = counts.density, dense_above(counts.density)
    shape = tuple(view.output.shape[1:])
    kind = "text" if reader.text else "images" if len(shape) == 3 and shape[0] in (1, 3, 4) else "vectors"
    shown = examples_of(reader, (streamed.top, streamed.others), chosen)
    directions = effects(view, chosen, torch.ones(len(chosen))).flatten(1)
    words, near = _logits(dataset, reader, directions), _neighbours(view, counts, chosen, directions)
    features = []
    for i, latent in enumerate(chosen.tolist()):
        fires = int(counts.fires[latent])
        mark = "dead" if not fires else "dense" if density[latent] > often else ""
        features.append(
            Feature(
                latent,
                fires,
                float(density[latent]),
                float(counts.largest[latent]),
                float(counts.total[latent]) / max(1, fires),
                float(energy[latent]),
                mark,
                tuple(counts.bins[latent].tolist()),
                top=shown[0][i],
                others=shown[1][i],
                promoted=words[i][0] if words is not None else (),
                suppressed=words[i][1] if words is not None else (),
                neighbours=near[i],
                atom=None if reader.text else directions[i].unflatten(0, shape),
            )
        )
    return Features(
        tuple(features),
        len(density),
        counts.codes,
        streamed.searched,
        kind,
        density,
        rule,
        logits=words is not None,
    )


def _logits(dataset: Examples, reader: CodeReader, directions: Tensor) -> list[Any] | None:
    """The tokens that each direction promotes and suppresses; None without an unembedding."""
    unembedding = Unembedding.of(dataset)
    if unembedding is None or not isinstance(dataset, Dataset):
        return None
    scaling = dataset.scaling if dataset.target is None else dataset.target_scaling
    scale = torch.as_tensor(scaling.scale, dtype=torch.float32)
    effect, words = unembedding(directions.float() * scale), TokenText.of(reader.provenance)
    ends = [effect.topk(_TOKENS, largest=largest) for largest in (True, False)]
    return [
        tuple(
            tuple(
                (words(int(token)), float(value))
                for value, token in zip(end.values[i], end.indices[i], strict=True)
            )
            for end in ends
        )
        for i in range(len(directions))
    ]


def _neighbours(
    view: View, counts: Counts, chosen: Tensor, directions: Tensor
) -> list[tuple[tuple[int, float], ...]]:
    """The latents, dead ones excluded, whose atoms have the largest cosines with each chosen one."""
    order = counts.fires.argsort(descending=True, stable=True)[:_ATOMS]
    living = order[counts.fires[order] > 0]
    unit = F.normalize(directions.float(), dim=1)
    best = torch.full((len(chosen), _NEIGHBOURS), -2.0)
    who = torch.full((len(chosen), _NEIGHBOURS), -1)
    for some in living.split(_CHUNK):
        others = F.normalize(effects(view, some, torch.ones(len(some))).flatten(1).float(), dim=1)
        cosine = unit @ others.T
        cosine[chosen[:, None] == some] = -2
        found = torch.cat([best, cosine], 1).topk(_NEIGHBOURS, dim=1)
        best, who = found.values, torch.cat([who, some.expand(len(chosen), -1)], 1).gather(1, found.indices)
    return [
        tuple((int(j), float(c)) for j, c in zip(js, cs, strict=True) if c > -2)
        for js, cs in zip(who, best, strict=True)
    ]
