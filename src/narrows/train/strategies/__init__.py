"""How a training is distributed over processes: not at all, by batches (data parallel), or by latents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from narrows.train.plan import Plan
from narrows.train.strategies.base import Strategy
from narrows.train.strategies.data_parallel import DataParallel
from narrows.train.strategies.tensor_parallel import TensorParallel

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["Strategy", "strategy_of"]


def strategy_of(plan: Plan, fabric: Fabric) -> Strategy:
    """The strategy of a plan on given devices.

    Args:
        plan: the training plan.
        fabric: the launched devices.
    """
    if fabric.world_size > 1 and plan.strategy == "tensor":
        return TensorParallel(fabric)
    if fabric.world_size > 1 or plan.strategy == "fsdp":
        return DataParallel(fabric)
    return Strategy(fabric)
