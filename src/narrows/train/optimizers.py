"""Optimizers as texts: ``adam:betas=0.5/0.9``, ``sgd:momentum=0.9``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from narrows.core.check import refuse
from narrows.core.spelling import Table

__all__ = ["OPTIMIZERS", "Maker", "adam", "adamw", "check_optimizer", "make_optimizer", "rmsprop", "sgd"]

Maker = Callable[[list[nn.Parameter]], Optimizer]
"""A function from parameters to an optimizer with its own learning rate."""

OPTIMIZERS: Table[Optimizer] = Table(
    "optimizer",
    "torch.optim:Optimizer",
    {
        **{name: f"narrows.train.optimizers:{name}" for name in ("adam", "adamw", "sgd", "rmsprop")},
        "sghmc": "narrows.train.sghmc:SGHMC",
    },
    supplied=("params", "lr"),
)
"""The optimizers that a text can name."""


def check_optimizer(optimizer: Any) -> None:
    """Check that an optimizer is a valid text or a function that makes one.

    Raises:
        RequestError: it is neither.

    Example:
        >>> check_optimizer("adam:betas=0.5/0.9,eps=1e-6")
    """
    if isinstance(optimizer, str):
        OPTIMIZERS.read(optimizer)
    elif not callable(optimizer):
        expected = "a text such as 'adam:betas=0.5/0.9', or a function from parameters to an optimizer"
        raise refuse("optimizer", optimizer, expected)


def make_optimizer(
    optimizer: str | Maker, parameters: list[nn.Parameter], lr: float, weight_decay: float = 0.0
) -> Optimizer:
    """The optimizer of some parameters.

    Args:
        optimizer: a text, or a function from parameters to an optimizer.
        parameters: the parameters to optimise.
        lr: the learning rate, if `optimizer` is a text.
        weight_decay: the weight decay, if `optimizer` is a text without its own.
    """
    check_optimizer(optimizer)
    if not isinstance(optimizer, str):
        return optimizer(parameters)
    return OPTIMIZERS.make(optimizer, params=parameters, lr=lr, weight_decay=weight_decay)


def adam(
    params: Iterable[nn.Parameter],
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
) -> Optimizer:
    """Adam, with weight decay as an L2 penalty in the gradient.

    Args:
        params: the parameters to optimise.
        lr: learning rate.
        betas: decays of the first and the second moment.
        eps: added to the square root of the second moment.
        weight_decay: factor of the weights that is added to the gradient.
    """
    return _made(torch.optim.Adam, params, lr, betas=betas, eps=eps, weight_decay=weight_decay)


def adamw(
    params: Iterable[nn.Parameter],
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
) -> Optimizer:
    """AdamW: Adam with decoupled weight decay.

    Args:
        params: the parameters to optimise.
        lr: learning rate.
        betas: decays of the first and the second moment.
        eps: added to the square root of the second moment.
        weight_decay: factor of the weights, times the learning rate, that each step subtracts.
    """
    return _made(torch.optim.AdamW, params, lr, betas=betas, eps=eps, weight_decay=weight_decay)


def sgd(
    params: Iterable[nn.Parameter],
    lr: float,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> Optimizer:
    """Stochastic gradient descent.

    Args:
        params: the parameters to optimise.
        lr: learning rate.
        momentum: momentum factor.
        nesterov: use Nesterov momentum.
        weight_decay: factor of the weights that is added to the gradient.
    """
    return _made(torch.optim.SGD, params, lr, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay)


def rmsprop(
    params: Iterable[nn.Parameter],
    lr: float,
    alpha: float = 0.99,
    eps: float = 1e-8,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
) -> Optimizer:
    """RMSprop: gradients divided by the root of their running mean square.

    Args:
        params: the parameters to optimise.
        lr: learning rate.
        alpha: decay of the mean square.
        eps: added to the root of the mean square.
        momentum: momentum factor.
        weight_decay: factor of the weights that is added to the gradient.
    """
    options = {"alpha": alpha, "eps": eps, "momentum": momentum, "weight_decay": weight_decay}
    return _made(torch.optim.RMSprop, params, lr, fused={}, **options)


def _made(
    kind: Callable[..., Optimizer],
    params: Iterable[nn.Parameter],
    lr: float,
    fused: Mapping[str, bool] = MappingProxyType({"fused": True}),
    **options: Any,
) -> Optimizer:
    """An optimizer, with a fused kernel if there is one."""
    try:
        return kind(params, lr=lr, **fused, **options)
    except ValueError as error:  # a value out of range
        raise refuse("optimizer", str(error), "values in the range of this optimizer") from error
