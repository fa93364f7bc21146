"""The state for exact resumption: taken from a model in training, and restored."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from narrows.core import Autoencoder
from narrows.train.checkpoint import Checkpoint
from narrows.train.loop import Training
from narrows.train.strategies import Strategy

__all__ = ["restore", "snapshot", "weights_of"]


def snapshot(
    model: Autoencoder, training: Training, strategy: Strategy
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The state for exact resumption: weights, buffers, optimizer moments, random states."""
    tensors: dict[str, Tensor] = {f"model/{k}": v for k, v in strategy.state(model).items()}
    groups: dict[str, Any] = {}
    for name, optimizer in training.optimizers.items():
        state = strategy.optimizer_state(model, optimizer)
        for index, moments in state["state"].items():
            for key, value in moments.items():
                tensors[f"optimizer/{name}/{index}/{key}"] = torch.as_tensor(value)
        groups[name] = json.loads(json.dumps(state["param_groups"]))
    tensors |= strategy.random_states()
    return unshared({k: v.detach().cpu() for k, v in tensors.items()}), {"groups": groups}


def weights_of(
    model: Autoencoder, strategy: Strategy, applied: Callable[[], AbstractContextManager[None]], prefix: str
) -> dict[str, Tensor]:
    """A model's whole weights inside a context that changes them.

    Args:
        model: the model, which is not changed.
        strategy: gathers weights that are sharded.
        applied: a context in which the model has the weights.
        prefix: prefix of each name.
    """
    with applied():
        return {f"{prefix}{k}": v.detach().cpu().clone() for k, v in strategy.state(model).items()}


def unshared(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors without shared memory, which safetensors forbids; copied only if needed.

    Example:
        >>> x = torch.zeros(4)
        >>> found = unshared({"whole": x, "part": x[:2]})
        >>> found["whole"] is x, found["part"].data_ptr() == x.data_ptr()
        (True, False)
    """
    found: dict[str, Tensor] = {}
    taken: set[int] = set()
    for name, value in tensors.items():
        memory = value.untyped_storage().data_ptr()
        found[name] = value.clone() if memory in taken else value
        taken.add(memory)
    return found


def restore(model: Autoencoder, training: Training, checkpoint: Checkpoint, strategy: Strategy) -> None:
    """Restore model, optimizers, step and random states."""
    strategy.load_state(model, checkpoint.under("model/"))
    for name, optimizer in training.optimizers.items():
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in checkpoint.under(f"optimizer/{name}/").items():
            index, moment = key.split("/")
            moments.setdefault(int(index), {})[moment] = value
        form = {"state": moments, "param_groups": checkpoint.metadata["groups"][name]}
        strategy.load_optimizer_state(model, optimizer, form)
    training.step = int(checkpoint.metadata["step"])
    strategy.load_random_states(checkpoint.tensors)
