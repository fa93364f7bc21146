"""The objective of end-to-end dictionaries: the effect of reconstructions on a frozen language model."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from narrows.activations.hook_points import resolve
from narrows.activations.models import load
from narrows.activations.splice import cross_entropy, divergence, spliced_and_captured
from narrows.activations.toy import Toy
from narrows.core import Autoencoder, Batch, Pass
from narrows.core.check import WorkError, number, refuse
from narrows.core.reference import ModuleReference
from narrows.objectives.sparse import SparseObjective

__all__ = ["TOY", "Downstream"]

_TOLERANCE = 0.05
"""The accepted relative difference of stored activations, for instance because of half precision."""

TOY = "toy"
"""Name of the untrained model of `narrows.activations.toy`, with the data's width."""


class Downstream(SparseObjective):
    r"""The effect of a reconstruction on a frozen language model, summed over a context.

    .. math:: d = \alpha\, \mathrm{KL}\big(p(\cdot \mid x) \,\|\, p(\cdot \mid \hat x)\big)
        - \gamma \log p(\text{next} \mid \hat x) + \frac{\beta}{|\mathcal{L}| D} \sum_{l \in \mathcal{L}}
        \| a_l(x) - a_l(\hat x) \|^2 + \frac{\delta}{D} \| x - \hat x \|^2

    The model reads ``tokens``, their ids (B, S), with the reconstructions (B, T, D) in place of the
    activations at the hook point `at`. If S > T, the first S - T positions are not replaced. The model is
    loaded at the first step, is not a submodule of this one, and its weights are not saved with it.

    Args:
        model: as in `narrows.activations.models.load`, or ``toy``.
        at: the hook point whose activations are reconstructed.
        layers: later hook points a_l whose activations are compared, as in
            `narrows.activations.hook_points.resolve`, or "".
        kl: alpha.
        ce: gamma.
        downstream: beta.
        local: delta.
        options: arguments of `SparseObjective`.
    """

    def __init__(
        self,
        *,
        model: str,
        at: str,
        layers: str = "",
        kl: float = 1.0,
        ce: float = 0.0,
        downstream: float = 0.0,
        local: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.model, self.at, self.layers = model, at, layers
        self.kl, self.ce = number("kl", kl, low=0), number("ce", ce, low=0)
        self.downstream = number("downstream", downstream, low=0)
        self.local = number("local", local, low=0)
        if not self._splices and not self.local:
            raise refuse("kl", kl, "above 0, or another of the weights", "Nothing would be learned.")
        self._language: ModuleReference[Any] | None = None  # frozen, not saved with this module

    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Compare the activations of a few contexts with those of the language model for their tokens."""
        super().prepare(model, batch)
        if self.model == TOY or not self._splices:
            return
        some = batch[:4]
        tokens = self._tokens(some)
        lead = tokens.shape[1] - some.x.shape[1]
        _, (own,) = spliced_and_captured(self.language_model(some.x), tokens, self.at, None, [self.at])
        own = own[:, lead:].to(some.x.dtype)
        difference = float((own - some.x).norm() / own.norm()) if own.shape == some.x.shape else 1.0
        if difference > _TOLERANCE:
            raise WorkError(
                f"These activations are not those of {self.model} at {self.at} for these tokens: they differ by "
                f"{difference:.0%}. Harvest them at this hook point, not scaled, with all positions and special "
                "tokens."
            )

    @property
    def _splices(self) -> bool:
        """Whether the language model is run."""
        return bool(self.kl or self.ce or (self.layers and self.downstream))

    def distortion(self, model: Autoencoder, passed: Pass) -> Tensor:
        """The downstream error of each context, (B,)."""
        tokens = self._tokens(passed.batch)
        made = model.likelihood.mean(passed.output)
        width, lead = made.shape[-1], tokens.shape[1] - made.shape[1]
        total = self.local / width * (passed.batch.x - made).square().sum((1, 2))
        if not self._splices:
            return total
        lm = self.language_model(made)
        hooks = resolve(lm, self.layers) if self.layers and self.downstream else []
        with torch.no_grad():
            plain, before = spliced_and_captured(lm, tokens, self.at, None, hooks)

        def replace(activation: Tensor) -> Tensor:
            if activation.shape[-1] != width:
                raise refuse(
                    "at", self.at, f"a hook point of width {width}, like the data", "Harvest it from there."
                )
            return torch.cat([activation[:, :lead], made.to(activation.dtype)], 1)

        logits, after = spliced_and_captured(lm, tokens, self.at, replace, hooks)
        if self.kl:
            total = total + self.kl * divergence(plain[:, lead:], logits[:, lead:]).sum(1)
        if self.ce:
            total = total + self.ce * cross_entropy(logits, tokens).sum(1)
        for a, b in zip(before, after, strict=True):
            share = self.downstream / (len(hooks) * width)
            total = total + share * (a - b)[:, lead:].square().flatten(1).sum(1)
        return total

    def language_model(self, like: Tensor) -> Any:
        """The frozen model, on the device of a tensor; in float64 if the tensor is, for tests."""
        if self._language is None:
            width = like.shape[-1]
            found = Toy(width) if self.model == TOY else _loaded(self.model, str(like.device))
            self._language = ModuleReference(found)
        double = torch.float64 if like.dtype == torch.float64 else None
        return self._language.module.to(device=like.device, dtype=double)

    def __getstate__(self) -> dict[str, Any]:
        """Copies of this module load the language model again."""
        return {**self.__dict__, "_language": None}

    def _tokens(self, batch: Batch) -> Tensor:
        tokens = batch.condition.get("tokens")
        if tokens is None or tokens.ndim != 2 or tokens.shape[1] < batch.x.shape[1]:
            found = "none" if tokens is None else tuple(tokens.shape)
            raise WorkError(
                f"An end-to-end dictionary needs the token ids, at least {batch.x.shape[1]} per context, but the data "
                f"have {found}. Open the harvest with ``layout='contexts'``."
            )
        return tokens


@lru_cache(maxsize=2)
def _loaded(name: str, device: str) -> Any:
    """A language model, shared by all objectives that use it."""
    found = load(name, device=device)
    if found.kind != "causal":
        raise refuse("model", name, "a causal language model", f"This model is of the type {found.kind}.")
    return found.module.requires_grad_(False)
