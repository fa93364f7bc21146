"""What the proofs of methods for several layers share: planted layers, and layers of the story model."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from narrows.core import Spec
from narrows.data.dataset import Dataset
from narrows.data.scaling import Scaling
from narrows.measures import fvu
from narrows.proofs.engine import Trial

__all__ = ["Planted", "dataset", "fvus", "layers", "spec_of"]


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
    from narrows.testing.stories import activations

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
