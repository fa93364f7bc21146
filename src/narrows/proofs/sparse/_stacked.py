"""What proofs share that look into models: planted layers, layers of the story model, and a model that reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from narrows.activations.capture import capture_with_gradients
from narrows.activations.hook_points import resolve
from narrows.activations.splice import Costs, Replace, measure
from narrows.activations.toy import Toy, generate
from narrows.core import Spec
from narrows.data.dataset import Dataset
from narrows.data.scaling import Scaling
from narrows.kernels.metrics import fvu
from narrows.objectives.downstream import TOY
from narrows.proofs.engine import Trial
from narrows.testing.stories import NAME, activations, stories, story_model

__all__ = ["BUDGET", "FULL", "Planted", "Reading", "dataset", "fvus", "layers", "spec_of"]

BUDGET = {"k": 8, "lr/1000": 3, "contexts": 128}
"""Of the proofs on several layers: latents that are on, the learning rate, stories that are read."""
FULL = {"steps": 20_000, "latents": 1024, "k": 16, "lr/1000": 1, "contexts": 1024}
"""The same at full scale."""

_WIDTH = 24
"""Of the toy model."""


@dataclass(frozen=True)
class Planted:
    """Layers that hold the same features, each in a direction of its own in every layer that has it.

    Args:
        atoms: directions, rows of unit length, zero where a layer lacks a feature: (M, L, D).
        train: examples, (B, L, D).
        test: further examples.
    """

    atoms: Tensor
    train: Tensor
    test: Tensor

    @classmethod
    def of(cls, trial: Trial, has: Tensor, width: int) -> Planted:
        """Draw directions for the codes of the trial's dictionary.

        Args:
            trial: its data is a `dictionary` with at least M atoms.
            has: which layer has which feature, (M, L) of 0 and 1.
            width: D.
        """
        draw = torch.Generator().manual_seed(trial.seed + 1000)  # not the draw that the models start from
        atoms = F.normalize(torch.randn(*has.shape, width, generator=draw), dim=-1) * has.unsqueeze(-1)
        codes = (trial.data.truth.codes, trial.data.truth.test_codes)
        train, test = (torch.einsum("bm,mld->bld", torch.from_numpy(c)[:, : len(has)], atoms) for c in codes)
        return cls(atoms, train, test)


def layers(trial: Trial, at: str = "resid.*") -> tuple[Tensor, Tensor]:
    """Activations of the story model's layers, for training and for testing, (tokens, L, D) each.

    The tokens are those of stories that the model wrote itself, without the first position of each; every trial
    reads the same.
    """
    held, count = 32, trial.budget["contexts"]
    seen = activations(at, count + held, 128)[:, 1:]
    return seen[:count].flatten(0, 1), seen[count:].flatten(0, 1)


def dataset(x: Tensor, target: Tensor | None = None, **columns: Tensor) -> Dataset:
    """Tensors in memory as a data set of their own."""
    return Dataset(x, Scaling(), tuple(x.shape[1:]), target=target, columns=columns)


def spec_of(x: Tensor, target: Tensor | None = None) -> Spec:
    """What one example looks like."""
    return Spec(tuple(x.shape[1:]), target=None if target is None else tuple(target.shape[1:]))


def fvus(x: Tensor, x_hat: Tensor) -> list[float]:
    """The fraction of variance unexplained of each layer, (B, L, D)."""
    return [fvu(x[:, m], x_hat[:, m]) for m in range(x.shape[1])]


@dataclass(frozen=True)
class Reading:
    """A language model that reads, and one place in it: what methods are trained on that know the model's loss.

    Args:
        name: what loads the model.
        model: a frozen causal language model.
        at: the place.
        later: the places after it where activations are compared.
        train: tokens, (contexts, length), and what flows through the place and its gradient, (contexts, length, D).
        test: the same of other contexts.
    """

    name: str
    model: Any
    at: str
    later: str
    train: tuple[Tensor, Tensor, Tensor]
    test: tuple[Tensor, Tensor, Tensor]

    @classmethod
    def of(cls, trial: Trial, weights: int = 0) -> Reading:
        """The story model's third layer of five, on its own stories; or where the budget has none, a toy's first.

        What the toy writes depends on the trial's seed; of the stories every trial reads the same.

        Args:
            trial: with its budget's contexts, 0 for the toy, and their length.
            weights: seed of the toy's weights.
        """
        held, count = 32, trial.budget["contexts"]
        length = trial.budget.get("length", 128)
        if count:
            name, at, later = NAME, "resid.2", "resid.3,resid.4"
            model, tokens = story_model(), stories(count + held, length)
        else:
            name, at, later = TOY, "resid.0", "resid.1"
            model = Toy(_WIDTH, seed=weights)
            tokens = generate(model, 256 + held, 32, trial.seed)
        places = resolve(model, at)
        parts = [capture_with_gradients(model, some, places) for some in tokens.split(64)]
        seen, slopes = (torch.cat([part[side][places[0].name] for part in parts]) for side in (0, 1))
        cut = [(tokens[rows], seen[rows], slopes[rows]) for rows in (slice(0, -held), slice(-held, None))]
        return cls(name, model, at, later, cut[0], cut[1])

    def rows(self, part: str = "train") -> tuple[Tensor, Tensor]:
        """Activations and gradients as rows, without the first position of each context, which is far from all."""
        _, seen, slopes = getattr(self, part)
        return seen[:, 1:].flatten(0, 1), slopes[:, 1:].flatten(0, 1)

    def spliced(self, replace: Replace) -> Costs:
        """What it costs the model on the test part where `replace` gives all positions but the first."""

        def some(activation: Tensor) -> Tensor:
            return torch.cat([activation[:, :1], replace(activation[:, 1:])], 1)

        return measure(self.model, self.test[0], self.at, some)
