"""The worlds of `benchmarks.truth` in the form that a method reads: layers, a target, pairs, gradients.

All forms have the examples x = codes atoms of the world, and nothing else that would help, so that a method with
several inputs has no more to learn from than one with x alone:

- ``layers``: x twice, as two layers that are alike (`layer-group-sae`, told one group);
- ``rotated``: x and Q x, with a fixed rotation Q (`crosscoder`);
- ``target``: from x to Q x (`transcoder`); ``one layer``: the same as (1, D) (`cross-layer-transcoder`);
- ``pairs``: two examples that share their atoms of every other family (`contrastive-sae`), a family being 8 atoms in
  a row, or a parent with its children;
- ``gradients``: x, and the gradient of a loss: half the squared length of x's projection to 8 random directions
  (`gradient-sae`).

The true atoms are given in the same form. `e2e-sae` has none: its loss is that of a language model whose
activations the data are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

import narrows.data as nd
from narrows.core import Spec
from narrows.data.dataset import Dataset

__all__ = ["FORMS", "Form", "given"]

FAMILY = 8


class Form(NamedTuple):
    """How a method is given a world: its data, and the options that it needs for them."""

    of: Callable[[Dataset, Any, Tensor], tuple[Dataset, Tensor]]
    told: dict[str, object]


def layers(part: Dataset, truth: Any, _: Tensor) -> tuple[Dataset, Tensor]:
    """Two layers that are alike."""
    return _twice(part, truth, torch.eye(part.shape[0]))


def rotated(part: Dataset, truth: Any, rotation: Tensor) -> tuple[Dataset, Tensor]:
    """Two layers, of which the second is a rotation of the first."""
    return _twice(part, truth, rotation)


def target(part: Dataset, truth: Any, rotation: Tensor) -> tuple[Dataset, Tensor]:
    """From x to its rotation."""
    return replace(part, target=_rows(part) @ rotation), _atoms(truth) @ rotation


def one_layer(part: Dataset, truth: Any, rotation: Tensor) -> tuple[Dataset, Tensor]:
    """From one layer's input to its output."""
    x, shape = _rows(part), (1, *part.shape)
    made = replace(part, x=x[:, None], target=(x @ rotation)[:, None], shape=shape)
    return made, (_atoms(truth) @ rotation)[:, None]


def pairs(part: Dataset, truth: Any, _: Tensor) -> tuple[Dataset, Tensor]:
    """Pairs that share their atoms of every other family."""
    atoms, codes = _atoms(truth), torch.as_tensor(part.columns["codes"])
    number = torch.arange(len(atoms))
    if hasattr(truth, "parent"):
        parent = torch.as_tensor(truth.parent)
        family = torch.where(parent < 0, number, parent)
    else:
        family = number // FAMILY
    other = torch.where(family % 2 == 0, codes, codes.roll(1, 0))
    x = torch.stack([codes @ atoms, other @ atoms], 1)
    columns = {**part.columns, "codes": codes + other}
    return replace(part, x=x, shape=(2, *part.shape), columns=columns), atoms[:, None].expand(-1, 2, -1)


def gradients(part: Dataset, truth: Any, rotation: Tensor) -> tuple[Dataset, Tensor]:
    """x, and the gradient of half the squared length of its projection to the first rows of the rotation."""
    seen = rotation[:8]
    return replace(part, columns={**part.columns, "gradients": _rows(part) @ seen.T @ seen}), _atoms(truth)


FORMS: dict[str, Form] = {
    "layer-group-sae": Form(layers, {"groups": 1}),
    "crosscoder": Form(rotated, {"price_target": "l0=3"}),
    "transcoder": Form(target, {}),
    "cross-layer-transcoder": Form(one_layer, {"price_target": "l0=3"}),
    "contrastive-sae": Form(pairs, {}),
    "gradient-sae": Form(gradients, {}),
}


def given(source: nd.Source, method: str, seed: int) -> tuple[nd.Source, Tensor]:
    """A world as a method reads it, and its true atoms in the same form, (M, ...)."""
    if method not in FORMS:
        return source, torch.as_tensor(source.truth.atoms)
    (width,) = source.spec.shape
    drawn = torch.randn(width, width, generator=torch.Generator().manual_seed(2000 + seed))
    rotation = torch.linalg.qr(drawn).Q
    parts = [FORMS[method].of(part, source.truth, rotation) for part in (source.train, source.test)]
    (train, atoms), (test, _) = parts
    goal = None if train.target is None else tuple(train.target.shape[1:])
    return replace(source, train=train, test=test, spec=Spec(train.shape, target=goal)), atoms


def _twice(part: Dataset, truth: Any, rotation: Tensor) -> tuple[Dataset, Tensor]:
    x, atoms = _rows(part), _atoms(truth)
    made = replace(part, x=torch.stack([x, x @ rotation], 1), shape=(2, *part.shape))
    return made, torch.stack([atoms, atoms @ rotation], 1)


def _rows(part: Dataset) -> Tensor:
    return torch.as_tensor(part.x, dtype=torch.float32)


def _atoms(truth: Any) -> Tensor:
    return torch.as_tensor(truth.atoms, dtype=torch.float32)
