"""What all sparse bottlenecks share: a record of which latents have gone idle, and the way to wake them."""

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
    """A bottleneck of N latents, few of them on (not zero). A subclass says which: it defines `activate`.

    `idle` holds for each latent how many examples (tokens) have passed since it was last on, over all processes.
    The detached code, `Sparse` or (B, N), is the evidence `Latents`, for hooks and the audit.

    Features are pre-activations (B, N), a tensor or a promise, or a pair of them and something that goes around the
    narrow part (the input of a skip connection); then the decoder reads the pair of the code and that.

    Args:
        latents: how many, N.
    """

    idle: Tensor

    def __init__(self, latents: int) -> None:
        super().__init__()
        self.width = whole("latents", latents)
        self.register_buffer("idle", torch.zeros(latents, dtype=torch.int64))

    def activate(self, pre: Tensor | LazyLinear) -> tuple[Sparse | Tensor, dict[str, Tensor]]:
        """The code of pre-activations (B, N), and what passing costs."""
        raise NotImplementedError(f"{type(self).__name__} must define activate")

    def activate_with_evidence(
        self, pre: Tensor | LazyLinear
    ) -> tuple[Sparse | Tensor, dict[str, Tensor], tuple[Evidence, ...]]:
        """As `activate`, and what the objective of the same step shall see besides; that keeps its gradient."""
        return *self.activate(pre), ()

    def bind(self, dictionary: Dictionary) -> None:
        """Get to know the atoms, once, when the model is assembled; most do not care."""

    def forward(self, h: Tree, samples: tuple[int, ...] = ()) -> Code:
        """Pass pre-activations through; with samples asked for, the one code is repeated."""
        pre, around = _pair(h)
        z, costs, more = self.activate_with_evidence(pre)
        evidence = (*more, Latents(tree_map(Tensor.detach, z), around, self.idle))
        read: Tree = z if around is None else (z, around)
        if samples:
            read = tree_map(lambda t: t.expand(*samples, *t.shape), read)
            costs = {name: cost.expand(*samples, *cost.shape) for name, cost in costs.items()}
        return Code(read, costs, evidence=evidence)

    def reset(self, rows: Tensor) -> list[nn.Parameter]:
        """Begin anew with some latents (n,), without gradients; returned are the parameters that were touched."""
        self.idle[rows] = 0
        return []

    def to_symbols(self, code: Code) -> Tensor:
        """The dense code, (B, N), followed by what goes around it."""
        z, around = _pair(code.z)
        return dense(z) if around is None else torch.cat([dense(z), around], -1)

    def from_symbols(self, symbols: Tensor) -> Code:
        """The code that the symbols stand for."""
        z, around = symbols[..., : self.width], symbols[..., self.width :]
        return Code((z, around) if around.shape[-1] else z, evidence=(Latents(z.detach()),))

    def features(self, code: Code) -> Tensor:
        """The dense code, (B, N)."""
        return dense(_pair(code.z)[0]).flatten(1)

    def after_step(self, passed: Pass) -> None:
        """Count: a latent that was on starts at 0 again, the others add the examples of this step."""
        z = passed.code[Latents].z
        if isinstance(z, Sparse):
            fired = torch.zeros(self.width, dtype=torch.int64, device=self.idle.device)
            fired.index_add_(0, z.indices.flatten(), (z.values != 0).flatten().long())
        else:
            fired = (z != 0).flatten(0, -2).sum(0)
        counted = all_sum(torch.cat([fired, fired.new_tensor([len(z)])]))
        self.idle.add_(counted[-1]).masked_fill_(counted[:-1] > 0, 0)

    def metrics(self, model: Autoencoder, passed: Pass) -> Mapping[str, Tensor | Accumulator]:
        """L0, silent and dense latents, the density histogram; and the share that is ``dead`` by the training's count.

        Dead is what was idle for a hundred times the mean gap between two firings of a latent in fair use, N / L0
        examples; an objective that deals with dead latents counts by what it waits for instead.
        """
        found = passed.code.find(Latents)
        if found is None:
            return {}
        z = found.z
        waits = 100 * self.width / max(l0(z), 1e-9)
        return {"firing": Firing.of(z), "dead": (self.idle > waits).double().mean()}

    def revive(self, h: Tree, k: int, dead_after: int) -> Sparse | None:
        """A code of dead latents alone: the k that come nearest to being on; None where none is dead.

        Args:
            h: features, as `forward` gets them; of a promise, only what belongs to the dead is computed.
            k: how many at most.
            dead_after: idle for more examples than this is dead.
        """
        dead = self.dead(dead_after)
        return self.alone(h, k, dead) if len(dead) else None

    def alone(self, h: Tree, k: int, latents: Tensor) -> Sparse:
        """A code of some latents (n,) alone, one at least: the k of them that come nearest to being on."""
        code = self.nearest(self.only(h, latents), min(k, len(latents)))
        return replace(code, indices=latents[code.indices], width=self.width)

    def nearest(self, pre: Tensor | LazyLinear, k: int) -> Sparse:
        """The k latents that come nearest to being on, with the values they would have: the largest, where positive."""
        code = top(pre, k)
        return replace(code, values=code.values.relu())

    def dead(self, after: int) -> Tensor:
        """The numbers of the latents that were idle for more than `after` examples, (n,)."""
        return (self.idle > after).nonzero().squeeze(1)

    def only(self, h: Tree, latents: Tensor) -> Tensor | LazyLinear:
        """The pre-activations of some latents (n,): (B, n), or the promise of them."""
        pre, _ = _pair(h)
        return pre.only(latents) if isinstance(pre, LazyLinear) else pre[:, latents]


def _pair(tree: Tree) -> tuple[Tree, Tree]:
    """What goes through, and what goes around it or None."""
    return tree if isinstance(tree, tuple) else (tree, None)
