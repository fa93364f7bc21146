"""The base class of priors whose indices can be proposed by a smaller prior of the kind."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor

from narrows.core import NO_CONDITION, Condition
from narrows.core.check import choice, refuse
from narrows.priors.labels import guided, with_unlabelled
from narrows.priors.samplers.ancestral import sharpened
from narrows.priors.samplers.lantern import Draft, Drawn, checked, speculative
from narrows.priors.sequence import IndexSequence

__all__ = ["SpeculativeSequence"]


class SpeculativeSequence(IndexSequence):
    """A prior that gives each index a probability given those before it. Arguments are those of `Sequence`.

    A subclass also defines `forward`, logits (B, ..., K) from symbols as `arrange` gives them, whose indices in order
    are those of a flattened code.
    """

    @torch.no_grad()
    def sample(
        self,
        n: int,
        condition: Condition = NO_CONDITION,
        *,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        guidance: float = 1.0,
        sampler: Literal["cached", "lantern"] = "cached",
        draft: str | Draft = "",
        delta: float = 0.0,
        proposals: int = 4,
    ) -> Tensor:
        """n rows of indices, (n, *shape). See `narrows.priors.SAMPLING` for the other options.

        Args:
            n: how many.
            condition: their ``labels``, one-hot (n, G). A prior that is told labels draws them if none are given.
            sampler: ``cached`` draws one after another, with cached keys and values; with ``lantern`` a smaller prior
                proposes several, of which each pass accepts some.
            draft: for ``lantern``, the run of the smaller prior, which was fitted to codes of the same codebook.
            delta: for ``lantern``, probability of neighbouring codes that counts for a proposal, from 0 to 1; with 0
                samples have the distribution of ``cached``.
            proposals: for ``lantern``, indices that the draft proposes for a pass.
        """
        options = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
        if choice("sampler", sampler, ("cached", "lantern")) == "cached":
            for name, value in {"draft": "a draft" if draft else "", "delta": delta}.items():
                if value:
                    raise refuse(name, value, "left out without ``sampler='lantern'``")
            return super().sample(n, condition, guidance=guidance, **options)  # type: ignore[arg-type]
        drawn = self.speculate(n, condition, guidance, checked(draft), delta, proposals, **options)
        return drawn.indices.view(n, *self.symbols.shape)

    @property
    def ordered(self) -> bool:
        """Whether each index has a probability given all those before it."""
        return True

    def next_logits(self, indices: Tensor, labels: Tensor | None = None) -> Tensor:
        """Logits (n, T, K) of each of all T indices of a code given those before it, (n, T)."""
        symbols = indices.view(-1, *self.symbols.shape)
        return self(self.arrange(symbols), labels).reshape(*indices.shape, -1)

    def speculate(
        self,
        n: int,
        condition: Condition,
        guidance: float,
        draft: Draft,
        delta: float,
        proposals: int,
        **options: Any,
    ) -> Drawn:
        """n rows of indices (n, T) by speculative decoding, and how many passes each took. Options are of `sharpened`.

        Raises:
            RequestError: the draft gives no probabilities of such indices, or is told labels and this one is not.
        """
        other = self.fitting(draft)
        device = self.net.start.device
        alone = self.asked(condition, n, 1.0, device)
        both = with_unlabelled(alone, guidance)
        copies = 1 if guidance == 1 else 2

        def target(indices: Tensor) -> Tensor:
            logits = self.next_logits(indices.repeat(copies, 1), both)
            return sharpened(guided(logits, guidance), **options)

        def proposal(indices: Tensor) -> Tensor:
            return sharpened(other.next_logits(indices, alone if other.classes else None), **options)

        near, tokens = draft.neighbours.to(device), math.prod(self.symbols.shape)
        return speculative(target, proposal, near, n, tokens, delta=delta, proposals=proposals, device=device)

    def fitting(self, draft: Draft) -> SpeculativeSequence:
        """The prior of a draft, if its indices can be judged by this one.

        Raises:
            RequestError: they cannot.
        """
        other = draft.prior
        if not self.ordered:
            raise refuse("sampler", "lantern", "cached for a prior with a pattern")
        if not isinstance(other, SpeculativeSequence) or not other.ordered or other.symbols != self.symbols:
            expected = f"the run of a prior `autoregressive` or `rq-transformer` over {self.symbols}"
            raise refuse("draft", f"{type(other).__name__} over {other.symbols}", expected)
        if other.classes not in (0, self.classes):
            fix = "Fit it with --prior autoregressive:labels=no."
            raise refuse("draft", "a prior that is told labels", "one that is told none, as this one", fix)
        return other
