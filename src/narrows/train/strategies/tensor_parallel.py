"""Tensor parallel training: the latents of a dictionary are sharded over processes.

A module declares with `splits`, in its own class, which of its parameters have a row per latent; without this
declaration it is not known to work on shards, and the model is refused. Checkpoints are always whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from narrows.core import Autoencoder, Part
from narrows.core.check import RequestError
from narrows.core.values import same_batch
from narrows.kernels.parallel import TensorShard
from narrows.train.strategies.base import Strategy

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["TensorParallel", "gather_model", "shard_model"]


class TensorParallel(Strategy):
    """Each process holds some of the latents; all get the same batch, with the same noise.

    Args:
        fabric: the launched devices, of which only the processes are used.
    """

    def __init__(self, fabric: Fabric) -> None:
        super().__init__(fabric)
        self.shard = TensorShard(fabric.global_rank, fabric.world_size)

    def running(self) -> AbstractContextManager[None]:
        """A context in which counts are not summed over processes, since each has the same batch."""
        return same_batch()

    def begin(self, model: Autoencoder) -> None:
        """Shard the model."""
        shard_model(model, self.shard)

    def end(self, model: Autoencoder) -> None:
        """Gather the model."""
        gather_model(model, self.shard)

    def state(self, model: Autoencoder) -> Mapping[str, Tensor]:
        """The state dict of the whole model, gathered from shards."""
        names = _names(model)
        return {name: self._whole(value, name in names) for name, value in model.state_dict().items()}

    def load_state(self, model: Autoencoder, tensors: Mapping[str, Tensor]) -> None:
        """The inverse of `state`: each process takes its shard."""
        names = _names(model)
        model.load_state_dict({name: self._part(value, name in names) for name, value in tensors.items()})

    def optimizer_state(self, model: Autoencoder, optimizer: Optimizer) -> dict[str, Any]:
        """The state of an optimizer for whole parameters, gathered from shards."""
        return self._moments(model, optimizer, optimizer.state_dict(), self._whole)

    def load_optimizer_state(self, model: Autoencoder, optimizer: Optimizer, state: dict[str, Any]) -> None:
        """The inverse of `optimizer_state`: each process takes its shard."""
        optimizer.load_state_dict(self._moments(model, optimizer, state, self._part))

    def _moments(self, model: Autoencoder, optimizer: Optimizer, state: Mapping[str, Any], of: Any) -> Any:
        sharded = {id(parameter) for _, _, parameter in _split(model)}
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        moments = {
            index: {
                key: of(torch.as_tensor(v), id(parameters[int(index)]) in sharded) for key, v in one.items()
            }
            for index, one in state["state"].items()
        }
        return {**state, "state": moments}

    def _whole(self, value: Tensor, sharded: bool) -> Tensor:
        """The whole tensor of a shard; scalars are equal everywhere."""
        return self.shard.join(value) if sharded and value.ndim else value

    def _part(self, value: Tensor, sharded: bool) -> Tensor:
        """The inverse of `_whole`."""
        return self.shard.part(value).clone() if sharded and value.ndim else value


def shard_model(model: Autoencoder, shard: TensorShard) -> None:
    """Reduce the model to this process's shard of the latents.

    Raises:
        RequestError: a module that cannot be sharded, or latents that cannot be divided equally.
    """
    for part in model.modules():
        known = not isinstance(part, Part) or part is model or "splits" in type(part).__dict__
        if not known or (part is model and model.prior is not None):
            raise RequestError(
                f"``strategy='tensor'`` shards a dictionary over processes, and {type(part).__name__} does not "
                "support it. Use ``strategy='ddp'``, or a method such as topk-sae."
            )
    for part, name, parameter in list(_split(model)):
        if len(parameter) % shard.world_size:
            raise RequestError(
                f"{len(parameter)} latents cannot be divided equally over {shard.world_size} processes. "
                f"Use ``latents={-(-len(parameter) // shard.world_size) * shard.world_size}``."
            )
        setattr(part, name, nn.Parameter(shard.part(parameter.detach()).clone()))
        part.shard = shard  # type: ignore[assignment]


def gather_model(model: Autoencoder, shard: TensorShard) -> None:
    """Gather the whole model on all processes."""
    for part, name, parameter in list(_split(model)):
        setattr(part, name, nn.Parameter(shard.join(parameter)))
        part.shard = None  # type: ignore[assignment]


def _names(model: Autoencoder) -> set[str]:
    """The names of sharded parameters in the model's state."""
    sharded = {id(parameter) for _, _, parameter in _split(model)}
    return {name for name, p in model.named_parameters() if id(p) in sharded}


def _split(model: Autoencoder) -> Iterator[tuple[Part, str, nn.Parameter]]:
    """The modules, names and parameters that are sharded."""
    for part in [part for part in model.modules() if isinstance(part, Part)]:
        for name in part.splits:
            parameter = getattr(part, name)
            if parameter is not None:
                yield part, name, parameter
