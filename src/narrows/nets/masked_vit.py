"""A vision transformer that sees only some of the patches."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from narrows.core import NO_CONDITION, Condition, seeded
from narrows.core.check import number, refuse
from narrows.nets.mlp import initialise
from narrows.nets.vit import Patches, Sizes, TransformerBlocks, positions

__all__ = ["MaskedEncoder", "auto_patch", "visible_count"]


def auto_patch(height: int, width: int) -> int:
    """The side of a patch that gives 4 to 8 of them along the longer side: a power of two.

    Example:
        >>> auto_patch(28, 28), auto_patch(8, 8), auto_patch(64, 48)
        (4, 2, 8)
    """
    side, patch = max(height, width), 1
    while side > 8 * patch or (patch == 1 and side >= 8):
        patch *= 2
    return patch


def visible_count(patches: int, ratio: float) -> int:
    """How many of L patches stay visible: L minus L * ratio rounded half up; at least 1 seen and 1 hidden.

    A ratio of 0 hides nothing.

    Raises:
        RequestError: a ratio outside [0, 1), or fewer than two patches to choose from.

    Example:
        >>> visible_count(100, 0.9), visible_count(10, 0.9), visible_count(49, 0.75)
        (10, 1, 12)
    """
    if not 0 <= number("mask_ratio", ratio) < 1:
        raise refuse("mask_ratio", ratio, "a share from 0 (nothing is hidden) to below 1")
    if ratio == 0:
        return patches
    if patches < 2:
        raise refuse(
            "patch", "one patch for the whole example", "small enough for two patches", "Try ``patch=1``."
        )
    hidden = int(patches * ratio + 0.5 + 1e-9)  # the 1e-9: 10 * 0.85 must not fall below 8.5
    return patches - min(max(hidden, 1), patches - 1)


class MaskedEncoder(nn.Module):
    """Embed patches, add their positions, hide most of them, and run the rest through a transformer.

    In training every example hides a random choice of its own; in `eval()` all hide the same choice, drawn once
    and kept with the weights, so that an example's code never depends on chance or on its neighbours.

    Args:
        cut: how examples are cut into L patches.
        visible: how many patches are seen, V.
        sizes: of the transformer; its width is W.
        summary: put a learned class token before the patches.
    """

    place: Tensor
    fixed: Tensor

    def __init__(self, cut: Patches, visible: int, sizes: Sizes, summary: bool = False) -> None:
        super().__init__()
        width = sizes.width
        self.cut, self.visible = cut, visible
        self.embed = initialise(nn.Linear(cut.width, width))
        self.register_buffer("place", positions(cut.grid, width), persistent=False)
        self.summary = nn.Parameter(0.02 * torch.randn(width)) if summary else None
        self.blocks = TransformerBlocks(width, sizes.depth, sizes.heads)
        with seeded(0):
            self.register_buffer("fixed", torch.randperm(cut.count)[:visible].sort().values)

    def choose(self, patches: Tensor) -> Tensor:
        """Which patches each example shows, (B, V) of positions in the grid."""
        if self.visible == self.cut.count or not self.training:
            return self.fixed.expand(len(patches), -1)
        noise = torch.rand(patches.shape[:2], device=patches.device)
        return noise.argsort(1)[:, : self.visible]

    def forward(self, x: Tensor, condition: Condition = NO_CONDITION) -> tuple[Tensor, Tensor]:
        """Tokens of the visible patches, (B, V, W), after the class token if any; and which they are, (B, V)."""
        patches = self.cut(x)
        visible = self.choose(patches)
        seen = patches.gather(1, visible[..., None].expand(-1, -1, patches.shape[-1]))
        return self._run(seen, self.place[visible]), visible

    def everything(self, x: Tensor) -> Tensor:
        """Tokens of all patches, nothing hidden: (B, L, W), after the class token if any."""
        return self._run(self.cut(x), self.place)

    def _run(self, patches: Tensor, place: Tensor) -> Tensor:
        tokens = self.embed(patches) + place
        if self.summary is not None:
            tokens = torch.cat([self.summary.expand(len(tokens), 1, -1), tokens], 1)
        return self.blocks(tokens)
