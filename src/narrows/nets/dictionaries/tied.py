"""A tied encoder: it computes the inner products with the dictionary's atoms, and the bottleneck runs a
pursuit.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from narrows.core import NO_CONDITION, Autoencoder, Condition, Part, Tree
from narrows.core.reference import ModuleReference
from narrows.kernels.sparse import LazyLinear

__all__ = ["Atoms", "TiedEncoder"]


class Atoms(Protocol):
    """What `TiedEncoder` needs of a dictionary: atoms (N, D), a bias (D,), and a scale."""

    normalise: bool
    scale: Tensor

    @property
    def atoms(self) -> Tensor:
        """One atom per row, (N, D)."""

    @property
    def bias(self) -> Tensor:
        """The bias of the reconstruction, (D,)."""


class TiedEncoder(Part):
    r"""The inner products of data and atoms, :math:`(s x - b) A^\top`, as a `LazyLinear`.

    The weights of the `LazyLinear` are the atoms, so a pursuit has both its input and its dictionary. Its
    pre-activations, which the auxiliary loss reads, are those of the pursuit's first step. The encoder has no
    parameters, and uses the scale of the dictionary.

    Args:
        dictionary: the dictionary whose atoms, bias and scale are used.

    Example:
        >>> from narrows.nets.dictionaries.dictionary import Dictionary
        >>> TiedEncoder(Dictionary(16, (2, 3)))(torch.ones(5, 2, 3)).dense().shape
        torch.Size([5, 16])
    """

    def __init__(self, dictionary: Atoms) -> None:
        super().__init__()
        self._dictionary = ModuleReference(dictionary)

    def forward(self, x: Tree, condition: Condition = NO_CONDITION) -> LazyLinear:
        """The lazy inner products (B, N) of inputs (B, *shape)."""
        dictionary = self._dictionary.module
        flat: Tensor = x.reshape(-1, dictionary.atoms.shape[1])
        if dictionary.normalise:
            flat = flat * dictionary.scale
        return LazyLinear(flat, dictionary.atoms, flat.new_zeros(len(dictionary.atoms)), dictionary.bias)

    def finish(self, model: Autoencoder) -> None:
        """Fold the scale into the bias, so that codes are in units of the data."""
        dictionary = self._dictionary.module
        dictionary.bias.div_(dictionary.scale)
        dictionary.scale.fill_(1.0)
