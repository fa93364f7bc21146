"""How the work of a training is shared out over processes: what every strategy can be asked."""

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
    """One process that holds the whole model and sees whole batches; others override what they do otherwise.

    What is kept on disk is the same for all: `state` and `optimizer_state` are whole, and alike on every process.

    Args:
        fabric: the launched devices.
    """

    rank, world_size = 0, 1
    """Which rows of a batch this process sees: every `world_size`-th, from the `rank`-th on."""

    noise = 0
    """What is added to the seed of the noise, so that processes with rows of their own draw their own."""

    wrap: Callable[[nn.Module], nn.Module] | None = None
    """Makes the losses distributed, or None."""

    def __init__(self, fabric: Fabric) -> None:
        self.fabric = fabric

    def running(self) -> AbstractContextManager[None]:
        """A context around the whole training."""
        return nullcontext()

    def begin(self, model: Autoencoder) -> None:
        """Leave this process what it holds of a model that is initialised."""

    def end(self, model: Autoencoder) -> None:
        """Put the whole model together again, on all processes."""

    def state(self, model: Autoencoder) -> Mapping[str, Tensor]:
        """The whole model's weights and buffers."""
        return model.state_dict()

    def load_state(self, model: Autoencoder, tensors: Mapping[str, Tensor]) -> None:
        """The inverse of `state`."""
        model.load_state_dict(tensors)

    def optimizer_state(self, model: Autoencoder, optimizer: Optimizer) -> dict[str, Any]:
        """What an optimizer remembers of whole parameters."""
        return optimizer.state_dict()

    def load_optimizer_state(self, model: Autoencoder, optimizer: Optimizer, kept: dict[str, Any]) -> None:
        """The inverse of `optimizer_state`."""
        optimizer.load_state_dict(kept)

    def mean(self, table: Tensor) -> Tensor:
        """The mean of a tensor over the processes."""
        return table

    def agreed(self, value: Any) -> Any:
        """What the first process says."""
        return self.fabric.broadcast(value) if self.fabric.world_size > 1 else value

    def random_states(self) -> dict[str, Tensor]:
        """The random states of all processes, by name."""
        states = [torch.get_rng_state() for _ in range(self.fabric.world_size)]
        if self.fabric.world_size > 1:
            mine = states[0].to(self.fabric.device)
            everyone = [mine.clone() for _ in states]
            torch.distributed.all_gather(everyone, mine)
            states = [state.cpu() for state in everyone]
        found = {f"rng/cpu/{rank}": state for rank, state in enumerate(states)}
        if self.fabric.device.type == "cuda":
            found[f"rng/cuda/{self.fabric.global_rank}"] = torch.cuda.get_rng_state(self.fabric.device)
        return found

    def load_random_states(self, kept: Mapping[str, Tensor]) -> None:
        """The inverse of `random_states`."""
        rank = self.fabric.global_rank
        torch.set_rng_state(kept[f"rng/cpu/{rank}"])
        if (key := f"rng/cuda/{rank}") in kept:
            torch.cuda.set_rng_state(kept[key])
