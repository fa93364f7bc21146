"""Nets for several modalities: one encoder and one decoder for each."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from narrows.core import Tree, Views
from narrows.core.values import NO_CONDITION, Condition

__all__ = ["OneHot", "ViewsDecoder", "ViewsEncoder", "of_part"]


def of_part(condition: Condition, name: str) -> dict[str, Tensor]:
    """The condition of one modality: ``NAME/mask`` becomes ``mask``; names without a prefix go to all.

    Example:
        >>> of_part({"text/mask": torch.ones(1), "image/mask": torch.ones(2), "labels": torch.ones(3)}, "text")
        {'mask': tensor([1.]), 'labels': tensor([1., 1., 1.])}
    """
    own = {
        key.removeprefix(f"{name}/"): value for key, value in condition.items() if key.startswith(f"{name}/")
    }
    return {**own, **{key: value for key, value in condition.items() if "/" not in key}}


class OneHot(nn.Module):
    """A net whose input, class indices, is converted to one-hot vectors.

    Args:
        net: the inner net, which reads (B, D * classes).
        classes: number of classes.

    Example:
        >>> from narrows.nets.mlp import MLP
        >>> OneHot(MLP((3,), (4,), ()), 3)(torch.tensor([[2.0]])).shape
        torch.Size([1, 4])
    """

    def __init__(self, net: nn.Module, classes: int) -> None:
        super().__init__()
        self.net, self.classes = net, classes

    def forward(self, x: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """Class indices (B, D) of any dtype -> the output of the net."""
        kind = next((p.dtype for p in self.net.parameters()), torch.get_default_dtype())
        return self.net(F.one_hot(x.long(), self.classes).to(kind).flatten(-2), condition)


class ViewsEncoder(nn.Module):
    """One encoder per modality.

    Args:
        parts: encoders ``(x, condition) -> (B, F)`` by name, in the order of the modalities.

    Example:
        >>> from narrows.nets.mlp import MLP
        >>> net = ViewsEncoder({"a": MLP((3,), (4,), ()), "b": MLP((2,), (4,), ())})
        >>> x = Views({"a": torch.ones(5, 3), "b": torch.ones(5, 2)}, torch.ones(5, 2, dtype=torch.bool))
        >>> net(x, {})[0].shape
        torch.Size([5, 2, 4])
    """

    def __init__(self, parts: Mapping[str, nn.Module]) -> None:
        super().__init__()
        # In a list, since names of modalities such as "keys" or "a.b" are not valid names of modules.
        self.names, self.parts = tuple(parts), nn.ModuleList(parts.values())

    def forward(self, x: Views, condition: Condition = NO_CONDITION) -> tuple[Tensor, Tensor]:
        """The features of all modalities (B, M, F), and the mask of present ones (B, M)."""
        features = [
            net(x.values[name], of_part(condition, name))
            for name, net in zip(self.names, self.parts, strict=True)
        ]
        return torch.stack(features, -2), x.present


class ViewsDecoder(nn.Module):
    """One decoder per modality: from the code to the likelihood parameters of each, by name.

    Args:
        parts: decoders ``(z, condition) -> parameters`` by name, in the order of the modalities.

    Example:
        >>> from narrows.nets.mlp import MLP
        >>> net = ViewsDecoder({"a": MLP((2,), (3,), ()), "b": MLP((2,), (1,), ())})
        >>> {name: parameters.shape for name, parameters in net(torch.ones(5, 2), {}).items()}
        {'a': torch.Size([5, 3]), 'b': torch.Size([5, 1])}
    """

    def __init__(self, parts: Mapping[str, nn.Module]) -> None:
        super().__init__()
        # In a list, since names of modalities such as "keys" or "a.b" are not valid names of modules.
        self.names, self.parts = tuple(parts), nn.ModuleList(parts.values())

    def forward(self, z: Tensor, condition: Condition = NO_CONDITION) -> dict[str, Tree]:
        """The parameters of every modality."""
        return {name: self.part(name, z, condition) for name in self.names}

    def part(self, name: str, z: Tensor, condition: Condition = NO_CONDITION) -> Tree:
        """The parameters of one modality."""
        return self.parts[self.names.index(name)](z, of_part(condition, name))
