"""EfficientNAT: revealed tokens are encoded among themselves and once, masked ones are decoded from them."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from narrows.core import NO_CONDITION, Condition, Symbols
from narrows.core.check import number, whole
from narrows.nets.vit import Block
from narrows.priors.maskgit import MaskGIT
from narrows.priors.samplers.confidence import Propose, unmask

__all__ = ["ENAT"]


class ENAT(MaskGIT):
    r"""MaskGIT with two parts: blocks of revealed tokens, and blocks of masked tokens that read these.

    .. math:: g_{\bar M} = \mathrm{Enc}(x_{\bar M}),\qquad h_M = \mathrm{Dec}(\mathrm{mask}_M;\; g_{\bar M}),\qquad
              p(x_l \mid x_{\bar M}) = \mathrm{softmax}(W h_l)

    In the encoder a revealed token attends to those that were revealed in the same step of sampling or earlier. Its
    features therefore never change, and a step computes only those of new tokens. In the decoder masked tokens attend
    to the features of revealed ones and to each other. The weights are those of `MaskGIT` with as many blocks.

    In training, revealed tokens get random steps. The likelihoods of `MaskedPrior` are those of sampling one place a
    step, which is what this prior's features depend on. The paper encodes new tokens with the projected last features
    of old ones, and trains on two steps; here every block keeps keys and values, so that what is kept equals a pass
    over all tokens.

    Args:
        smoothing: label smoothing in training: the share of the target that is spread over all codes.
        depth: number of blocks of masked tokens.
        encoder_depth: number of blocks of revealed tokens.

    Raises:
        RequestError: the symbols are not indices, or an option is out of range.

    Example:
        >>> prior = ENAT(Symbols((9,), codes=16), width=8, heads=2)
        >>> prior.sample(2, steps=4).shape, prior.nll(torch.zeros(3, 9, dtype=torch.long)).shape
        (torch.Size([2, 9]), torch.Size([3]))

    Reference:
        Ni et al., ENAT: Rethinking Spatial-temporal Interactions in Token-based Image Synthesis, 2024. arXiv:2411.06959
    """

    def __init__(
        self,
        symbols: Symbols,
        *,
        classes: int = 0,
        smoothing: float = 0.1,
        labels: bool = False,
        width: int = 128,
        depth: int = 2,
        encoder_depth: int = 2,
        heads: int = 4,
    ) -> None:
        blocks = whole("encoder_depth", encoder_depth) + whole("depth", depth)
        super().__init__(
            symbols,
            classes=classes,
            smoothing=smoothing,
            labels=labels,
            width=width,
            depth=blocks,
            heads=heads,
        )
        self.encoder_depth = encoder_depth
        for block in self.encoder:
            block.requires_grad_(self.tokens > 1)  # a single place is never revealed

    @property
    def encoder(self) -> list[Block]:
        """The blocks of revealed tokens."""
        return [cast(Block, block) for block in self.blocks.blocks][: self.encoder_depth]

    @property
    def decoder(self) -> list[Block]:
        """The blocks of masked tokens."""
        return [cast(Block, block) for block in self.blocks.blocks][self.encoder_depth :]

    def steps(self, masked: Tensor) -> Tensor:
        """Random steps in which places are revealed, (B, L): from one step for all to one for each."""
        dice = torch.rand(len(masked), 1, device=masked.device)
        count = (self.tokens**dice).floor()
        return (torch.rand(masked.shape, device=masked.device) * count).floor()

    def hidden(
        self, symbols: Tensor, masked: Tensor, labels: Tensor | None = None, step: Tensor | None = None
    ) -> Tensor:
        """What is known of the masked places, (B, L, W); see `MaskedPrior.hidden`. Without steps, there was one."""
        step = torch.zeros(masked.shape, device=masked.device) if step is None else step
        start = self.inputs(symbols, masked, labels)
        itself = torch.eye(self.tokens, dtype=torch.bool, device=masked.device)
        seen = ~masked[:, None, :] & (step[:, None, :] <= step[:, :, None])
        g = start
        for block in self.encoder:
            g = block(
                g, None, (seen | itself)[:, None]
            )  # masked places attend to something, and are not used
        x = torch.where(masked[..., None], start, g)
        for block in self.decoder:
            x = torch.where(masked[..., None], block(x), x)
        found: Tensor = self.blocks.norm(x)
        return found

    def kept(
        self, n: int, condition: Condition, guidance: float, temperature: float, top_k: int, top_p: float
    ) -> Propose:
        """As `proposer`, but features of revealed places are computed once, and kept from call to call."""
        labels = self.asked(condition, n, guidance, self.mask.device)
        copies = 1 if guidance == 1 else 2
        known = torch.zeros(n, self.tokens, dtype=torch.bool, device=self.mask.device)
        cache: list[list[Tensor]] = [[] for _ in self.blocks.blocks]

        def propose(symbols: Tensor, masked: Tensor) -> tuple[Tensor, Tensor]:
            new = ~masked & ~known
            known.copy_(~masked)
            if bool(new.any()):
                at, rows = _places(new, copies)
                tokens = self.embed(symbols.repeat(copies, *[1] * (symbols.dim() - 1))[rows, at])
                g = self.with_labels(tokens + self.place[at], labels)
                for block, before in zip(self.encoder, cache, strict=False):
                    g = block(g, before)
                for block, before in zip(self.decoder, cache[self.encoder_depth :], strict=True):
                    both = block.keys_and_values(g)
                    before[:] = (
                        [torch.cat(pair, -2) for pair in zip(before, both, strict=True)] if before else both
                    )
            at, _ = _places(masked, copies)
            x = self.with_labels(self.mask + self.place[at], labels)
            for block, before in zip(self.decoder, cache[self.encoder_depth :], strict=True):
                x = block(x, list(before))  # keys and values of masked places are not kept
            h = self.blocks.norm(x).flatten(0, 1)
            return self.drawn(h, symbols, masked, guidance, (temperature, top_k, top_p))

        return propose

    @torch.no_grad()
    def sample(
        self,
        n: int,
        condition: Condition = NO_CONDITION,
        *,
        steps: int = 8,
        noise: float = 4.5,
        reuse: bool = True,
        guidance: float = 1.0,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
    ) -> Tensor:
        """n rows of indices, (n, *shape). See `narrows.priors.SAMPLING` for the other options.

        Args:
            n: how many.
            condition: their ``labels``, one-hot (n, G). A prior that is told labels draws them if none are given.
            steps: passes of the transformer, T; with as many as there are places, one is generated in each.
            noise: on the confidence by which drawn indices are kept, fading to 0; with 0 the most confident are kept.
            reuse: keep the features of revealed tokens; else they are encoded again in each step, and attend each
                other.
        """
        make = self.kept if reuse else self.proposer
        propose = make(n, condition, guidance, temperature, top_k, top_p)
        noise = number("noise", noise, low=0)
        return unmask(propose, n, self.symbols.shape, whole("steps", steps), noise, self.mask.device)


def _places(chosen: Tensor, copies: int) -> tuple[Tensor, Tensor]:
    """The places that are chosen in n rows (n, L), equally many in each: places (R, m) and rows (R, 1), copies of n."""
    at = chosen.nonzero()[:, 1].view(len(chosen), -1).repeat(copies, 1)
    return at, torch.arange(len(at), device=at.device)[:, None]
