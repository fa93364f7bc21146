"""All that going on exactly needs: taken from a model in training, and put back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from narrows.core import Autoencoder
from narrows.kernels.parallel import TensorShard
from narrows.train.checkpoint import Checkpoint
from narrows.train.loop import Training
from narrows.train.stopping import Weights
from narrows.train.tensor import cut_tensor, names_of, whole_tensor

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["best_of", "gathered", "restore", "snapshot"]


def snapshot(
    model: Autoencoder, training: Training, fabric: Fabric, cut: TensorShard | None = None
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """All that going on exactly needs: weights, buffers, optimizer moments, random states."""
    tensors: dict[str, Tensor] = {f"model/{k}": v for k, v in gathered(model, fabric, cut).items()}
    groups: dict[str, Any] = {}
    for name, optimizer in training.optimizers.items():
        state, here = optimizer.state_dict(), names_of(model, optimizer)
        for index, moments in state["state"].items():
            for key, value in moments.items():
                whole = whole_tensor(torch.as_tensor(value), str(index), here, cut)
                tensors[f"optimizer/{name}/{index}/{key}"] = whole
        groups[name] = json.loads(json.dumps(state["param_groups"]))
    states = [torch.get_rng_state() for _ in range(fabric.world_size)]
    if fabric.world_size > 1:
        mine = states[0].to(fabric.device)
        everyone = [mine.clone() for _ in states]
        torch.distributed.all_gather(everyone, mine)
        states = [state.cpu() for state in everyone]
    tensors |= {f"rng/cpu/{rank}": state for rank, state in enumerate(states)}
    if fabric.device.type == "cuda":
        tensors[f"rng/cuda/{fabric.global_rank}"] = torch.cuda.get_rng_state(fabric.device)
    return apart({k: v.detach().cpu() for k, v in tensors.items()}), {"groups": groups}


def apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors, none in the memory of another, which the file format forbids; the others are not copied.

    Example:
        >>> x = torch.zeros(4)
        >>> found = apart({"whole": x, "part": x[:2]})
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


def gathered(model: Autoencoder, fabric: Fabric, cut: TensorShard | None) -> Mapping[str, Tensor]:
    """The model's weights and buffers, gathered where they are held in pieces."""
    if cut is not None:
        here = names_of(model)
        return {name: whole_tensor(value, name, here, cut) for name, value in model.state_dict().items()}
    if fabric.world_size == 1:
        return model.state_dict()
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    found: Any = get_model_state_dict(model, options=options)
    return dict(found)


def best_of(model: Autoencoder, checkpoint: Checkpoint, cut: TensorShard | None = None) -> Weights | None:
    """The best weights that a checkpoint holds; the model has them afterwards."""
    best = checkpoint.under("best/")
    if not best:
        return None
    here = names_of(model)
    model.load_state_dict({k: cut_tensor(v, k, here, cut) for k, v in best.items()})
    return Weights(model)


def restore(
    model: Autoencoder, training: Training, checkpoint: Checkpoint, rank: int, cut: TensorShard | None = None
) -> None:
    """Put model, optimizers, step and random states back as they were."""
    here = names_of(model)
    model.load_state_dict({k: cut_tensor(v, k, here, cut) for k, v in checkpoint.under("model/").items()})
    for name, optimizer in training.optimizers.items():
        moments: dict[int, dict[str, Tensor]] = {}
        here = names_of(model, optimizer)
        for key, value in checkpoint.under(f"optimizer/{name}/").items():
            index, moment = key.split("/")
            moments.setdefault(int(index), {})[moment] = cut_tensor(value, index, here, cut)
        optimizer.load_state_dict({"state": moments, "param_groups": checkpoint.facts["groups"][name]})
    training.step = int(checkpoint.facts["step"])
    torch.set_rng_state(checkpoint.tensors[f"rng/cpu/{rank}"])
    if (key := f"rng/cuda/{rank}") in checkpoint.tensors:
        torch.cuda.set_rng_state(checkpoint.tensors[key])
