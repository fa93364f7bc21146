"""Alignment of the hidden states of a net with features of a frozen one."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from narrows.core.check import refuse
from narrows.nets.features import Frozen

__all__ = ["Alignment"]


class Alignment(nn.Module):
    r"""One minus the cosine of each hidden state, after a projection, and the features of the whole example.

    .. math:: 1 - \cos\big(A(h_l),\, f(x)\big),\qquad A(h) = W_2\, \mathrm{SiLU}(W_1 h + b_1) + b_2

    f is copied and frozen. Of feature maps, the mean of the last one over its positions is aligned with. The projection
    A is trained with the net whose states h are, and is of no use after training.

    Args:
        teacher: f, from examples (B, ...) to features (B, F), to a feature map (B, F, ...), or to a list of maps, the
            last of which is read.
        shape: shape of an example.
        width: channels of a hidden state, W.

    Raises:
        RequestError: the teacher does not make numbers of examples of this shape.

    Example:
        >>> from narrows.nets.features import RandomFeatures
        >>> alignment = Alignment(RandomFeatures((1, 8, 8)), (1, 8, 8), 6)
        >>> targets = alignment.targets(torch.rand(3, 1, 8, 8))
        >>> targets.shape, alignment(torch.randn(3, 5, 6), targets).shape
        (torch.Size([3, 64]), torch.Size([3, 5]))

    Reference:
        Xie et al., Unleashing the Potential of Large Language Models for Text-to-Image Generation through
        Autoregressive Representation Alignment, 2025, equation 3. arXiv:2503.07334
    """

    def __init__(self, teacher: nn.Module, shape: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.teacher = Frozen(teacher)
        try:
            found = self.targets(torch.zeros(2, *shape))
        except RuntimeError as error:
            reason = str(error).split("\n")[0]
            raise refuse(
                "align", type(teacher).__name__, f"a net that reads examples of shape {shape}", reason
            ) from error
        self.projection = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, found.shape[1]))

    @torch.no_grad()
    def targets(self, x: Tensor) -> Tensor:
        """The frozen features of examples (B, ...), (B, F)."""
        found: Tensor | list[Tensor] = self.teacher(x)
        last = found if isinstance(found, Tensor) else found[-1]
        return last if last.ndim == 2 else last.flatten(2).mean(-1)

    def forward(self, h: Tensor, targets: Tensor) -> Tensor:
        """One minus the cosine of hidden states (B, L, W) and features (B, F), (B, L)."""
        return 1 - F.cosine_similarity(self.projection(h), targets[:, None], dim=-1)
