"""What principal components of the same width explain: the least that a code of real numbers must better."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from narrows.audit.evidence.view import at_rest
from narrows.core import Autoencoder, Batch
from narrows.core.evidence import Indices, Latents
from narrows.data.batches import some_rows
from narrows.kernels.metrics import fvu
from narrows.kernels.principal import MOST, principal

__all__ = ["Baseline", "baseline", "beside_pca"]

_ROWS, _NUMBERS = 20_000, 1 << 25
"""Training rows and numbers that components are taken of at most."""

_LOOKED_AT = 2048


@dataclass(frozen=True)
class Baseline:
    """Two fractions of variance unexplained on the same examples.

    Args:
        width: numbers of the code, and components.
        rows: training rows that the components are taken of.
        pca: what the components leave.
        own: what the method leaves.
    """

    width: int
    rows: int
    pca: float
    own: float

    @property
    def behind(self) -> bool:
        """Whether the components explain as much or more."""
        return self.own >= self.pca

    @property
    def says(self) -> str:
        """A sentence with both.

        Example:
            >>> print(Baseline(2, 100, 0.5, 0.25).says)
            PCA of the same width (2) leaves 0.5 of the variance unexplained, the fit 0.25.
        """
        both = (
            f"PCA of the same width ({self.width}) leaves {self.pca:.4g} of the variance unexplained, the fit "
            f"{self.own:.4g}"
        )
        return f"{both}: PCA explains as much or more." if self.behind else f"{both}."


def beside_pca(train: Any, batch: Batch, z: Any, output: Tensor) -> Baseline | None:
    """Compare reconstructions with those of PCA; None where a code of z cannot be compared with components.

    It can where the code is a tensor of fewer real numbers than an example has, and the example itself is the target.

    Args:
        train: the examples that components are taken of, at most 20,000 of them, fewer of long ones.
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
    """Compare a model with PCA on the first held-out examples; None where the two cannot be compared.

    Args:
        model: left as it was.
        train: the examples that it was trained on.
        held_out: examples that it was not trained on.
    """
    batch = held_out.batch(slice(0, min(_LOOKED_AT, len(held_out))), model.conditions)
    with at_rest(model):
        passed = model(batch)
        code = passed.code
        if not isinstance(code.z, Tensor) or passed.weight is not None:
            return None
        if code.find(Indices) is not None or code.find(Latents) is not None:
            return None
        output = model.likelihood.mean(passed.output)
    return beside_pca(train, batch, code.z, output)
