"""Data parallel training: each process gets a part of a batch, with DDP or FSDP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from narrows.core import Autoencoder, all_sum
from narrows.train.strategies.base import Strategy

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["DataParallel"]


class DataParallel(Strategy):
    """Gradients are averaged over the processes by Fabric's wrapper of the losses.

    Args:
        fabric: the launched devices, with a strategy of DDP or FSDP.
    """

    def __init__(self, fabric: Fabric) -> None:
        super().__init__(fabric)
        self.rank, self.world_size = fabric.global_rank, fabric.world_size
        self.noise = fabric.global_rank
        self.wrap = fabric.setup_module

    def state(self, model: Autoencoder) -> Mapping[str, Tensor]:
        """The state dict of the whole model, gathered from shards."""
        if self.world_size == 1:
            return model.state_dict()
        from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

        options = StateDictOptions(full_state_dict=True, cpu_offload=True)
        found: Any = get_model_state_dict(model, options=options)
        return dict(found)

    def mean(self, table: Tensor) -> Tensor:
        """The mean over the processes."""
        return table if self.world_size == 1 else all_sum(table) / self.world_size
