"""p(text | z) by an autoregressive recurrent net inside the likelihood; no decoder sees the target."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from narrows.core import Likelihood, Pass
from narrows.core.check import number, whole
from narrows.core.vocabulary import END, PAD, SPECIAL, START, UNKNOWN
from narrows.nets.sequence import RNN

__all__ = ["Tokens"]

_CHUNK = 4096
"""The number of tokens whose logits are in memory at a time."""

State: TypeAlias = "Tensor | tuple[Tensor, Tensor]"


class Tokens(Likelihood):
    r"""An autoregressive recurrent net over tokens, conditioned on the code.

    .. math:: -\log p(x \mid z) = -\sum_{t=1}^{T} \log p(x_t \mid x_1 \ldots x_{t-1}, z)

    The decoder's output is the conditioning vector, (*samples, B, Z): it initialises the net's state and is
    concatenated to each input. `nll` uses teacher forcing and includes the end token, but not the start token
    and padding. `mean` and `sample` generate from the conditioning alone, without the target. Padding and
    start have probability 0, so that the probabilities of all texts sum to one; the unknown token is never
    generated.

    Args:
        shape: (T,), tokens of the longest text, including its end token.
        vocabulary: size of the vocabulary, V, including special tokens.
        conditioning: width of the decoder's output.
        rnn: type and sizes of the net.
        embedding: width of the token embeddings.
        word_dropout: probability of replacing an input token by the unknown token in training, so that the
            net must use z. With 1 no input tokens are read, and the text depends on z alone.

    Raises:
        RequestError: a size or a probability out of range.

    Example:
        >>> p = Tokens((6,), 9, 3, RNN("lstm", 8)).eval()
        >>> p.nll(torch.zeros(2, 3), torch.tensor([[4, 5, 2, 0, 0, 0], [2, 0, 0, 0, 0, 0]])).shape
        torch.Size([2])
        >>> p.mean(torch.zeros(2, 3)).shape
        torch.Size([2, 6])

    Reference:
        Bowman et al., Generating Sentences from a Continuous Space, 2016, sections 3 and 3.1.
        arXiv:1511.06349
    """

    autoregressive = True
    discrete = True
    element = "symbol"

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
        """The shape of the conditioning vector of one example."""
        return (self.conditioning,)

    def nll(self, parameters: Tensor, x: Tensor, weight: Tensor | None = None) -> Tensor:
        """-log p(x | z) in nats, (*samples, B); without weights everything except padding counts."""
        counts = x != PAD if weight is None else (weight != 0).expand(x.shape)
        x = torch.where(counts, x, PAD)
        lead = parameters.shape[:-1]
        target = x.expand(*lead, -1).reshape(-1, x.shape[1])
        hidden = self._teacher_forced(parameters.reshape(-1, self.conditioning), target)
        terms = self._token_nll(hidden.flatten(0, 1), target.flatten()).reshape(*lead, -1)
        return self.sum(terms, counts if weight is None else weight)

    def _teacher_forced(self, z: Tensor, x: Tensor) -> Tensor:
        """The net's output before each true token, (B, T, width)."""
        before = torch.cat([torch.full_like(x[:, :1], START), x[:, :-1]], 1)
        if self.training and self.word_dropout:
            dropped = torch.rand(before.shape, device=x.device) < self.word_dropout
            before = torch.where(dropped & (before != START), UNKNOWN, before)
        inputs = torch.cat([self.embed(self._visible(before)), z.unsqueeze(1).expand(-1, x.shape[1], -1)], -1)
        hidden, _ = self.net(inputs, self._start(z))
        return hidden

    def _visible(self, before: Tensor) -> Tensor:
        """The net's input tokens; without the previous ones if word dropout is 1."""
        return before if self.word_dropout < 1 else torch.where(before == START, START, UNKNOWN)

    def _token_nll(self, hidden: Tensor, target: Tensor) -> Tensor:
        """-log p of tokens (M,) from outputs (M, width), in chunks."""
        if len(target) <= _CHUNK:
            return self._chunk(hidden, target)
        pieces = zip(hidden.split(_CHUNK), target.split(_CHUNK), strict=True)
        again = torch.is_grad_enabled()  # recompute logits in the backward pass, to save memory
        return torch.cat(
            [checkpoint(self._chunk, *p, use_reentrant=False) if again else self._chunk(*p) for p in pieces]
        )

    def _chunk(self, hidden: Tensor, target: Tensor) -> Tensor:
        logits = self._logits(hidden)
        # Tokens that are never generated, such as padding, have an infinite nll; they have weight 0.
        safe = torch.where(target == PAD, END, target)
        return F.cross_entropy(logits, safe, reduction="none")

    def _logits(self, hidden: Tensor) -> Tensor:
        """Logits of all tokens, (..., V); -inf for padding and start."""
        logits: Tensor = self.head(hidden)
        never = torch.zeros(self.vocabulary, dtype=torch.bool, device=logits.device)
        never[[PAD, START]] = True
        return logits.masked_fill(never, -torch.inf)

    def _start(self, z: Tensor) -> State:
        """The net's state before the first token, for conditioning vectors (B, Z)."""
        first = torch.tanh(self.first(z)).reshape(len(z), self.pairs, self.net.num_layers, -1)
        h, *c = (part.movedim(1, 0).contiguous() for part in first.unbind(1))
        return (h, c[0]) if c else h

    def teacher_forced(self, passed: Pass) -> Tensor:
        """The likeliest symbol after the true ones before it, (*samples, B, T) int64."""
        x, lead = passed.batch.target, passed.output.shape[:-1]
        target = x.expand(*lead, -1).reshape(-1, x.shape[1])
        hidden = self._teacher_forced(passed.output.reshape(-1, self.conditioning), target)
        return self._logits(hidden).argmax(-1).reshape(*lead, -1)

    def mean(self, parameters: Tensor) -> Tensor:
        """The text by greedy decoding, (*samples, B, T) int64."""
        return self._generate(parameters, lambda logits: logits.argmax(-1))

    def sample(self, parameters: Tensor, *, temperature: float = 1.0, top_k: int = 0) -> Tensor:
        """A drawn text, (*samples, B, T) int64.

        Args:
            parameters: the conditioning vectors.
            temperature: divides the logits; below 1 probable tokens are drawn more often.
            top_k: draw from the k most probable tokens only; from all if 0.
        """
        divisor, k = number("temperature", temperature, low=1e-3), whole("top_k", top_k, low=0)

        def drawn(logits: Tensor) -> Tensor:
            if 0 < k < logits.shape[-1]:
                logits = logits.masked_fill(logits < logits.topk(k).values[..., -1:], -torch.inf)
            return torch.multinomial((logits / divisor).softmax(-1), 1).squeeze(-1)

        return self._generate(parameters, drawn)

    @torch.no_grad()
    def _generate(self, parameters: Tensor, choose: Callable[[Tensor], Tensor]) -> Tensor:
        """Generate token by token until all texts have ended or have the maximum length."""
        z = parameters.reshape(-1, self.conditioning)
        length = self.shape[0]
        out = torch.full((len(z), length), PAD, dtype=torch.long, device=z.device)
        state, last = self._start(z), torch.full((len(z),), START, device=z.device)
        unfinished = torch.ones_like(last, dtype=torch.bool)
        for t in range(length):
            inputs = torch.cat([self.embed(self._visible(last)), z], -1).unsqueeze(1)
            hidden, state = self.net(inputs, state)
            logits = self._logits(hidden.squeeze(1))
            logits[:, UNKNOWN] = -torch.inf
            last = torch.where(unfinished, choose(logits), PAD)
            out[:, t] = last
            unfinished = unfinished & (last != END)
            if not bool(unfinished.any()):
                break
        return out.reshape(*parameters.shape[:-1], length)
