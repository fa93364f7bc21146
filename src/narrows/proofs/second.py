"""A finished autoencoder whose codes the priors of a proof share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Normal

from narrows.audit.metrics.frechet import Features
from narrows.core import Autoencoder, Batch, Prior, seeded
from narrows.core.schedules import Schedule
from narrows.data import Dataset
from narrows.methods.quantised.vq_vae import vq_vae
from narrows.methods.variational.vae import vae
from narrows.priors import make_prior
from narrows.proofs.engine import Trial
from narrows.proofs.grids import RATE
from narrows.proofs.quality import decoded, distance, features, independent
from narrows.proofs.reduced import reduced

__all__ = [
    "CHANNELS",
    "FirstStage",
    "drawn_symbols",
    "fit_prior",
    "grid_options",
    "index_grid",
    "real_grid",
    "real_vector",
]

CHANNELS = 4
"""Numbers of a token of `real_grid`."""


@dataclass(frozen=True)
class FirstStage:
    """A finished autoencoder and the data by which priors over its codes are compared.

    Args:
        trial: the trial.
        model: the autoencoder; `fit` sets a prior on it.
        train: the data that priors are trained on.
        test: held-out examples.
        look: the features of Frechet distances.
        held_out: one draw of the posterior of each held-out example, as symbols.
    """

    trial: Trial
    model: Autoencoder
    train: Dataset
    test: Batch
    look: Features
    held_out: Tensor

    def fit(self, text: str | Prior, lr: float = RATE) -> Prior:
        """Set a prior on the model and train it; see `fit_prior`."""
        return fit_prior(self.trial, self.model, text, lr, self.train)

    @torch.no_grad()
    def nll(self, prior: Prior) -> float:
        """The mean -log p of held-out codes, or its bound, in nats."""
        return float(prior.nll(self.held_out).mean())

    @torch.no_grad()
    def sampled(self, **options: Any) -> float:
        """The Frechet distance of samples of the prior that was set last, as many as there are held-out examples."""
        return distance(self.look, self.model.sample(len(self.test), **options), self.test)

    @torch.no_grad()
    def frechet(self, symbols: Tensor) -> float:
        """The Frechet distance of decoded symbols (B, *shape)."""
        return distance(self.look, decoded(self.model, symbols.flatten(1)), self.test)

    @torch.no_grad()
    def shuffled(self) -> float:
        """The Frechet distance of indices that are drawn alone, with the frequencies of their places."""
        known = self.model.as_symbols(self.train.all(len(self.test))).x
        symbols = self.model.bottleneck.symbols
        assert symbols is not None
        drawn = independent(known, symbols.codes, len(self.test))
        made = decoded(self.model, self.model.bottleneck.from_symbols(drawn).z)
        return distance(self.look, made, self.test)

    def floors(self) -> dict[str, float]:
        """N(0, I), the prior that a VAE has without training, and the held-out codes, the floor of every prior.

        The codes are compared in reverse order, so that none is compared with itself.
        """
        normal = torch.randn(self.held_out.shape)
        return {
            "normal/nll": float(-Normal(0.0, 1.0).log_prob(self.held_out).flatten(1).sum(1).mean()),
            "normal/frechet": self.frechet(normal),
            "codes/frechet": self.frechet(self.held_out.flip(0)),
        }


def grid_options(trial: Trial) -> dict[str, Any]:
    """Options of an autoencoder over a small grid, whose tokens are ``downsample`` pixels wide."""
    return {"downsample": trial.budget["downsample"], "net": "conv:width=16", "likelihood": "squared"}


def real_grid(trial: Trial) -> FirstStage:
    """A VAE over a grid of tokens of four numbers, with squared error and a KL divergence of weight 0.02."""
    test = trial.data.test.all(trial.budget["test"])
    look = features(trial, trial.budget["look"])
    model = trial.build(vae, latent=CHANNELS, beta=0.02, **grid_options(trial))
    trial.fit(model, lr=RATE)
    return FirstStage(trial, model, trial.data.train, test, look, drawn_symbols(model, test))


def index_grid(trial: Trial) -> FirstStage:
    """A VQ-VAE over images at half the size, with a token of 8 numbers for 2 x 2 pixels; symbols are its indices."""
    budget = trial.budget
    data = reduced(trial.data, rows=budget["rows"], tests=budget["test"], binary=False)
    model = trial.build(
        vq_vae,
        spec=data.spec,
        codes=budget["codes"],
        width=8,
        downsample=2,
        net="conv:width=16",
        likelihood="squared",
        prior="none",
    )
    trial.fit(model, data.train, lr=RATE)
    test, look = data.test.all(), features(trial, budget["look"], data.train)
    return FirstStage(trial, model, data.train, test, look, model.as_symbols(test).x)


def real_vector(trial: Trial, latent: int) -> FirstStage:
    """A VAE of perceptrons over binary images at half the size, whose code is a vector."""
    data = reduced(trial.data, rows=trial.budget["rows"], tests=trial.budget["test"])
    test = data.test.all()
    look = features(trial, trial.budget["look"], data.train)
    model = trial.build(vae, spec=data.spec, latent=latent, net="mlp:128")
    trial.fit(model, data.train)
    with seeded(trial.seed):
        held_out = drawn_symbols(model, test)
    return FirstStage(trial, model, data.train, test, look, held_out)


def fit_prior(
    trial: Trial, model: Autoencoder, text: str | Prior, lr: Schedule = RATE, train: Dataset | None = None
) -> Prior:
    """Set a prior on a finished model and train it for ``prior_steps`` with batches of ``prior_batch``.

    Args:
        trial: the trial.
        model: the model, whose own stage is not trained again.
        text: what the prior is, such as ``givt:width=64``, or the prior.
        lr: its learning rate, or a schedule of it.
        train: the training data; those of the trial if None.
    """
    torch.manual_seed(trial.seed)
    train = trial.data.train if train is None else train
    prior = make_prior(text, model.symbols_of(train.all(2)), trial.data.spec.classes)
    assert prior is not None
    model.set_prior(prior)
    rows = {"batch_size": trial.budget["prior_batch"]} if "prior_batch" in trial.budget else {}
    steps = trial.budget["prior_steps"]
    trial.fit(model, train, finished=("autoencoder",), steps=steps, lr=lr, **rows)
    return prior


@torch.no_grad()
def drawn_symbols(model: Autoencoder, batch: Batch) -> Tensor:
    """One draw of the posterior of each example, as symbols (B, *shape)."""
    drawn: Tensor = model.bottleneck.to_symbols(model.encode(batch, (1,)))
    return drawn[0]
