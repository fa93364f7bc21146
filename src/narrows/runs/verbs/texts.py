"""From token ids to text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from narrows.core.check import RequestError
from narrows.core.vocabulary import indices_to_text

if TYPE_CHECKING:
    import numpy as np

    from narrows.runs.run import Run

__all__ = ["texts"]


def texts(run: Run, tokens: np.ndarray | Sequence[Sequence[int]]) -> list[str]:
    """The texts of rows of token ids (N, T).

    Raises:
        RequestError: the run's data are not texts.
    """
    spec = run.recipe.spec
    if spec.kind != "tokens":
        raise RequestError(f"`{run.method}` was not fitted on texts. Give a file to write: --out x.npz.")
    unit = run.recipe.data.get("tokens", "characters")
    return [indices_to_text((int(n) for n in row), spec.vocabulary, unit) for row in tokens]
