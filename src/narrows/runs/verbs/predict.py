"""`predict`: labels, or another target, from x."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from narrows.core import Batch, seeded
from narrows.core.check import RequestError, whole
from narrows.core.predictor import Predictor

if TYPE_CHECKING:
    from narrows.runs.run import Run

__all__ = ["predict"]


def predict(
    run: Run, data: Any = None, *, draws: int = 0, seed: int = 0, progress: Any = None
) -> dict[str, np.ndarray]:
    """Predict labels, or another target, from x.

    Args:
        run: a run of a method that predicts, such as `vib`.
        data: the data, which need no labels; the test split of the run if None.
        draws: number of codes over whose predictions the mean is taken; 0 decodes the posterior mean.
        seed: seed of the draws.
        progress: a `narrows.core.progress.Progress`, or None.

    Returns:
        ``class``, the name of the most probable class, (N,), and ``probability/NAME`` of each class, (N,); or
        ``target`` in its units, (N, ...).

    Raises:
        RequestError: a method that does not predict a target.
    """
    model = run.model
    if not isinstance(model, Predictor):
        raise RequestError(
            f"`{run.method}` does not predict labels. Fit `vib` or `dkvb`; `narrows translate` predicts modalities, "
            "and `narrows reconstruct` writes what other methods decode."
        )
    whole("draws", draws, low=0)

    def one(batch: Batch) -> torch.Tensor:
        return model.predict(batch, draws)

    with seeded(seed):
        y = torch.cat(list(run._over(data, one, progress, "Predicting", conditions=model.inputs)))
    if "labels" not in model.conditions:
        return {"target": run._units(y)}
    names = run.recipe.data["spec"]["class_names"]
    found = {"class": np.array(names)[y.argmax(1).numpy()]}
    return found | {f"probability/{name}": y[:, i].numpy() for i, name in enumerate(names)}
