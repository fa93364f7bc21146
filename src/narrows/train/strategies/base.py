"""The interface of the strategies, which distribute a training over processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from narrows.core import Autoencoder

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["Strategy"]


class Strategy:
    """A single process with the whole model and whole batches; the base class of the other strategies.

    Checkpoints are the same for all: `state` and `optimizer_state` are whole, and equal on every process.

    Args:
        fabric: the launched devices.
    """

    rank, world_size = 0, 1
    """This process gets every `world_size`-th row of a batch, starting with row `rank`."""

    noise = 0
    """Added to the seed of the noise, so that processes with different rows draw different noise."""

    wrap: Callable[[nn.Module], nn.Module] | None = None
    """Makes the losses distributed, or None."""

    def __init__(self, fabric: Fabric) -> None:
        self.fabric = fabric

    def running(self) -> AbstractContextManager[None]:
        """A context for the whole training."""
        return nullcontext()

    def begin(self, model: Autoencoder) -> None:
        """Shard an initialised model."""

    def end(self, model: Autoencoder) -> None:
        """Gather the whole model on all processes."""

    def state(self, model: Autoencoder) -> Mapping[str, Tensor]:
        """The state dict of the whole model."""
        return model.state_dict()

    def load_state(self, model: Autoencoder, tensors: Mapping[str, Tensor]) -> None:
        """The inverse of `state`."""
        model.load_state_dict(tensors)

    def optimizer_state(self, model: Autoencoder, optimizer: Optimizer) -> dict[str, Any]:
        """The state of an optimizer, for whole parameters."""
        return optimizer.state_dict()

    def load_optimizer_state(self, model: Autoencoder, optimizer: Optimizer, state: dict[str, Any]) -> None:
        """The inverse of `optimizer_state`."""
        optimizer.load_state_dict(state)

    def mean(self, table: Tensor) -> Tensor:
        """The mean of a tensor over the processes."""
        return table

    def broadcast(self, value: Any) -> Any:
        """The value of the first process."""
        return self.fabric.broadcast(value) if self.fabric.world_size > 1 else value

    def random_states(self) -> dict[str, Tensor]:
        """The random states of all processes, by name."""
        states = [torch.get_rng_state() for _ in range(self.fabric.world_size)]
        if self.fabric.world_size > 1:
            own = states[0].to(self.fabric.device)
            gathered = [own.clone() for _ in states]
            torch.distributed.all_gather(gathered, own)
            states = [state.cpu() for state in gathered]
        found = {f"rng/cpu/{rank}": state for rank, state in enumerate(states)}
        if self.fabric.device.type == "cuda":
            found[f"rng/cuda/{self.fabric.global_rank}"] = torch.cuda.get_rng_state(self.fabric.device)
        return found

    def load_random_states(self, states: Mapping[str, Tensor]) -> None:
        """The inverse of `random_states`."""
        rank = self.fabric.global_rank
        torch.set_rng_state(states[f"rng/cpu/{rank}"])
        if (key := f"rng/cuda/{rank}") in states:
            torch.cuda.set_rng_state(states[key])
