"""Encoders and dictionaries shared by groups of layers, which are clustered by the angles between
activations.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from narrows.core import NO_CONDITION, Autoencoder, Batch, Condition, Part, Tree
from narrows.core.check import refuse, whole
from narrows.core.reference import ModuleReference
from narrows.nets.dictionaries.dictionary import geometric_median
from narrows.nets.dictionaries.stacked import PooledDictionary, balance_of, size_of_layers

__all__ = ["GroupDictionary", "GroupEncoder", "angles", "group"]


def angles(x: Tensor) -> Tensor:
    r"""The mean angular distance between layers, :math:`E\, \arccos(\cos(x^l, x^m)) / \pi`.

    Example:
        >>> angles(torch.tensor([[[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]]]))
        tensor([[0.0000, 0.5000, 1.0000],
                [0.5000, 0.0000, 0.5000],
                [1.0000, 0.5000, 0.0000]])
    """
    unit = nn.functional.normalize(x, dim=-1)
    distance = torch.einsum("bld,bmd->blm", unit, unit).clamp(-1, 1).arccos().mean(0) / torch.pi
    return distance.fill_diagonal_(0.0)


def group(distance: Tensor, groups: int) -> list[int]:
    """The group of each layer, by agglomerative clustering of adjacent layers with complete linkage.

    Args:
        distance: distances between layers, (L, L).
        groups: number of groups, from 1 to L.

    Example:
        >>> group(torch.tensor([[0.0, 0.1, 0.4], [0.1, 0.0, 0.3], [0.4, 0.3, 0.0]]), 2)
        [0, 0, 1]
    """
    members = [[layer] for layer in range(len(distance))]
    while len(members) > groups:
        apart = [float(distance[a][:, b].max()) for a, b in pairwise(members)]
        nearest = apart.index(min(apart))
        members[nearest : nearest + 2] = [members[nearest] + members[nearest + 1]]
    return [number for number, some in enumerate(members) for _ in some]


class GroupDictionary(PooledDictionary):
    r"""One dictionary for each group of layers: :math:`\hat x^l = (z^l A + b_{g(l)}) / s_l`.

    The code of a layer uses the atoms of its group; the atoms of all groups form one matrix, (G N, D). The
    groups are computed before training by `angles` and `group`, unless they are given. Besides full examples
    (B, L, D) it decodes samples of one layer per group, (B, G, D), which are already scaled to mean square 1.

    Args:
        latents: number of atoms per group, N.
        shape: (layers, D).
        groups: number of groups, G.
        assign: the group of each layer, starting at 0, or () to compute them.
        unit_norm: constrain every atom to norm 1.
        normalise: scale each layer to mean square 1 internally.
    """

    groups: Tensor

    def __init__(
        self,
        latents: int,
        shape: tuple[int, ...],
        groups: int,
        *,
        assign: Sequence[int] = (),
        unit_norm: bool = True,
        normalise: bool = False,
    ) -> None:
        layers = shape[0]
        groups = whole("groups", groups, high=layers, fix="There cannot be more groups than layers.")
        if assign and (len(assign) != layers or set(assign) != set(range(groups))):
            raise refuse(
                "assign", assign, f"a group from 0 to {groups - 1} for each of {layers} layers, all used"
            )
        super().__init__(groups * latents, shape, unit_norm=unit_norm, normalise=normalise)
        self.count, self.assign = groups, tuple(assign)
        self.bias = nn.Parameter(torch.zeros(groups, shape[1]))
        start = self.assign or [layer * groups // layers for layer in range(layers)]
        self.register_buffer("groups", torch.tensor(start))

    def forward(self, z: Tree, condition: Condition = NO_CONDITION) -> Tensor:
        """Decode codes (*samples, B, L, N G) to (*samples, B, L, D), or (B, G, N G) to (B, G, D)."""
        flat = self._sum(z)
        return self._shaped(flat + self.bias[self.owners(flat.shape[-2])])

    def owners(self, rows: int) -> Tensor:
        """The group of each row of an example of L layers, or of one sampled layer for each of G groups."""
        if rows == len(self.groups):
            return self.groups
        return torch.arange(self.count, device=self.groups.device)

    def draw(self, x: Tensor) -> Tensor:
        """Sample one layer per group from each example (B, L, D), scaled to mean square 1: (B, G, D)."""
        members = self.groups == torch.arange(self.count, device=x.device).unsqueeze(1)
        layer = (torch.rand(len(x), 1, len(self.groups), device=x.device) + members).argmax(-1)
        return (x * self.scale).gather(1, layer.unsqueeze(-1).expand(-1, -1, x.shape[-1]))

    def _shaped(self, flat: Tensor) -> Tensor:
        return super()._shaped(flat) if flat.shape[-2] == len(self.groups) else flat

    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Group the layers, and initialise the scales and each group's centre."""
        target = batch.target.to(self.bias.dtype)
        if not self.assign:
            self.groups.copy_(torch.tensor(group(angles(target), self.count)))
        if self.normalise:
            self.scale.copy_(size_of_layers(target))
        scaled = target * self.scale
        for number in range(self.count):
            self.bias[number] = geometric_median(scaled[:, self.groups == number].flatten(0, 1))
        self.balance.copy_(balance_of(target, self.scale))


class GroupEncoder(Part):
    """A linear encoder for each group of layers: the pre-activations of each layer in its group, (B, L, N).

    Samples of one layer per group, (B, G, D), are not scaled again.

    Args:
        centre: the dictionary of the groups, whose biases are subtracted, and whose atoms initialise W.
        normalise: scale each layer to mean square 1.
    """

    scale: Tensor

    def __init__(self, centre: GroupDictionary, *, normalise: bool = False) -> None:
        super().__init__()
        self.normalise = normalise
        self.weight = nn.Parameter(centre.atoms.detach().clone().unflatten(0, (centre.count, -1)))
        self.bias = nn.Parameter(torch.zeros(self.weight.shape[:2]))
        self.register_buffer("scale", torch.ones_like(centre.scale))
        self._centre = ModuleReference(centre)

    def forward(self, x: Tree, condition: Condition = NO_CONDITION) -> Tensor:
        """Pre-activations of inputs (B, L, D) or (B, G, D)."""
        centre = self._centre.module
        found = centre.owners(x.shape[1])
        whole = x.shape[1] == len(centre.groups)
        inner = (x * self.scale if whole else x) - centre.bias[found]
        return torch.einsum("bld,lnd->bln", inner, self.weight[found]) + self.bias[found]

    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Initialise the scales from the inputs."""
        if self.normalise:
            self.scale.copy_(size_of_layers(batch.x))
