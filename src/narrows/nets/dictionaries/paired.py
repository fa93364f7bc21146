"""Pairs of two modalities: a shared encoder by angular distance, and a dictionary for each modality."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from narrows.core import NO_CONDITION, Autoencoder, Batch, Condition, Part, Sparse, Spec, Tree
from narrows.core.check import choice, refuse, whole
from narrows.kernels.sparse import decode
from narrows.nets.dictionaries.dictionary import spread

__all__ = ["PairDictionary", "PairEncoder", "widths"]

_SMALL = 1e-12


def widths(spec: Spec, first: int) -> tuple[int, int]:
    """The width of each side of a pair.

    Args:
        spec: spec of examples (2, D), or of flat examples with both sides concatenated.
        first: the width of the first side of a flat example; 0 for (2, D), and for two equal sides.

    Raises:
        RequestError: the examples are not pairs.

    Example:
        >>> widths(Spec((2, 8)), 0), widths(Spec((12,)), 8)
        ((8, 8), (8, 4))
    """
    if len(spec.shape) == 2 and spec.shape[0] == 2 and not first:
        return spec.shape[1], spec.shape[1]
    if len(spec.shape) != 1 or (not first and spec.shape[0] % 2):
        raise refuse(
            "spec",
            spec.shape,
            "pairs (2, D), or flat examples of both sides",
            "Set ``first`` to the width of the first side.",
        )
    first = whole("first", first or spec.shape[0] // 2, high=spec.shape[0] - 1)
    return first, spec.shape[0] - first


class PairEncoder(Part):
    r"""Scores by the distance between directions: :math:`h_j = 2 - \| x / |x| - w_j / |w_j| \|`.

    With this score similar representations activate the same latents, whatever their norms. Both sides share
    the directions w. If their spaces differ (different widths, or `mapped`), each side is first mapped
    linearly to a common space. ``score="linear"`` is a shared affine encoder.

    Args:
        latents: number of latents, N.
        sides: the width of each side.
        score: ``distance`` or ``linear``.
        mapped: use a linear map for each side even if the widths are equal.

    Example:
        >>> PairEncoder(16, (8, 4))(torch.randn(5, 12)).shape
        torch.Size([5, 2, 16])
    """

    def __init__(
        self, latents: int, sides: tuple[int, int], *, score: str = "distance", mapped: bool = False
    ) -> None:
        super().__init__()
        self.sides, self.score = sides, choice("score", score, ("distance", "linear"))
        wide = max(sides)
        self.directions = nn.Parameter(F.normalize(torch.randn(latents, wide), dim=1))
        self.bias = nn.Parameter(torch.zeros(latents)) if score == "linear" else None
        self.maps = nn.ModuleList()
        if mapped or sides[0] != sides[1]:
            self.maps.extend(nn.Linear(side, wide, bias=False) for side in sides)

    def forward(self, x: Tree, condition: Condition = NO_CONDITION) -> Tensor:
        """The scores of both sides of each pair, (B, *shape) -> (B, 2, N)."""
        both = self.mapped(x)
        if self.bias is not None:
            return F.linear(both, self.directions, self.bias)
        cosine = F.linear(F.normalize(both, dim=2), F.normalize(self.directions, dim=1))
        return 2 - (2 - 2 * cosine).clamp_min(_SMALL).sqrt()

    def mapped(self, x: Tensor) -> Tensor:
        """Both sides in the common space, (B, *shape) -> (B, 2, D)."""
        sides = list(x.flatten(1).split(self.sides, 1))
        if self.maps:
            sides = [each(side) for each, side in zip(self.maps, sides, strict=True)]
        return torch.stack(sides, 1)


class PairDictionary(Part):
    """A dictionary for each side of a pair, with atoms of any norm: decodes codes (B, 2, N) to B pairs.

    Before training each bias is set to the mean of its side, and with `normalise` each side is scaled to mean
    square 1 around it.

    Args:
        latents: number of atoms of each dictionary, N.
        shape: shape of one pair.
        sides: the width of each side.
        normalise: scale each side.

    Example:
        >>> PairDictionary(16, (12,), (8, 4))(torch.randn(5, 2, 16)).shape
        torch.Size([5, 12])
    """

    scale: Tensor

    def __init__(
        self, latents: int, shape: tuple[int, ...], sides: tuple[int, int], *, normalise: bool = True
    ) -> None:
        super().__init__()
        self.shape, self.normalise = tuple(shape), normalise
        self.first, self.second = (
            nn.Parameter(F.normalize(torch.randn(latents, side), dim=1)) for side in sides
        )
        self.biases = nn.ParameterList(torch.zeros(side) for side in sides)
        self.register_buffer("scale", torch.ones(2))

    def forward(self, z: Tree, condition: Condition = NO_CONDITION) -> Tensor:
        """Decode codes (*samples, B, 2, N), sparse or dense, to (*samples, B, *shape)."""
        out = []
        for side, atoms in enumerate((self.first, self.second)):
            if isinstance(z, Sparse):
                part = decode(Sparse(z.indices[..., side, :], z.values[..., side, :], z.width), atoms)
            else:
                part = z[..., side, :] @ atoms
            out.append((part + self.biases[side]) / self.scale[side])
        flat = torch.cat(out, -1)
        return flat.unflatten(-1, self.shape)

    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Initialise the bias and the scale of each side from the data."""
        sides = [atoms.shape[1] for atoms in (self.first, self.second)]
        for side, x in enumerate(batch.target.flatten(1).split(sides, 1)):
            centre = x.mean(0)
            if self.normalise:
                self.scale[side] = 1 / spread(x, centre)
            self.biases[side].copy_(centre * self.scale[side])
