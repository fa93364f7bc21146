"""Why latents are dead, since which step, and the remedy."""

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
from narrows.kernels.metrics import l0
from narrows.kernels.sparse import LazyLinear

__all__ = ["Causes", "causes", "dying", "since"]

_ROWS, _MANY, _SHORT = 1024, 0.25, 0.1


def dying(view: View) -> Finding:
    """The causes of dead latents: short encoder weights, the bias, the direction, or the selection."""
    z = view.sparse
    if z is None or (z.values if isinstance(z, Sparse) else z).ndim != 2:
        return Finding()
    assert view.density is not None
    silent = view.density == 0
    count, total = int(silent.sum()), len(silent)
    found = causes(view, silent) if count else None
    if found is None:
        return Finding()
    sentences = [
        f"{count} {'latent is' if count == 1 else 'latents are'} never on: {found.summary}.",
        since(view.history, count / total),
    ]
    sentences += [*_revive_advice(view, z), found.remedy]
    verdict: Verdict = "warn" if count > _MANY * total else "info"
    says = " ".join(sentence for sentence in sentences if sentence)
    why = "a word, the most frequent of the causes"
    return Finding(
        (
            Check(
                "latents/dead-cause",
                found.main,
                "",
                verdict,
                says,
                n=view.counted,
                no_chance=why,
                no_spread=why,
            ),
        )
    )


@dataclass(frozen=True)
class Causes:
    """The number of dead latents by cause.

    Args:
        short: the encoder's weights are shorter than a tenth of the median of the other latents.
        bias: the pre-activation is never positive, but would be without the bias.
        direction: the pre-activation is never positive, even without the bias.
        unselected: the pre-activation is positive for some examples, but the latent is never selected.
    """

    short: int
    bias: int
    direction: int
    unselected: int

    @property
    def main(self) -> str:
        """The most frequent cause."""
        most = max(vars(self), key=lambda name: getattr(self, name))
        return {"short": "short weights", "unselected": "never selected"}.get(most, most)

    @property
    def summary(self) -> str:
        """All causes with their counts, as text."""
        words = {
            "unselected": "{} would be on for some example but {} never selected (top-k, or a threshold)",
            "bias": "{} {} off because of the bias",
            "direction": "{} {} off because the encoder's weights point away from all examples",
            "short": "{} {} off because the encoder's weights are close to zero",
        }
        counts = [(text, getattr(self, name)) for name, text in words.items()]
        return ", ".join(text.format(n, "is" if n == 1 else "are") for text, n in counts if n)

    @property
    def remedy(self) -> str:
        """The remedy for the most frequent cause."""
        return {
            "never selected": "Train longer, use fewer latents, or a larger auxiliary loss.",
            "bias": "Begin with a smaller penalty or learning rate, or resample dead latents.",
            "direction": "Resample dead latents, or initialise the encoder with the decoder's atoms.",
            "short weights": "Keep the atoms at unit norm, lower the penalty, or resample dead latents.",
        }[self.main]


@torch.no_grad()
def causes(view: View, silent: Tensor) -> Causes | None:
    """Find the causes from the pre-activations of the dead latents; None if these cannot be read.

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
    unselected = ~short & ((pre.abs() if signed else pre).amax(0) > 0)
    without = none if bias is None else (pre - bias[which]).amax(0) > 0
    held = ~short & ~unselected & without
    return Causes(
        int(short.sum()), int(held.sum()), int((~short & ~unselected & ~held).sum()), int(unselected.sum())
    )


def since(history: Sequence[Mapping[str, Any]], share: float) -> str:
    """A sentence that says when the latents died, from the recorded shares of latents without held-out activations.

    Example:
        >>> recorded = [{"step": s, "held_out/silent": s / 100} for s in (10, 20, 30, 40)]
        >>> since(recorded, 0.4)
        'Half of them were silent by step 20 of 40.'
    """
    recorded = [(r["step"], r["held_out/silent"]) for r in history if "held_out/silent" in r]
    if len(recorded) < 2:
        return ""
    reached = next((step for step, silent in recorded if silent >= share / 2), None)
    if reached is None:
        return ""
    return f"Half of them were silent by step {reached:,} of {recorded[-1][0]:,}."


def _revive_advice(view: View, z: Tensor | Sparse) -> list[str]:
    """Whether the method's treatment of dead latents was ever applied."""
    found = view.model.encode(view.batch[slice(0, 1)].to(device_of(view.model))).find(Latents)
    idle = None if found is None else found.idle
    if idle is None:
        return []
    threshold = view.model.objective.revives_after()
    if threshold is None:
        return ["This method does not revive dead latents."]
    longest = int(idle.max())
    if longest > threshold or longest == 0:
        return []
    suggested = round(100 * len(idle) / max(l0(z), 1e-9))
    return [
        f"Dead latents are revived after {threshold:,} idle examples, and none was idle for more than "
        f"{longest:,}: no latent was revived. Set `dead_after` to about {min(suggested, max(1, longest // 10)):,}."
    ]


def _has_negatives(view: View) -> bool:
    z = view.sparse
    values = z.values if isinstance(z, Sparse) else z
    return values is not None and bool((values < 0).any())
