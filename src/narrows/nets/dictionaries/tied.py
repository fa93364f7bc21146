"""An encoder without weights of its own: it hands the dictionary on, and the bottleneck does the coding."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from narrows.core import NO_CONDITION, Autoencoder, Condition, Part, Tree
from narrows.core.borrowed import Borrowed
from narrows.kernels.sparse import LazyLinear

__all__ = ["Atoms", "TiedEncoder"]


class Atoms(Protocol):
    """What a dictionary must have to be coded with: atoms (N, D), a bias (D,), and a scale of the data."""

    normalise: bool
    scale: Tensor

    @property
    def atoms(self) -> Tensor:
        """One a row, (N, D)."""

    @property
    def bias(self) -> Tensor:
        """What is added to them, (D,)."""


class TiedEncoder(Part):
    r"""The correlations of the data with a dictionary's own atoms: :math:`(s x - b) A^\top`, not computed yet.

    What it puts out is a `LazyLinear` with the dictionary's atoms as weights, so that a pursuit finds in it both
    what is to be coded and what it is coded with; whoever wants pre-activations (the auxiliary loss) gets those of a
    pursuit's first step. Nothing is learned here, and scales are the dictionary's.

    Args:
        dictionary: whose atoms, bias and scale are used.

    Example:
        >>> from narrows.nets.dictionaries.dictionary import Dictionary
        >>> TiedEncoder(Dictionary(16, (2, 3)))(torch.ones(5, 2, 3)).dense().shape
        torch.Size([5, 16])
    """

    def __init__(self, dictionary: Atoms) -> None:
        super().__init__()
        self._dictionary = Borrowed(dictionary)

    def forward(self, x: Tree, condition: Condition = NO_CONDITION) -> LazyLinear:
        """Promise the correlations (B, N) of inputs (B, *shape)."""
        dictionary = self._dictionary.module
        flat: Tensor = x.reshape(-1, dictionary.atoms.shape[1])
        if dictionary.normalise:
            flat = flat * dictionary.scale
        return LazyLinear(flat, dictionary.atoms, flat.new_zeros(len(dictionary.atoms)), dictionary.bias)

    def finish(self, model: Autoencoder) -> None:
        """Fold the scale into the bias: codes of a pursuit are then in units of the data."""
        dictionary = self._dictionary.module
        dictionary.bias.div_(dictionary.scale)
        dictionary.scale.fill_(1.0)
