"""PCA of the same width, the baseline of codes of real numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from narrows.core import Autoencoder, Batch, evaluation_mode
from narrows.core.evidence import Indices, Latents
from narrows.data.batches import some_rows
from narrows.kernels.metrics import fvu
from narrows.kernels.principal import MOST, principal

__all__ = ["Baseline", "baseline", "beside_pca"]

_ROWS, _NUMBERS = 20_000, 1 << 25
"""Largest numbers of training rows, and of their elements, to which components are fitted."""

_LOOKED_AT = 2048


@dataclass(frozen=True)
class Baseline:
    """The fractions of variance unexplained (FVU) of PCA and of a method on the same examples.

    Args:
        width: dimensions of the code, and number of components.
        rows: number of training rows that the components are fitted to.
        pca: the FVU of PCA.
        own: the FVU of the method.
    """

    width: int
    rows: int
    pca: float
    own: float

    @property
    def behind(self) -> bool:
        """Whether PCA explains as much or more."""
        return self.own >= self.pca

    @property
    def says(self) -> str:
        """A sentence with both fractions.

        Example:
            >>> print(Baseline(2, 100, 0.5, 0.25).says)
            PCA of the same width (2) leaves 0.5 of the variance unexplained, the method 0.25.
        """
        both = (
            f"PCA of the same width ({self.width}) leaves {self.pca:.4g} of the variance unexplained, the method "
            f"{self.own:.4g}"
        )
        return f"{both}: PCA explains as much or more." if self.behind else f"{both}."


def beside_pca(train: Any, batch: Batch, z: Any, output: Tensor) -> Baseline | None:
    """Compare reconstructions with those of PCA; None if the code cannot be compared.

    The code must be a tensor with fewer real numbers than an example, and the target must be the example itself.

    Args:
        train: the training examples; the components are fitted to at most 20,000 of them, fewer if they are long.
        batch: examples.
        z: their codes.
        output: their reconstructions.
    """
    x = batch.x
    if batch.target is not batch.x or not all(
        isinstance(t, Tensor) and t.is_floating_point() for t in (x, z)
    ):
        return None
    width, size = z.flatten(1).shape[1], x.flatten(1).shape[1]
    count = min(len(train), _ROWS, max(MOST, _NUMBERS // size))
    count = MOST if min(count, size) > MOST else count
    if not 0 < width < size or count < 2 or output.shape != x.shape:
        return None
    rows = train.batch(some_rows(train, count, 0)).x
    back = principal(rows.flatten(1), width).project(x.flatten(1).cpu())
    return Baseline(width, count, fvu(x.flatten(1).cpu(), back), fvu(x.cpu(), output.cpu()))


def baseline(model: Autoencoder, train: Any, held_out: Any) -> Baseline | None:
    """Compare a model with PCA on the first held-out examples; None if they cannot be compared.

    Args:
        model: it is not changed.
        train: the training examples.
        held_out: examples that the model was not trained on.
    """
    batch = held_out.batch(slice(0, min(_LOOKED_AT, len(held_out))), model.conditions)
    with evaluation_mode(model):
        passed = model(batch)
        code = passed.code
        if not isinstance(code.z, Tensor) or passed.weight is not None:
            return None
        if code.find(Indices) is not None or code.find(Latents) is not None:
            return None
        output = model.likelihood.mean(passed.output)
    return beside_pca(train, batch, code.z, output)
