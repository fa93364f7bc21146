"""Mask tokens: one learned vector at each masked position."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from narrows.core import Bottleneck, Code, Tree
from narrows.core.evidence import Hidden
from narrows.nets.vit import Patches

__all__ = ["MaskTokens"]


class MaskTokens(Bottleneck):
    """``z_l = h_l`` where patch l is visible, the learned mask token where it is masked.

    The loss is on the masked patches only: the code's `weight` is 1 there and 0 elsewhere (1 everywhere if
    nothing is masked). The evidence `Hidden` is the mask, (B, L).

    Args:
        patchify: divides examples into L patches.
        width: channels of a token, W.
        summary: the encoder prepends a class token.
    """

    def __init__(self, patchify: Patches, width: int, summary: bool = False) -> None:
        super().__init__()
        self.patchify, self.lead = patchify, int(summary)
        self.token = nn.Parameter(0.02 * torch.randn(width))

    def forward(self, h: Tree, samples: tuple[int, ...] = ()) -> Code:
        """Visible tokens (B, V, W) and their positions (B, V) -> z (*samples, B, L, W)."""
        tokens, visible = h
        b, width = len(tokens), tokens.shape[-1]
        where = visible[..., None].expand(-1, -1, width)
        z = self.token.expand(b, self.patchify.count, width).scatter(1, where, tokens[:, self.lead :])
        if self.lead:
            z = torch.cat([tokens[:, :1], z], 1)
        if samples:
            z = z.expand(*samples, *z.shape)
        hidden = tokens.new_ones(b, self.patchify.count).scatter(1, visible, 0.0)
        if visible.shape[1] == self.patchify.count:
            hidden = torch.ones_like(hidden)
        weight = self.patchify.join(hidden[..., None].expand(-1, -1, self.patchify.width))
        return Code(z, weight=weight, evidence=(Hidden(hidden.bool()),))

    def features(self, code: Code) -> Tensor:
        """The class token if there is one, else the mean of the tokens: (B, W)."""
        return code.z[..., 0, :] if self.lead else code.z.mean(-2)
