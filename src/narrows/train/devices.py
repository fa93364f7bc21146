"""Lightning Fabric from a plan: devices, precision, strategy."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import torch

from narrows.core.check import RequestError, refuse
from narrows.train.plan import Plan

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["make_fabric"]

_PRECISION: dict[str, Any] = {"32": "32-true", "bf16": "bf16-mixed"}


def make_fabric(plan: Plan, several_players: bool = False, launch: bool = True) -> Fabric:
    """The launched Fabric of a plan.

    Args:
        plan: the training plan.
        several_players: whether there is more than one player, so that an update leaves some parameters
            unused.
        launch: start the other processes, if there are any.

    Raises:
        RequestError: a device that this machine does not have.
    """
    # Imported here, since it takes as long as all other imports of a fit except torch.
    from lightning_fabric import Fabric
    from lightning_fabric.strategies.ddp import DDPStrategy

    if plan.device.startswith("cuda") and not torch.cuda.is_available():
        raise RequestError(
            "``device`` is cuda, but PyTorch sees no CUDA device here. Use ``device='cpu'`` or ``device='auto'``."
        )
    if plan.device.startswith("cuda") and plan.devices > torch.cuda.device_count():
        raise refuse("devices", plan.devices, f"at most {torch.cuda.device_count()}, the CUDA devices here")
    strategy: Any = plan.strategy
    if strategy == "tensor" and plan.devices == 1:
        strategy = "auto"
    # Tensor-parallel training uses only the processes of DDP.
    if strategy in ("ddp", "tensor") or (strategy == "auto" and plan.devices > 1):
        strategy = DDPStrategy(find_unused_parameters=several_players)
    accelerator = plan.device.split(":")[0]
    if accelerator == "auto":  # not MPS, which lacks kernels that are needed here
        accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # hints about unused hardware
        try:
            fabric = Fabric(
                accelerator=accelerator,
                devices=plan.devices,
                strategy=strategy,
                precision=_PRECISION[plan.precision],
            )
        except ValueError as error:
            raise RequestError(
                f"``strategy`` {plan.strategy} cannot be used with these devices: {error}"
            ) from error
        if launch:
            fabric.launch()
    return fabric
