"""p(text | z) by a recurrent net that reads what came before: it owns the net, so that no decoder sees the target."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from narrows.core import Likelihood
from narrows.core.check import number, whole
from narrows.core.vocabulary import END, PAD, SPECIAL, START, UNKNOWN
from narrows.nets.sequence import RNN

__all__ = ["Tokens"]

_CHUNK = 4096
"""Tokens whose logits are held at once."""

State: TypeAlias = "Tensor | tuple[Tensor, Tensor]"


class Tokens(Likelihood):
    r"""Every symbol from those before it and from the code, by a recurrent net.

    .. math:: -\log p(x \mid z) = -\sum_{t=1}^{T} \log p(x_t \mid x_1 \ldots x_{t-1}, z)

    The decoder's output is the conditioning, (*samples, B, Z): it makes the net's first state and is beside every
    input. `nll` reads the true symbols (teacher forcing) and counts the end of the text, not its start and not its
    padding. `mean` and `sample` write freely, from the conditioning alone: they cannot see a target. Padding and
    start have no probability, so that those of all texts sum to one; the unknown symbol is never written.

    Args:
        shape: (T,), symbols of the longest text, its end included.
        vocabulary: how many symbols there are, V, the special ones included.
        conditioning: width of what the decoder puts out.
        rnn: kind and sizes of the net.
        embedding: width of a symbol's vector.
        word_dropout: share of the symbols before that are hidden from the net in training, so that it must ask z. Where
            it is 1 the net never reads any, and all symbols come from z alone.

    Raises:
        RequestError: a size or a share out of range.

    Example:
        >>> p = Tokens((6,), 9, 3, RNN("lstm", 8)).eval()
        >>> p.nll(torch.zeros(2, 3), torch.tensor([[4, 5, 2, 0, 0, 0], [2, 0, 0, 0, 0, 0]])).shape
        torch.Size([2])
        >>> p.mean(torch.zeros(2, 3)).shape
        torch.Size([2, 6])

    Reference:
        Bowman et al., Generating Sentences from a Continuous Space, 2016, sections 3 and 3.1. arXiv:1511.06349
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        vocabulary: int,
        conditioning: int,
        rnn: RNN,
        *,
        embedding: int = 64,
        word_dropout: float = 0.0,
    ) -> None:
        super().__init__(shape)
        self.vocabulary = whole("vocabulary", vocabulary, low=len(SPECIAL) + 1)
        self.conditioning = whole("conditioning", conditioning)
        self.word_dropout = number("word_dropout", word_dropout, low=0, high=1)
        self.embed = nn.Embedding(vocabulary, whole("embedding", embedding))
        self.net = rnn.make(embedding + conditioning)
        self.pairs = 1 + isinstance(self.net, nn.LSTM)
        self.first = nn.Linear(conditioning, self.pairs * rnn.layers * rnn.width)
        self.head = nn.Linear(rnn.width, vocabulary)

    @property
    def parameter_shape(self) -> tuple[int, ...]:
        """The shape of the conditioning of one example."""
        return (self.conditioning,)

    def nll(self, parameters: Tensor, x: Tensor, weight: Tensor | None = None) -> Tensor:
        """-log p(x | z) in nats, (*samples, B); without weights all but the padding counts."""
        counts = x != PAD if weight is None else (weight != 0).expand(x.shape)
        x = torch.where(counts, x, PAD)
        lead = parameters.shape[:-1]
        target = x.expand(*lead, -1).reshape(-1, x.shape[1])
        hidden = self._teach(parameters.reshape(-1, self.conditioning), target)
        terms = self._surprise(hidden.flatten(0, 1), target.flatten()).reshape(*lead, -1)
        return self.sum(terms, counts if weight is None else weight)

    def _teach(self, z: Tensor, x: Tensor) -> Tensor:
        """The net's output before each true symbol, (B, T, width)."""
        before = torch.cat([torch.full_like(x[:, :1], START), x[:, :-1]], 1)
        if self.training and self.word_dropout:
            hidden = torch.rand(before.shape, device=x.device) < self.word_dropout
            before = torch.where(hidden & (before != START), UNKNOWN, before)
        inputs = torch.cat([self.embed(self._visible(before)), z.unsqueeze(1).expand(-1, x.shape[1], -1)], -1)
        hidden, _ = self.net(inputs, self._start(z))
        return hidden

    def _visible(self, before: Tensor) -> Tensor:
        """What the net reads of the symbols before: nothing but the start where all are hidden."""
        return before if self.word_dropout < 1 else torch.where(before == START, START, UNKNOWN)

    def _surprise(self, hidden: Tensor, target: Tensor) -> Tensor:
        """-log p of symbols (M,) from outputs (M, width), some at a time."""
        if len(target) <= _CHUNK:
            return self._chunk(hidden, target)
        pieces = zip(hidden.split(_CHUNK), target.split(_CHUNK), strict=True)
        again = torch.is_grad_enabled()  # the logits of all chunks together would fill the memory
        return torch.cat(
            [checkpoint(self._chunk, *p, use_reentrant=False) if again else self._chunk(*p) for p in pieces]
        )

    def _chunk(self, hidden: Tensor, target: Tensor) -> Tensor:
        logits = self._logits(hidden)
        # A symbol that is never written, such as padding, has no finite surprise: it does not count anyway.
        safe = torch.where(target == PAD, END, target)
        return F.cross_entropy(logits, safe, reduction="none")

    def _logits(self, hidden: Tensor) -> Tensor:
        """Logits of all symbols, (..., V); padding and start have none."""
        logits: Tensor = self.head(hidden)
        never = torch.zeros(self.vocabulary, dtype=torch.bool, device=logits.device)
        never[[PAD, START]] = True
        return logits.masked_fill(never, -torch.inf)

    def _start(self, z: Tensor) -> State:
        """The net's state before the first symbol, for conditionings (B, Z)."""
        first = torch.tanh(self.first(z)).reshape(len(z), self.pairs, self.net.num_layers, -1)
        h, *c = (part.movedim(1, 0).contiguous() for part in first.unbind(1))
        return (h, c[0]) if c else h

    def mean(self, parameters: Tensor) -> Tensor:
        """The text that is written by always taking the likeliest symbol, (*samples, B, T) int64."""
        return self._write(parameters, lambda logits: logits.argmax(-1))

    def sample(self, parameters: Tensor, *, temperature: float = 1.0, top_k: int = 0) -> Tensor:
        """A drawn text, (*samples, B, T) int64.

        Args:
            parameters: the conditioning.
            temperature: below 1 likely symbols are drawn more often.
            top_k: only the k likeliest symbols are drawn; all of them when 0.
        """
        warmth, k = number("temperature", temperature, low=1e-3), whole("top_k", top_k, low=0)

        def drawn(logits: Tensor) -> Tensor:
            if 0 < k < logits.shape[-1]:
                logits = logits.masked_fill(logits < logits.topk(k).values[..., -1:], -torch.inf)
            return torch.multinomial((logits / warmth).softmax(-1), 1).squeeze(-1)

        return self._write(parameters, drawn)

    @torch.no_grad()
    def _write(self, parameters: Tensor, choose: Callable[[Tensor], Tensor]) -> Tensor:
        """Write symbol after symbol until every text has ended, or is as long as the longest."""
        z = parameters.reshape(-1, self.conditioning)
        length = self.shape[0]
        out = torch.full((len(z), length), PAD, dtype=torch.long, device=z.device)
        state, last = self._start(z), torch.full((len(z),), START, device=z.device)
        going = torch.ones_like(last, dtype=torch.bool)
        for t in range(length):
            inputs = torch.cat([self.embed(self._visible(last)), z], -1).unsqueeze(1)
            hidden, state = self.net(inputs, state)
            logits = self._logits(hidden.squeeze(1))
            logits[:, UNKNOWN] = -torch.inf
            last = torch.where(going, choose(logits), PAD)
            out[:, t] = last
            going = going & (last != END)
            if not bool(going.any()):
                break
        return out.reshape(*parameters.shape[:-1], length)
