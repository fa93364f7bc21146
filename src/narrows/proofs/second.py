"""A prior on a finished autoencoder, for proofs that compare priors over the same codes."""

from __future__ import annotations

import torch
from torch import Tensor

from narrows.core import Autoencoder, Batch, Prior
from narrows.priors import make_prior
from narrows.proofs.engine import Trial
from narrows.proofs.grids import RATE

__all__ = ["drawn_symbols", "fit_prior"]


def fit_prior(trial: Trial, model: Autoencoder, text: str, lr: float = RATE) -> Prior:
    """Set a prior on a finished model and train it for ``prior_steps`` with batches of ``prior_batch``.

    Args:
        trial: the trial.
        model: the model, whose own stage is not trained again.
        text: what the prior is, such as ``givt:width=64``.
        lr: its learning rate.
    """
    torch.manual_seed(trial.seed)
    symbols = model.symbols_of(trial.data.test.all(2))
    prior = make_prior(text, symbols, trial.data.spec.classes)
    assert prior is not None
    model.set_prior(prior)
    steps, rows = trial.budget["prior_steps"], trial.budget["prior_batch"]
    trial.fit(model, finished=("autoencoder",), steps=steps, batch_size=rows, lr=lr)
    return prior


@torch.no_grad()
def drawn_symbols(model: Autoencoder, batch: Batch) -> Tensor:
    """One draw of the posterior of each example, as symbols (B, *shape)."""
    drawn: Tensor = model.bottleneck.to_symbols(model.encode(batch, (1,)))
    return drawn[0]
