"""The base class of sparse bottlenecks: counts idle latents and revives dead ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from narrows.core import (
    Accumulator,
    Autoencoder,
    Bottleneck,
    Code,
    Evidence,
    Pass,
    Sparse,
    Tree,
    all_sum,
    dense,
    tree_map,
)
from narrows.core.check import whole
from narrows.core.evidence import Latents
from narrows.kernels.metrics import Firing, l0
from narrows.kernels.sparse import LazyLinear, top
from narrows.nets.dictionaries.dictionary import Dictionary, Rescaled

__all__ = ["SparseBottleneck"]


class SparseBottleneck(Bottleneck, Rescaled):
    """A bottleneck of N latents, few of them active (nonzero). A subclass defines the activation: `activate`.

    `idle` counts for each latent the examples (tokens) since it was last active, over all processes. The
    evidence `Latents` holds the detached code, `Sparse` or (B, N), for hooks and the audit.

    Features are pre-activations (B, N), as a tensor or a `LazyLinear`, or a pair of them and the input of a
    skip connection; then the decoder reads the pair of the code and that input.

    Args:
        latents: number of latents, N.
    """

    idle: Tensor

    def __init__(self, latents: int) -> None:
        super().__init__()
        self.width = whole("latents", latents)
        self.register_buffer("idle", torch.zeros(latents, dtype=torch.int64))

    def activate(self, pre: Tensor | LazyLinear) -> tuple[Sparse | Tensor, dict[str, Tensor]]:
        """The code of pre-activations (B, N), and its costs by name."""
        raise NotImplementedError(f"{type(self).__name__} must define activate")

    def activate_with_evidence(
        self, pre: Tensor | LazyLinear
    ) -> tuple[Sparse | Tensor, dict[str, Tensor], tuple[Evidence, ...]]:
        """As `activate`, with evidence for the objective of the same step, which is not detached."""
        return *self.activate(pre), ()

    def bind(self, dictionary: Dictionary) -> None:
        """Receive the decoder's dictionary when the model is assembled; by default, do nothing."""

    def forward(self, h: Tree, samples: tuple[int, ...] = ()) -> Code:
        """Activate pre-activations; samples are copies of the one code."""
        pre, around = _pair(h)
        z, costs, more = self.activate_with_evidence(pre)
        evidence = (*more, Latents(tree_map(Tensor.detach, z), around, self.idle))
        read: Tree = z if around is None else (z, around)
        if samples:
            read = tree_map(lambda t: t.expand(*samples, *t.shape), read)
            costs = {name: cost.expand(*samples, *cost.shape) for name, cost in costs.items()}
        return Code(read, costs, evidence=evidence)

    def reset(self, rows: Tensor) -> list[nn.Parameter]:
        """Reset some latents (n,), without gradients; returns the parameters that were changed."""
        self.idle[rows] = 0
        return []

    def to_symbols(self, code: Code) -> Tensor:
        """The dense code, (B, N), followed by the input of the skip connection."""
        z, around = _pair(code.z)
        return dense(z) if around is None else torch.cat([dense(z), around], -1)

    def from_symbols(self, symbols: Tensor) -> Code:
        """The code of dense symbols."""
        z, around = symbols[..., : self.width], symbols[..., self.width :]
        return Code((z, around) if around.shape[-1] else z, evidence=(Latents(z.detach()),))

    def features(self, code: Code) -> Tensor:
        """The dense code, (B, N)."""
        return dense(_pair(code.z)[0]).flatten(1)

    def after_step(self, passed: Pass) -> None:
        """Update the idle counts: 0 for latents that were active, else plus the examples of this step."""
        z = passed.code[Latents].z
        if isinstance(z, Sparse):
            fired = torch.zeros(self.width, dtype=torch.int64, device=self.idle.device)
            fired.index_add_(0, z.indices.flatten(), (z.values != 0).flatten().long())
        else:
            fired = (z != 0).flatten(0, -2).sum(0)
        counted = all_sum(torch.cat([fired, fired.new_tensor([len(z)])]))
        self.idle.add_(counted[-1]).masked_fill_(counted[:-1] > 0, 0)

    def metrics(self, model: Autoencoder, passed: Pass) -> Mapping[str, Tensor | Accumulator]:
        """L0, dead and dense latents, the density histogram; and ``dead`` by the counts of training.

        ``dead`` is the share of latents idle for more than 100 N / L0 examples, a hundred times the mean
        interval between activations if all latents were equally frequent. Objectives that revive latents have
        their own limit.
        """
        found = passed.code.find(Latents)
        if found is None:
            return {}
        z = found.z
        limit = 100 * self.width / max(l0(z), 1e-9)
        return {"firing": Firing.of(z), "dead": (self.idle > limit).double().mean()}

    def revive(self, h: Tree, k: int, dead_after: int) -> Sparse | None:
        """A code of dead latents only, the k with the largest pre-activations; None if none is dead.

        Args:
            h: features, as in `forward`; of a `LazyLinear` only the dead latents are computed.
            k: the maximum number of latents.
            dead_after: latents idle for more examples than this are dead.
        """
        dead = self.dead(dead_after)
        return self.alone(h, k, dead) if len(dead) else None

    def alone(self, h: Tree, k: int, latents: Tensor) -> Sparse:
        """A code of some latents (n >= 1,) only: the k with the largest pre-activations."""
        code = self.nearest(self.only(h, latents), min(k, len(latents)))
        return replace(code, indices=latents[code.indices], width=self.width)

    def nearest(self, pre: Tensor | LazyLinear, k: int) -> Sparse:
        """The k latents with the largest pre-activations, rectified."""
        code = top(pre, k)
        return replace(code, values=code.values.relu())

    def dead(self, after: int) -> Tensor:
        """The indices of the latents idle for more than `after` examples, (n,)."""
        return (self.idle > after).nonzero().squeeze(1)

    def only(self, h: Tree, latents: Tensor) -> Tensor | LazyLinear:
        """The pre-activations of some latents (n,): (B, n), lazy if those of `h` are."""
        pre, _ = _pair(h)
        return pre.only(latents) if isinstance(pre, LazyLinear) else pre[:, latents]


def _pair(tree: Tree) -> tuple[Tree, Tree]:
    """The pre-activations or code, and the input of the skip connection or None."""
    return tree if isinstance(tree, tuple) else (tree, None)
