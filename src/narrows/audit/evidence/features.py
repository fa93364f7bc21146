"""Features: what single latents of a sparse code stand for, by the examples that they are on for.

One pass over the data counts every latent and keeps its best examples; a second one reads what the chosen latents do
around those. Memory does not grow with the data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from narrows.audit.evidence.effects import effects
from narrows.audit.evidence.passing import Pass, Shown, examples_of
from narrows.audit.evidence.streams import Best, Counts
from narrows.audit.evidence.tokens import Unembedding, Words
from narrows.audit.evidence.view import View, as_examples, at_rest, examine
from narrows.core import Autoencoder, Sparse
from narrows.core.check import RequestError, whole
from narrows.data.dataset import Dataset, Examples
from narrows.kernels.metrics import dense_above

__all__ = ["Feature", "Features", "NothingOn", "Shown", "collect"]

ROWS, COUNT = 50_000, 300
"""Examples that are passed over, and latents that are shown, when nobody says."""

_NEIGHBOURS, _TOKENS, _CHUNK, _ATOMS = 5, 8, 1024, 1 << 15


class NothingOn(RequestError):
    """No latent is on for any of the examples, so that there is nothing to show."""


@dataclass(frozen=True)
class Feature:
    """What is known of one latent.

    Args:
        latent: its number.
        fires: in how many of the examples it was on.
        density: the share of the examples.
        largest: its largest size.
        mean: its mean size where it was on.
        energy: its share of what all latents add, mean square times the atom's squared length.
        mark: ``dead`` (never on), ``dense``, or nothing.
        bins: histogram of its sizes, see `streams.BINS`.
        top: the examples of the largest sizes, each of another context.
        others: examples drawn at random from all where it was on.
        promoted: tokens that it promotes most, and by how much.
        suppressed: tokens that it suppresses most.
        neighbours: the latents with the nearest atoms, and the cosines.
        atom: what it adds to the output, where that is a picture or a curve.
    """

    latent: int
    fires: int
    density: float
    largest: float
    mean: float
    energy: float
    mark: str
    bins: tuple[int, ...]
    top: tuple[Shown, ...] = ()
    others: tuple[Shown, ...] = ()
    promoted: tuple[tuple[str, float], ...] = ()
    suppressed: tuple[tuple[str, float], ...] = ()
    neighbours: tuple[tuple[int, float], ...] = ()
    atom: Tensor | None = None


@dataclass(frozen=True)
class Features:
    """The chosen latents of a model, and how they were chosen.

    Args:
        features: the chosen ones.
        width: how many latents there are.
        examples: how many examples were passed over.
        kind: ``text``, ``images`` or ``vectors``.
        density: the share of the examples in which each latent is on, (N,).
        rule: which latents are shown, in a sentence.
        logits: whether tokens that are promoted are known.
    """

    features: tuple[Feature, ...]
    width: int
    examples: int
    kind: str
    density: Tensor
    rule: str
    logits: bool

    def to_json(self) -> dict[str, Any]:
        """The features in plain values, for programs; of pictures and curves the row numbers."""
        plain = ("latent", "fires", "density", "largest", "mean", "energy", "mark")
        pairs = ("promoted", "suppressed", "neighbours")
        features = [
            {name: getattr(f, name) for name in plain}
            | {name: [list(pair) for pair in getattr(f, name)] for name in pairs}
            | {"top": [{"row": s.row, "value": s.value, "text": "".join(s.words)} for s in f.top]}
            for f in self.features
        ]
        return {"width": self.width, "examples": self.examples, "rule": self.rule, "features": features}


def collect(
    model: Autoencoder,
    dataset: Any,
    *,
    count: int = COUNT,
    examples: int = ROWS,
    latents: Sequence[int] = (),
    seed: int = 0,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> Features | None:
    """Find out what latents stand for.

    Args:
        model: with a sparse code, one for each example.
        dataset: what it is looked at on, as `audit.audit` takes it; tokens are shown where it has a `provenance`.
        count: how many latents: two thirds are those that add most to the output, the others are drawn at random.
        examples: how many of the first examples are passed over at most.
        latents: these instead, in this order.
        seed: of what is drawn at random.
        advance: told how many pieces of work of how many are done.

    Returns:
        None where the code is not sparse, or has several places.

    Raises:
        RequestError: a latent that does not exist, or no examples.
    """
    whole("count", count)
    dataset = as_examples(dataset)
    total = min(len(dataset), whole("examples", examples))
    view = examine(model, dataset, 256, seed)
    z = view.sparse
    if z is None or (z.values if isinstance(z, Sparse) else z).ndim != 2:
        return None
    width = z.width if isinstance(z, Sparse) else z.shape[1]
    for latent in latents:
        whole("latents", latent, low=0, high=width - 1, fix="They are counted from 0.")
    with at_rest(model):
        pass_over = Pass(model, dataset, total, seed, advance)
        counts, top, others = pass_over.first(width)
        chosen, energy = _chosen(view, counts, count, latents, seed)
        return _joined(
            view, dataset, pass_over, counts, (top, others), chosen, energy, _rule(counts, latents, count)
        )


def _chosen(
    view: View, counts: Counts, count: int, latents: Sequence[int], seed: int
) -> tuple[Tensor, Tensor]:
    """The latents to show, and the share of each in what all add, (N,)."""
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
    passed: Pass,
    counts: Counts,
    tables: tuple[Best, Best],
    chosen: Tensor,
    energy: Tensor,
    rule: str,
) -> Features:
    """All that is known of the chosen latents."""
    if not len(chosen):
        raise NothingOn("No latent is ever on in these data: there are no features to show.")
    density, often = counts.density, dense_above(counts.density)
    shape = tuple(view.output.shape[1:])
    kind = "text" if passed.text else "images" if len(shape) == 3 and shape[0] in (1, 3, 4) else "vectors"
    shown = examples_of(passed, tables, chosen)
    directions = effects(view, chosen, torch.ones(len(chosen))).flatten(1)
    words, near = _logits(dataset, passed, directions), _neighbours(view, counts, chosen, directions)
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
                atom=None if passed.text else directions[i].unflatten(0, shape),
            )
        )
    return Features(
        tuple(features), len(density), counts.codes, kind, density, rule, logits=words is not None
    )


def _logits(dataset: Examples, passed: Pass, directions: Tensor) -> list[Any] | None:
    """The tokens that each direction promotes and suppresses, where there is an unembedding."""
    unembedding = Unembedding.of(dataset)
    if unembedding is None or not isinstance(dataset, Dataset):
        return None
    scaling = dataset.scaling if dataset.target is None else dataset.target_scaling
    scale = torch.as_tensor(scaling.scale, dtype=torch.float32)
    effect, words = unembedding(directions.float() * scale), Words.of(passed.provenance)
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
    """The living latents whose atoms have the largest cosines with each chosen one."""
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
