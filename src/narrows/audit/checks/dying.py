"""Why latents are dead, since when, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from narrows.audit.evidence.view import View, device_of
from narrows.audit.report.finding import Check, Finding, Verdict
from narrows.core import Sparse
from narrows.core.evidence import Latents
from narrows.kernels.metrics import firings, l0
from narrows.kernels.sparse import LazyLinear

__all__ = ["Causes", "causes", "dying", "since"]

_ROWS, _MANY, _SHORT = 1024, 0.25, 0.1


def dying(view: View) -> Finding:
    """What the latents that are never on have in common: their weights, their bias, the competition, the revival."""
    z = view.sparse
    if z is None or (z.values if isinstance(z, Sparse) else z).ndim != 2:
        return Finding()
    silent = firings(z) == 0
    count, total = int(silent.sum()), len(silent)
    found = causes(view, silent) if count else None
    if found is None:
        return Finding()
    told = [
        f"{count} {'latent is' if count == 1 else 'latents are'} never on: {found.told}.",
        since(view.history, count / total),
    ]
    told += [*_revival(view, z), found.remedy]
    verdict: Verdict = "warn" if count > _MANY * total else "info"
    says = " ".join(sentence for sentence in told if sentence)
    return Finding((Check("latents/dead-because", found.main, "", verdict, says),))


@dataclass(frozen=True)
class Causes:
    """How many dead latents have each cause.

    Args:
        short: their encoder's weights are shorter than a tenth of the median living one's.
        bias: their pre-activation is never positive, but would be without their bias.
        turned: it would not be without the bias either: the weights point away from all data.
        lost: it is positive for some examples, but they are never chosen.
    """

    short: int
    bias: int
    turned: int
    lost: int

    @property
    def main(self) -> str:
        """The commonest cause, in a word or two."""
        names = {"short": "short weights", "bias": "bias", "turned": "direction", "lost": "never chosen"}
        return names[max(vars(self), key=lambda name: getattr(self, name))]

    @property
    def told(self) -> str:
        """All of them in words."""
        words = {
            "lost": "{} would be on for some example but {} never chosen (top-k, or a threshold)",
            "bias": "{} {} held down by their bias",
            "turned": "{} {} turned away from all examples",
            "short": "{} {} left with next to no weights",
        }
        counts = [(text, getattr(self, name)) for name, text in words.items()]
        return ", ".join(text.format(n, "is" if n == 1 else "are") for text, n in counts if n)

    @property
    def remedy(self) -> str:
        """What to do about the commonest."""
        return {
            "never chosen": "Train longer, take fewer latents, or strengthen what revives the dead.",
            "bias": "Begin with a smaller penalty or learning rate, or let dead latents be resampled.",
            "direction": "Let dead latents be resampled, or begin the encoder at the decoder's atoms.",
            "short weights": "Hold the atoms at unit length, weaken the penalty, or let dead latents be resampled.",
        }[self.main]


@torch.no_grad()
def causes(view: View, silent: Tensor) -> Causes | None:
    """Look at the pre-activations of the latents that are never on; None where they cannot be read.

    Args:
        view: the evidence.
        silent: which latents are never on, (N,).
    """
    few = view.batch[slice(0, _ROWS)].to(device_of(view.model))
    h: Any = view.model.encoder(few.x, few.condition)
    h = h[0] if isinstance(h, tuple) else h
    which = silent.nonzero().squeeze(1).to(device_of(view.model))
    weight: Tensor | None = None
    bias: Tensor | None = None
    if isinstance(h, LazyLinear):
        pre, weight, bias = h.only(which).dense(), h.weight, h.bias
    elif isinstance(h, Tensor) and h.ndim == 2 and h.shape[1] == len(silent):
        pre = h[:, which]
    else:
        return None
    if pre.ndim != 2:
        return None
    none = torch.zeros(len(which), dtype=torch.bool, device=pre.device)
    short = none
    if weight is not None and bool((~silent).any()):
        lengths = torch.linalg.vector_norm(weight, dim=1)
        short = lengths[which] < _SHORT * lengths[(~silent).to(lengths.device)].median()
    signed = _has_negatives(view)
    lost = ~short & ((pre.abs() if signed else pre).amax(0) > 0)
    without = none if bias is None else (pre - bias[which]).amax(0) > 0
    held = ~short & ~lost & without
    return Causes(int(short.sum()), int(held.sum()), int((~short & ~lost & ~held).sum()), int(lost.sum()))


def since(history: Sequence[Mapping[str, Any]], share: float) -> str:
    """A sentence that says when they died, from the shares of silent latents that the training noted.

    Example:
        >>> noted = [{"step": s, "held_out/silent": s / 100} for s in (10, 20, 30, 40)]
        >>> since(noted, 0.4)
        'Half of them were silent by step 20 of 40.'
    """
    noted = [(r["step"], r["held_out/silent"]) for r in history if "held_out/silent" in r]
    if len(noted) < 2:
        return ""
    reached = next((step for step, silent in noted if silent >= share / 2), None)
    if reached is None:
        return ""
    return f"Half of them were silent by step {reached:,} of {noted[-1][0]:,}."


def _revival(view: View, z: Tensor | Sparse) -> list[str]:
    """Whether anything that revives the dead could act at all."""
    found = view.model.encode(view.batch[slice(0, 1)].to(device_of(view.model))).find(Latents)
    idle = None if found is None else found.idle
    if idle is None:
        return []
    waits = view.model.objective.revives_after()
    if waits is None:
        return ["Nothing revives dead latents here."]
    longest = int(idle.max())
    if longest > waits or longest == 0:
        return []
    fair = round(100 * len(idle) / max(l0(z), 1e-9))
    return [
        f"What revives the dead waits until one was idle for {waits:,} examples, and none was for more than "
        f"{longest:,}: it never acted. Set `dead_after` to about {min(fair, max(1, longest // 10)):,}."
    ]


def _has_negatives(view: View) -> bool:
    z = view.sparse
    values = z.values if isinstance(z, Sparse) else z
    return values is not None and bool((values < 0).any())
