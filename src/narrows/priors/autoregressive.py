"""A causal transformer over the indices of a quantised code."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from narrows.core import Autoencoder, Batch, Code, Condition, Loss, Pass, Symbols
from narrows.core.check import choice, number, refuse, whole
from narrows.nets import TEACHERS
from narrows.objectives.alignment import Alignment
from narrows.priors import require
from narrows.priors.heads.parallel import Parallel, PresentEmbedding
from narrows.priors.heads.softmax import Softmax
from narrows.priors.pattern import arranged, pattern_of, restored
from narrows.priors.samplers.ancestral import Choose
from narrows.priors.samplers.separation import SEARCHES, Mixtures, beam_search, drawn_pairs
from narrows.priors.speculative import SpeculativeSequence

__all__ = ["Autoregressive"]

_TARGETS = "align/features"
"""The condition of training batches that has the features of the examples."""


class Autoregressive(SpeculativeSequence):
    r"""An autoregressive prior over indices, optionally conditioned on labels.

    .. math:: p(k_1 \ldots k_L) = \prod_l p(k_l \mid k_1 \ldots k_{l-1}),\quad
              p(k_l \mid \cdot) = \mathrm{softmax}(W h_l)

    h_l is the transformer's output for a start token, which encodes the label, and k_1 to k_{l-1}. Several indices per
    position are flattened into one sequence, or drawn in the steps of a pattern, several at once, each by a classifier
    for its depth; the indices of a step are independent given the earlier steps.

    With `align`, each hidden state is told in training what the whole example is: the loss is

    .. math:: -\log p(k_1 \ldots k_L) + \lambda \sum_l \big(1 - \cos(A(h_l^i), f(x))\big)

    where f are features of a frozen net, A a small perceptron and h^i the output of block i.

    Args:
        pattern: order of the indices of stacks: ``flat``, ``parallel`` (a stack in each step), ``delay`` (index d of a
            stack d steps later) or ``stack-delay`` (several stacks at once, of each one index after another).

        align: a frozen net, whose features of the example the hidden states are aligned with in training: ``random``,
            ``resnet:FILE`` or ``vgg:FILE``; in Python also a module, see `Alignment`. Sampling does not use it.
        align_weight: lambda.
        align_layer: i, the block whose output is aligned, 1 the first.
        shape: shape of an example, which the frozen net reads.

    Raises:
        RequestError: the symbols are not indices, or an option is out of range.

    Example:
        >>> prior = Autoregressive(Symbols((9,), codes=16), width=8, heads=2)
        >>> prior.sample(2).shape, prior.nll(torch.zeros(3, 9, dtype=torch.long)).shape
        (torch.Size([2, 9]), torch.Size([3]))

    Reference:
        Van den Oord et al., Neural Discrete Representation Learning, 2017, section 3.3 (with a PixelCNN).
        arXiv:1711.00937. With a transformer: Esser et al., Taming Transformers, 2021. arXiv:2012.09841. Patterns: Le
        Lan et al., Stack-and-Delay, 2023. arXiv:2309.08804. Alignment: Xie et al., Unleashing the Potential of Large
        Language Models for Text-to-Image Generation through Autoregressive Representation Alignment, 2025.
        arXiv:2503.07334
    """

    head: Softmax | Parallel
    order: Tensor | None

    def __init__(
        self,
        symbols: Symbols,
        *,
        classes: int = 0,
        pattern: Literal["flat", "parallel", "delay", "stack-delay"] = "flat",
        labels: bool = False,
        width: int = 128,
        depth: int = 3,
        heads: int = 4,
        align: str | nn.Module = "none",
        align_weight: float = 1.0,
        align_layer: int = 1,
        shape: tuple[int, ...] = (),
    ) -> None:
        require(symbols, type(self))
        codes, stack, order = symbols.codes, symbols.shape[-1], pattern_of(symbols, pattern)
        flat = order is None
        super().__init__(
            symbols,
            classes,
            labels,
            tokens=math.prod(symbols.shape) if order is None else len(order),
            embed=partial(nn.Embedding, codes, width)
            if flat
            else partial(PresentEmbedding, stack, codes, width),
            head=partial(Softmax, width, codes) if flat else partial(Parallel, width, codes, stack),
            width=width,
            depth=depth,
            heads=heads,
        )
        self.register_buffer("order", order, persistent=False)
        self.align_weight, self.align_layer = number("align_weight", align_weight, low=0), align_layer
        self.alignment = None
        if not TEACHERS.word(align):
            self.align_layer = whole("align_layer", align_layer, high=depth)
            self.alignment = _alignment(align, shape, width)
            return
        for name, value in {"align_weight": align_weight, "align_layer": align_layer}.items():
            if value != 1:
                raise refuse(name, value, "left out without ``align``", "Name a net, such as align=random.")

    def arrange(self, symbols: Tensor) -> Tensor:
        """Indices (B, *shape) as one sequence (B, L), or by the steps of a pattern (B, S, D)."""
        return symbols.flatten(1) if self.order is None else arranged(symbols, self.order)

    def restore(self, tokens: Tensor) -> Tensor:
        """The inverse of `arrange`."""
        return super().restore(tokens) if self.order is None else restored(tokens, self.order)

    def view(self, model: Autoencoder, batch: Batch) -> Batch:
        """The symbols of a batch of data, and the frozen features to align with."""
        symbols = super().view(model, batch)
        if self.alignment is None:
            return symbols
        targets = self.alignment.targets(batch.visible().x)
        return Batch(symbols.x, condition={**symbols.condition, _TARGETS: targets})

    def loss(self, batch: Batch, step: int = 0, passed: Pass | None = None) -> Loss:
        """The mean nll of a batch of symbols, plus the weighted sum over tokens of one minus the cosine."""
        if self.alignment is None:
            return super().loss(batch, step, passed)
        tokens, labels = self.arrange(batch.x), self.told(batch.condition, len(batch.x))
        layers = self.net.blocks.layers(self.net.inputs(tokens, labels))
        nll = self.head.nll(layers[-1], tokens, self.net.embed).flatten(1).sum(1).mean()
        away = self.alignment(layers[self.align_layer - 1], batch.condition[_TARGETS]).mean(0)
        terms = {"nll": nll.detach(), "align": away.detach().mean()}
        return Loss(nll + self.align_weight * away.sum(), terms, Pass(batch, Code(batch.x)))

    def generate(
        self, n: int, condition: Condition, guidance: float, draw: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """n rows of symbols, (n, *shape), as `Sequence.generate`; absent indices of a step are -1."""
        if self.order is None:
            return super().generate(n, condition, guidance, draw)
        absent = iter(self.order < 0)
        return super().generate(n, condition, guidance, lambda h: draw(h).masked_fill(next(absent), -1))

    def forward(self, indices: Tensor, labels: Tensor | None = None) -> Tensor:
        """The logits of each index given the previous ones: (B, L) -> (B, L, K); of steps (B, S, D) -> (B, S, D, K)."""
        return self.head(self.net(indices, labels))

    @property
    def ordered(self) -> bool:
        """Whether each index has a probability given all those before it: without a pattern."""
        return self.order is None

    @torch.no_grad()
    def separate(
        self, mixed: Tensor, table: Mixtures, candidates: int = 8, search: str = "ancestral"
    ) -> Tensor:
        """Codes of two sources, of each of which this is the prior, given those of their mixture.

        Args:
            mixed: the indices of mixtures, (n, L).
            table: p(m | a, b), see `narrows.priors.samplers.separation.counted`.
            candidates: number of pairs for each mixture, C.
            search: ``ancestral``: draws, place by place; or ``beam``: the most likely pairs that a search finds.

        Returns:
            Indices (n, C, 2, L).

        Raises:
            RequestError: there are several indices per position, or an option is out of range.

        Reference:
            Postolache et al., Latent Autoregressive Source Separation, 2023. arXiv:2301.08562
        """
        if self.order is not None or self.symbols.kind != "indices":
            raise refuse("prior", str(self.symbols), "one over a single index per position")
        count, mixed = whole("candidates", candidates), table.known(mixed)
        if choice("search", search, SEARCHES) == "beam":
            return beam_search(self, mixed, table, count)
        rows = mixed.repeat_interleave(count, 0)
        places = iter(rows.T)
        found = self.net.generate(
            self.net.first(2 * len(rows), None),
            lambda h: drawn_pairs(self.head(h), next(places), table),
        )
        return found.view(2, len(mixed), count, -1).permute(1, 2, 0, 3)

    def draw(self, h: Tensor, choose: Choose) -> Tensor:
        """An index for each row of h (R, W)."""
        return self.head.draw(h, choose)


def _alignment(align: str | nn.Module, shape: tuple[int, ...], width: int) -> Alignment:
    """The term of a frozen net, or of its text.

    Raises:
        RequestError: there is no such net, or it does not read examples of this shape.
    """
    if not shape:
        fix = "In Python, give the shape of an example too: ``shape=(1, 28, 28)``."
        raise refuse("align", align, "none where the shape of an example is not known", fix)
    return Alignment(TEACHERS.make(align, shape=shape), shape, width)
