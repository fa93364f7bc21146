"""Tensor parallel training: the latents of a model cut over processes, and put together again.

A part says by `splits`, in its own class, which of its parameters have a row a latent; without such a word it is
not known to compute alike in parts, and the model is refused. What is kept on disk is always whole.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn
from torch.optim import Optimizer

from narrows.core import Autoencoder, Part
from narrows.core.check import RequestError
from narrows.kernels.parallel import TensorShard

__all__ = ["cut_model", "cut_tensor", "join_model", "names_of", "whole_tensor"]


def cut_model(model: Autoencoder, cut: TensorShard) -> None:
    """Keep this process's part of the latents.

    Raises:
        RequestError: a part of the model cannot be trained so, or the latents cannot be shared out equally.
    """
    for part in model.modules():
        known = not isinstance(part, Part) or part is model or "splits" in type(part).__dict__
        if not known or (part is model and model.prior is not None):
            raise RequestError(
                f"``strategy='tensor'`` cuts a dictionary over processes, and {type(part).__name__} is not known to "
                "work in parts. Use ``strategy='ddp'``, or a method such as topk-sae."
            )
    for part, name, parameter in list(_split(model)):
        if len(parameter) % cut.world:
            raise RequestError(
                f"{len(parameter)} latents cannot be shared out equally over {cut.world} processes. "
                f"Use ``latents={-(-len(parameter) // cut.world) * cut.world}``."
            )
        setattr(part, name, nn.Parameter(cut.part(parameter.detach()).clone()))
        part.cut = cut  # type: ignore[assignment]


def join_model(model: Autoencoder, cut: TensorShard) -> None:
    """Put the whole model together again, on all processes."""
    for part, name, parameter in list(_split(model)):
        setattr(part, name, nn.Parameter(cut.join(parameter)))
        part.cut = None  # type: ignore[assignment]


def names_of(model: Autoencoder, optimizer: Optimizer | None = None) -> set[str]:
    """The names of what is cut: in the model's state, or the numbers of an optimizer's parameters."""
    cut = {id(parameter) for _, _, parameter in _split(model)}
    if optimizer is None:
        return {name for name, p in model.named_parameters() if id(p) in cut}
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    return {str(index) for index, p in enumerate(parameters) if id(p) in cut}


def whole_tensor(value: Tensor, name: str, cut_names: set[str], cut: TensorShard | None) -> Tensor:
    """A tensor of the state as it is kept: gathered where it is cut; single numbers are alike everywhere."""
    return cut.join(value) if cut is not None and name in cut_names and value.ndim else value


def cut_tensor(value: Tensor, name: str, cut_names: set[str], cut: TensorShard | None) -> Tensor:
    """The inverse of `whole_tensor`."""
    return cut.part(value).clone() if cut is not None and name in cut_names and value.ndim else value


def _split(model: Autoencoder) -> Iterator[tuple[Part, str, nn.Parameter]]:
    """The parts, names and parameters that are cut."""
    parts = [part for part in model.modules() if isinstance(part, Part)]
    for part in parts:
        for name in getattr(part, "splits", ()):
            parameter = getattr(part, name)
            if parameter is not None:
                yield part, name, parameter
