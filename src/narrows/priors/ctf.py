"""Coarse-to-fine prediction: a causal transformer over clusters of codes, then all codes in one pass."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from narrows.core import NO_CONDITION, Autoencoder, Batch, Code, Condition, Symbols
from narrows.core.check import refuse, whole
from narrows.kernels.partition import partition
from narrows.nets.vit import TransformerBlocks
from narrows.priors import require
from narrows.priors.heads.softmax import Softmax
from narrows.priors.labels import guided
from narrows.priors.samplers.ancestral import chooser, draw, sharpened
from narrows.priors.sequence import IndexSequence

__all__ = ["CTF"]


class CTF(IndexSequence):
    r"""An autoregressive prior over the clusters of codes, and a second transformer that predicts codes in clusters.

    .. math:: p(k_1 \ldots k_L) = \prod_l p(c_l \mid c_1 \ldots c_{l-1})\; \prod_l p(k_l \mid c_1 \ldots c_L),\qquad
              c_l = c(k_l)

    .. math:: p(k_l \mid c_1 \ldots c_L) \propto e^{(W g_l)_{k_l}}\, [c(k_l) = c_l],\qquad
              g = \mathrm{Blocks}(P + \mathrm{embed}(c_1 \ldots c_L))

    c(k) is the cluster of code k, by k-means of the codebook at the start of training. Codes of a cluster decode to
    similar images, so that what has to be drawn one after another is the cluster alone. The second transformer is
    bidirectional, and draws all codes in one pass; they are independent given the clusters.

    Args:
        clusters: number of clusters; 0 for a sixteenth of the codebook.
        fine_depth: blocks of the second transformer; `depth` is of the first.

    Raises:
        RequestError: the symbols are not indices of one codebook, or an option is out of range.

    Example:
        >>> prior = CTF(Symbols((9,), codes=16), width=8, heads=2, clusters=4)
        >>> prior.sample(2).shape, prior.nll(torch.zeros(3, 9, dtype=torch.long)).shape
        (torch.Size([2, 9]), torch.Size([3]))

    Reference:
        Guo et al., Improving Autoregressive Image Generation through Coarse-to-Fine Token Prediction, 2025.
        arXiv:2503.16194
    """

    reads: ClassVar[tuple[str, ...]] = ("indices",)
    head: Softmax
    cluster: Tensor

    def __init__(
        self,
        symbols: Symbols,
        *,
        classes: int = 0,
        clusters: int = 0,
        labels: bool = False,
        width: int = 128,
        depth: int = 3,
        fine_depth: int = 2,
        heads: int = 4,
    ) -> None:
        require(symbols, type(self))
        codes = symbols.codes
        if len(symbols.layout.grids) > 1:
            fix = "Codes of several grids have no common clusters: try `next-scale`."
            raise refuse("prior", "ctf", "one that reads several grids", fix)
        count = whole("clusters", clusters, low=0, high=codes) or min(codes, max(2, codes // 16))
        super().__init__(
            symbols,
            classes,
            labels,
            tokens=symbols.shape[0],
            embed=partial(nn.Embedding, count, width),
            head=partial(Softmax, width, count),
            width=width,
            depth=depth,
            heads=heads,
        )
        self.clusters = count
        self.register_buffer("cluster", torch.arange(codes) * count // codes)
        self.place = nn.Parameter(torch.empty(symbols.shape[0], width))
        self.embed = nn.Embedding(count, width)
        self.tell = nn.Linear(self.classes, width, bias=False) if self.classes else None
        self.blocks = TransformerBlocks(width, fine_depth, heads)
        self.fine = Softmax(width, codes)
        for weight in (self.place, self.embed.weight, *self.fine.weights()):
            nn.init.normal_(weight, std=0.02)

    def check(self, model: Autoencoder, code: Code, rows: int) -> None:
        """Raise if the codes have no vectors of their own.

        Raises:
            RequestError: they have none.
        """
        self._vectors(model)

    @torch.no_grad()
    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Divide the codes into clusters by k-means of their vectors.

        Raises:
            RequestError: the codes have no vectors of their own.
        """
        super().prepare(model, batch)
        self.cluster.copy_(partition(self._vectors(model).float(), self.clusters))

    @staticmethod
    def _vectors(model: Autoencoder) -> Tensor:
        vectors = model.bottleneck.code_vectors()
        if vectors is None:
            what = type(model.bottleneck).__name__
            fix = "Try `autoregressive`, or a method with one codebook, such as `vq-vae`."
            raise refuse(
                "prior", "ctf", f"one that needs no codebook for all positions, as {what} has none", fix
            )
        return vectors

    def arrange(self, symbols: Tensor) -> Tensor:
        """The clusters of indices (B, L)."""
        return self.cluster[symbols]

    def refined(self, clusters: Tensor, labels: Tensor | None) -> Tensor:
        """The logits of codes given the clusters of all positions, of other clusters too: (B, L) -> (B, L, K)."""
        h = self.embed(clusters) + self.place
        if self.tell is not None and labels is not None:
            h = h + self.tell(labels.to(h.dtype))[:, None]
        return self.fine(self.blocks(h))

    def within(self, logits: Tensor, clusters: Tensor) -> Tensor:
        """Logits (B, L, K) that are -inf outside the clusters (B, L)."""
        return logits.masked_fill(clusters[..., None] != self.cluster, -torch.inf)

    def coarse_nll(self, symbols: Tensor, condition: Condition = NO_CONDITION) -> tuple[Tensor, Tensor]:
        """-log p of the cluster of each position, and of its code given all clusters, in nats, each (B, L)."""
        labels, clusters = self.told(condition, len(symbols)), self.arrange(symbols)
        coarse = self.head.nll(self.net(clusters, labels), clusters, self.net.embed)
        logits = self.within(self.refined(clusters, labels), clusters)
        return coarse, F.cross_entropy(logits.transpose(1, 2), symbols, reduction="none")

    def token_nll(self, symbols: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """-log p of each position, of its cluster and its code, in nats, (B, L)."""
        coarse, fine = self.coarse_nll(symbols, condition)
        return coarse + fine

    @torch.no_grad()
    def sample(
        self,
        n: int,
        condition: Condition = NO_CONDITION,
        *,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        guidance: float = 1.0,
    ) -> Tensor:
        """n rows of indices, (n, L): clusters one after another with cached keys and values, then all codes at once.

        See `narrows.priors.SAMPLING` for the options, which hold for clusters and for the codes of a cluster.

        Args:
            n: how many.
            condition: their ``labels``, one-hot (n, G). A prior that is told labels draws them if none are given.
        """
        options = (temperature, top_k, top_p)
        choose = chooser(guidance, *options)
        labels = self.asked(condition, n, guidance, self.net.start.device)
        first = self.net.first(n if guidance == 1 else 2 * n, labels)
        clusters = self.net.generate(first, lambda h: choose(self.head(h)))
        logits = guided(self.refined(clusters, labels), guidance)
        return draw(sharpened(self.within(logits, clusters[:n]), *options))
