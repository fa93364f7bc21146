"""Nested reconstructions (Matryoshka): nested subsets of the latents must each reconstruct the target."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor

from narrows.core import Autoencoder, Pass, Sparse
from narrows.core.check import number, refuse, whole
from narrows.objectives.dead_latents import DeadLatents
from narrows.objectives.sparse import SparseObjective

__all__ = ["Nested", "Prefixes", "Ranks"]


class Nested(SparseObjective):
    r"""The weighted sum of the distortions of nested parts of the code, the last of which is the whole code.

    .. math:: L = \sum_g w_g\, d\Big(x,\; b + \sum_{s \le g} z_s A_s\Big) + \alpha\, r

    Each segment is decoded once, and the reconstructions are cumulative sums, so that G nested parts cost
    about two decodings. A subclass defines the segments (`segments`).

    Args:
        share: weights w of the nested parts, from the smallest to the whole code; None for equal weights of
            1.
        dead: the treatment of dead latents, or None. It reads the residual of the whole code.
        reduce: from (B,) to a scalar; the mean if None.
    """

    def __init__(
        self,
        *,
        share: Sequence[float] | None = None,
        dead: DeadLatents | None = None,
        reduce: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__(dead=dead, reduce=reduce)
        self.share = None if share is None else tuple(number("share", w, low=0) for w in share)

    def segments(self, z: Sparse) -> list[Sparse]:
        """The differences of nested parts to the previous one, without the last: codes (B, ...)."""
        raise NotImplementedError(f"{type(self).__name__} must define segments")

    def distortion(self, model: Autoencoder, passed: Pass) -> Tensor:
        """The weighted sum of the distortions, (B,)."""
        segments = self.segments(passed.code.z)
        share = (1.0,) * (len(segments) + 1) if self.share is None else self.share
        total = share[-1] * super().distortion(model, passed)
        running: Tensor | None = None
        for weight, segment in zip(share[:-1], segments, strict=True):
            if running is None:
                running = model.decode(segment, passed.batch.condition)
            else:
                running = running + model.decoder.combine(segment)  # type: ignore[operator]
            total = total + weight * super().distortion(model, replace(passed, output=running))
        return total


class Prefixes(Nested):
    r"""Nested parts are prefixes of the dictionary: the first m latents, for several m.

    With `alpha` the widths are drawn at each step: all N, and others without replacement with
    :math:`P(m) \propto m^\alpha - (m - 1)^\alpha`, so that short prefixes are drawn more often than long
    ones.

    Args:
        widths: the widths m, increasing; the last is the number of latents.
        alpha: draw all but the last at each step; None for fixed widths.
        dead: the treatment of dead latents, or None.

    Raises:
        RequestError: widths that do not increase, or alpha out of range.

    Example:
        >>> code = Sparse(torch.tensor([[5, 0, 3]]), torch.tensor([[1.0, 2.0, 3.0]]), 6)
        >>> [s.dense().tolist()[0] for s in Prefixes((1, 4, 6)).segments(code)]
        [[2.0, 0.0, 0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 3.0, 0.0, 0.0]]

    Reference:
        Bussmann et al., Learning Multi-Level Features with Matryoshka Sparse Autoencoders, 2025.
        arXiv:2503.17547. Drawn widths: Nabeshima, Matryoshka Sparse Autoencoders, 2024.
    """

    widths: Tensor

    def __init__(
        self, widths: Sequence[int], *, alpha: float | None = None, dead: DeadLatents | None = None
    ) -> None:
        super().__init__(dead=dead)
        found = _ascending("widths", widths)
        self.alpha = None if alpha is None else number("alpha", alpha, low=1e-3)
        self.register_buffer("widths", torch.tensor(found))

    def before_step(self, step: int) -> None:
        """Draw the widths of this step."""
        if self.alpha is None or len(self.widths) == 1:
            return
        last = int(self.widths[-1])
        law = torch.arange(last, dtype=torch.double).pow(self.alpha).diff()
        drawn = torch.multinomial(law, len(self.widths) - 1).sort().values + 1
        self.widths[:-1] = drawn.to(self.widths)

    def settled(self, step: int) -> bool:
        """Whether the widths are fixed, and all weights have their final values."""
        return (self.alpha is None or len(self.widths) == 1) and super().settled(step)

    def segments(self, z: Sparse) -> list[Sparse]:
        """The latents between one width and the next."""
        ends = self.widths.tolist()
        return [_between(z, low, high) for low, high in zip([0, *ends], ends[:-1], strict=False)]


class Ranks(Nested):
    r"""Nested parts are the k largest latents of an example, for several k.

    .. math:: z_g = \mathrm{TopK}_{k_g}(z)

    A single model can then be used at each k, with the bottleneck's ``use(k)``.

    Args:
        levels: the values of k, increasing; the last is that of the bottleneck.
        reverse: weigh the g-th of G levels with G - g + 1, so the smallest most; else equally.
        dead: the treatment of dead latents, or None.

    Raises:
        RequestError: levels that do not increase.

    Example:
        >>> code = Sparse(torch.tensor([[5, 0, 3]]), torch.tensor([[1.0, 2.0, 3.0]]), 6)
        >>> [s.values.tolist() for s in Ranks((1, 2, 3)).segments(code)]
        [[[3.0]], [[2.0]]]

    Reference:
        Zaigrajew, Baniecki, Biecek, Interpreting CLIP with Hierarchical Sparse Autoencoders, 2025.
        arXiv:2502.20578
    """

    def __init__(
        self, levels: Sequence[int], *, reverse: bool = False, dead: DeadLatents | None = None
    ) -> None:
        self.levels = _ascending("levels", levels)
        super().__init__(share=range(len(self.levels), 0, -1) if reverse else None, dead=dead)

    def segments(self, z: Sparse) -> list[Sparse]:
        """The latents between one rank and the next, by magnitude."""
        order = z.values.detach().abs().argsort(dim=-1, descending=True)[:, : self.levels[-1]]
        ends = zip([0, *self.levels], self.levels[:-1], strict=False)
        return [_at(z, order[:, low:high]) for low, high in ends]


def _ascending(name: str, values: Sequence[int]) -> list[int]:
    """The values, checked to be positive, increasing integers."""
    found = [whole(name, value) for value in values]
    if not found or any(b <= a for a, b in pairwise(found)):
        raise refuse(name, tuple(values), "increasing integers")
    return found


def _at(z: Sparse, positions: Tensor) -> Sparse:
    """The entries at some positions of each row."""
    return Sparse(z.indices.gather(-1, positions), z.values.gather(-1, positions), z.width)


def _between(z: Sparse, low: int, high: int) -> Sparse:
    """The entries whose latents are in [low, high), in as few columns as possible."""
    inside = (z.indices >= low) & (z.indices < high) & (z.values != 0)
    most = max(1, int(inside.sum(-1).max()))
    positions = inside.to(torch.int32).topk(most, dim=-1, sorted=False).indices
    found = _at(z, positions)
    return Sparse(found.indices, torch.where(inside.gather(-1, positions), found.values, 0), z.width)
