"""Lightning Fabric from a plan: which devices, in which precision, joined how."""

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


def make_fabric(plan: Plan, rivals: bool = False, launch: bool = True) -> Fabric:
    """The devices of a plan, launched.

    Args:
        plan: how to train.
        rivals: whether there are several players, so that a turn leaves some parameters unused.
        launch: start the other processes, where there are any.

    Raises:
        RequestError: a device that this machine does not have.
    """
    # Here, for it takes as long as all the rest of what a fit imports besides torch.
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
    # Of DDP, tensor parallel training uses the processes only.
    if strategy in ("ddp", "tensor") or (strategy == "auto" and plan.devices > 1):
        strategy = DDPStrategy(find_unused_parameters=rivals)
    accelerator = plan.device.split(":")[0]
    if accelerator == "auto":  # not Apple's: its kernels lack parts that we need
        accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice about available hardware that the user did not ask for
        try:
            fabric = Fabric(
                accelerator=accelerator,
                devices=plan.devices,
                strategy=strategy,
                precision=_PRECISION[plan.precision],
            )
        except ValueError as error:
            raise RequestError(
                f"``strategy`` {plan.strategy} does not go with these devices: {error}"
            ) from error
        if launch:
            fabric.launch()
    return fabric
