"""A vision transformer over the visible patches only."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from narrows.core import NO_CONDITION, Condition, seeded
from narrows.core.check import number, refuse
from narrows.nets.mlp import initialise
from narrows.nets.vit import Patches, Sizes, TransformerBlocks, positions

__all__ = ["MaskedEncoder", "auto_patch", "visible_count"]


def auto_patch(height: int, width: int) -> int:
    """The side of a patch, a power of two, with 4 to 8 patches along the longer side of the image.

    Example:
        >>> auto_patch(28, 28), auto_patch(8, 8), auto_patch(64, 48)
        (4, 2, 8)
    """
    side, patch = max(height, width), 1
    while side > 8 * patch or (patch == 1 and side >= 8):
        patch *= 2
    return patch


def visible_count(patches: int, ratio: float) -> int:
    """The number of visible patches of L: L minus L * ratio rounded half up; at least 1 visible and 1 masked.

    With a ratio of 0 nothing is masked.

    Raises:
        RequestError: the ratio is outside [0, 1), or there are fewer than two patches.

    Example:
        >>> visible_count(100, 0.9), visible_count(10, 0.9), visible_count(49, 0.75)
        (10, 1, 12)
    """
    if not 0 <= number("mask_ratio", ratio) < 1:
        raise refuse("mask_ratio", ratio, "a fraction from 0 (nothing is masked) to below 1")
    if ratio == 0:
        return patches
    if patches < 2:
        raise refuse(
            "patch", "one patch for the whole example", "small enough for two patches", "Try ``patch=1``."
        )
    masked = int(patches * ratio + 0.5 + 1e-9)  # 1e-9, so that 10 * 0.85 does not fall below 8.5
    return patches - min(max(masked, 1), patches - 1)


class MaskedEncoder(nn.Module):
    """Embeds the visible patches, adds positional embeddings, and applies a transformer to them.

    In training every example has its own random mask. In `eval()` all examples have the same mask, which is
    drawn once and stored with the weights, so that the code of an example is deterministic.

    Args:
        patchify: divides examples into L patches.
        visible: number of visible patches, V.
        sizes: sizes of the transformer, whose width is W.
        summary: prepend a learned class token.
    """

    place: Tensor
    fixed: Tensor

    def __init__(self, patchify: Patches, visible: int, sizes: Sizes, summary: bool = False) -> None:
        super().__init__()
        width = sizes.width
        self.patchify, self.visible = patchify, visible
        self.embed = initialise(nn.Linear(patchify.width, width))
        self.register_buffer("place", positions(patchify.grid, width), persistent=False)
        self.summary = nn.Parameter(0.02 * torch.randn(width)) if summary else None
        self.blocks = TransformerBlocks(width, sizes.depth, sizes.heads)
        with seeded(0):
            self.register_buffer("fixed", torch.randperm(patchify.count)[:visible].sort().values)

    def choose(self, patches: Tensor) -> Tensor:
        """Indices of the visible patches of each example, (B, V)."""
        if self.visible == self.patchify.count or not self.training:
            return self.fixed.expand(len(patches), -1)
        noise = torch.rand(patches.shape[:2], device=patches.device)
        return noise.argsort(1)[:, : self.visible]

    def forward(self, x: Tensor, condition: Condition = NO_CONDITION) -> tuple[Tensor, Tensor]:
        """Tokens of the visible patches (B, V, W), after the class token if any, and their indices (B, V)."""
        patches = self.patchify(x)
        visible = self.choose(patches)
        shown = patches.gather(1, visible[..., None].expand(-1, -1, patches.shape[-1]))
        return self._run(shown, self.place[visible]), visible

    def everything(self, x: Tensor) -> Tensor:
        """Tokens of all patches, without a mask: (B, L, W), after the class token if any."""
        return self._run(self.patchify(x), self.place)

    def _run(self, patches: Tensor, place: Tensor) -> Tensor:
        tokens = self.embed(patches) + place
        if self.summary is not None:
            tokens = torch.cat([self.summary.expand(len(tokens), 1, -1), tokens], 1)
        return self.blocks(tokens)
