"""The ITDA dictionary: its atoms are training examples that earlier atoms reconstruct badly."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from narrows.core import NO_CONDITION, Autoencoder, Batch, Condition, Part, Pass, Sparse, Tree
from narrows.core.check import number, refuse, whole
from narrows.kernels.pursuit import matching_pursuit
from narrows.kernels.sparse import decode

__all__ = ["ITDADictionary", "jaccard"]

_AHEAD = 64
"""The number of examples encoded together in the search for the next atom."""


class ITDADictionary(Part):
    r"""Appends an example as an atom if matching pursuit with the present atoms leaves too large a residual.

    .. math:: \frac{\|x - \hat x\|^2}{\|x - c\|^2} > \tau \;\Rightarrow\; A \leftarrow [A;\, (x - c) / \|x -
    c\|]

    The atoms are stored in buffers of full size with a count, so that the state has a fixed shape. Unused
    rows are 0 and are never selected. For each atom the index of its example is stored, if the batch has it
    as a condition (one integer per example), else -1.

    Args:
        latents: the maximum number of atoms, N.
        shape: shape of one example.
        threshold: the tolerated fraction of an example's squared norm in the residual, tau.
        k: number of pursuit steps.
        signed: whether coefficients may be negative.
        centre: subtract the data's mean c from every example; else c is 0.
        at_once: number of examples appended before later examples are encoded again; 1 is the exact
            algorithm.

    Raises:
        RequestError: a number is out of range.

    Reference:
        Leask, Nanda, Al Moubayed, Inference-Time Decomposition of Activations (ITDA), 2025. arXiv:2505.17769
    """

    smooth = False
    normalise = False
    atoms: Tensor
    bias: Tensor
    scale: Tensor
    count: Tensor
    examples: Tensor

    def __init__(
        self,
        latents: int,
        shape: tuple[int, ...],
        *,
        threshold: float,
        k: int,
        signed: bool = True,
        centre: bool = False,
        at_once: int = 1,
    ) -> None:
        super().__init__()
        self.shape, self.k, self.signed, self.centre = tuple(shape), whole("k", k), signed, centre
        self.threshold, self.at_once = (
            number("threshold", threshold, low=0, high=1),
            whole("at_once", at_once),
        )
        width = math.prod(shape)
        self.register_buffer("atoms", torch.zeros(whole("latents", latents), width))
        self.register_buffer("bias", torch.zeros(width))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.register_buffer("examples", torch.full((latents,), -1, dtype=torch.int64))

    def forward(self, z: Tree, condition: Condition = NO_CONDITION) -> Tensor:
        """Decode codes (*samples, B, N) to (*samples, B, *shape)."""
        flat = (decode(z, self.atoms) if isinstance(z, Sparse) else z @ self.atoms) + self.bias
        return flat if len(self.shape) == 1 else flat.unflatten(-1, self.shape)

    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Set the centre to the mean of the data."""
        if self.centre:
            self.bias.copy_(batch.x.flatten(1).mean(0))

    def reinitialise_rows(self, model: Autoencoder, passed: Pass) -> list[tuple[nn.Parameter, Tensor]]:
        """Append examples of the batch as atoms; no parameter changes."""
        condition = next(iter(passed.batch.condition.values()), None)
        numbers = None if condition is None else condition.reshape(len(passed.batch), -1)[:, 0]
        self.grow(passed.batch.x.flatten(1) - self.bias, numbers)
        return []

    @torch.no_grad()
    def grow(self, x: Tensor, numbers: Tensor | None = None) -> None:
        """Append, in order, those centred examples x (B, D) whose residual exceeds the threshold.

        Args:
            x: centred examples.
            numbers: indices of the examples, (B,); -1 each when None.
        """
        numbers = torch.full((len(x),), -1, device=x.device) if numbers is None else numbers.long()
        start = 0
        while start < len(x) and int(self.count) < len(self.atoms):
            ahead = x[start : start + _AHEAD]
            found = (self.unexplained(ahead) > self.threshold).nonzero().squeeze(1)
            found = found[: min(self.at_once, len(self.atoms) - int(self.count))]
            self._append(ahead[found], numbers[start + found])
            start += int(found[-1]) + 1 if len(found) == self.at_once else len(ahead)

    def unexplained(self, x: Tensor) -> Tensor:
        """The unexplained fraction of the squared norm of each centred example, (B,); 0 for zero examples."""
        total, count = x.square().sum(1), int(self.count)
        if count == 0:
            return (total > 0).to(x.dtype)
        code = matching_pursuit(x, self.atoms[:count], min(self.k, count), signed=self.signed)
        rest = (x - decode(code, self.atoms)).square().sum(1)
        return torch.where(total > 0, rest / total.clamp_min(torch.finfo(x.dtype).tiny), 0.0)

    def _append(self, x: Tensor, numbers: Tensor) -> None:
        rows = slice(int(self.count), int(self.count) + len(x))
        self.atoms[rows] = nn.functional.normalize(x, dim=1)
        self.examples[rows] = numbers
        self.count += len(x)


def jaccard(a: ITDADictionary, b: ITDADictionary) -> float:
    r"""The Jaccard similarity of two dictionaries' sets of examples: :math:`|A \cap B| / |A \cup B|`.

    Examples are equal if they have the same index; without indices, if the atoms are identical. With indices,
    dictionaries of different layers or models can be compared, whatever their widths.

    Args:
        a: one dictionary.
        b: the other.

    Returns:
        from 0 to 1; 0 if both are empty.

    Raises:
        RequestError: indices are missing, and the atoms differ in width.
    """
    sets = []
    numbered = all(bool((one.examples[: int(one.count)] >= 0).all()) for one in (a, b))
    if not numbered and a.atoms.shape[1] != b.atoms.shape[1]:
        raise refuse(
            "b",
            tuple(b.atoms.shape),
            f"atoms of {a.atoms.shape[1]} numbers, as in the other dictionary",
            "To compare different models, pass the indices of the examples to both (``numbers``).",
        )
    for one in (a, b):
        rows = (one.examples if numbered else one.atoms)[: int(one.count)].tolist()
        sets.append({row if numbered else tuple(row) for row in rows})
    either = len(sets[0] | sets[1])
    return len(sets[0] & sets[1]) / either if either else 0.0
