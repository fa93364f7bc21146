"""Grids of tokens from a Potts field, whose entropy is exact: no prior of these codes can need fewer bits."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from narrows.core.check import number, refuse, whole
from narrows.data.raw import Raw

__all__ = ["MarkovCodesTruth", "markov_codes"]

_MOST = 4**8
"""The largest number of states of a row of tokens, with which the sums over all grids grow."""


@dataclass(frozen=True, eq=False)
class MarkovCodesTruth:
    r"""A Potts field: equal neighbours attract each other, and tokens differ in frequency.

    .. math:: p(x) = \frac1Z \exp\Big( J \sum_{i \sim j} [x_i = x_j] - h \sum_i \frac{x_i}{K - 1} \Big)

    Sums over all grids are made token by token, over the states of the last `columns` tokens.

    Args:
        rows: of the grid.
        columns: of the grid.
        codes: number of values of a token, K.
        coupling: J.
        slope: h; token 0 is the most frequent one.

    Example:
        >>> truth = MarkovCodesTruth(1, 2, codes=2, coupling=0.0, slope=0.0)
        >>> round(float(truth.entropy / np.log(2)), 6), truth.log_likelihood(np.zeros((1, 1, 2), int)).round(4).tolist()
        (2.0, [-1.3863])
    """

    rows: int
    columns: int
    codes: int
    coupling: float
    slope: float

    @property
    def entropy(self) -> float:
        r"""Nats of a grid: :math:`\log Z(1) - \frac{d}{db} \log Z(b)` at b = 1, with J and h multiplied by b.

        The derivative is that of a step along the imaginary axis, which is exact.
        """
        step = 1e-30
        return float(self._log_z(1.0).real - self._log_z(1 + step * 1j).imag / step)

    @property
    def bits(self) -> float:
        """Bits of a token."""
        return self.entropy / (math.log(2) * self.rows * self.columns)

    def log_likelihood(self, tokens: np.ndarray) -> np.ndarray:
        """Exact log p of grids (N, rows, columns), in nats, (N,)."""
        equal = (tokens[:, 1:] == tokens[:, :-1]).sum((1, 2)) + (tokens[:, :, 1:] == tokens[:, :, :-1]).sum(
            (1, 2)
        )
        found: np.ndarray = self.coupling * equal + self._single()[tokens].sum((1, 2)) - self._log_z(1.0).real
        return found

    def tokens(self, x: np.ndarray) -> np.ndarray:
        """The tokens of images (N, 1, rows, columns), or of their reconstructions: (N, rows, columns)."""
        grid: np.ndarray = np.rint(np.clip(x, 0, 1)[:, 0] * (self.codes - 1)).astype(np.int64)
        return grid

    def images(self, tokens: np.ndarray) -> np.ndarray:
        """The images of tokens (N, rows, columns): shades of grey, (N, 1, rows, columns)."""
        shades: np.ndarray = (tokens[:, None] / (self.codes - 1)).astype(np.float32)
        return shades

    def draw(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """n grids, exactly, from the last token to the first: (n, rows, columns)."""
        messages, _ = self._messages(1.0)
        count, width = self.rows * self.columns, min(self.columns, self.rows * self.columns)
        tokens = np.zeros((n, count), np.int64)
        last = messages[-1] / messages[-1].sum()
        state = rng.choice(len(last), n, p=last)
        for place in range(count - 1, count - 1 - width, -1):
            tokens[:, place], state = state % self.codes, state // self.codes
        powers = self.codes ** np.arange(width - 1, -1, -1)
        for place in range(count - 1, width - 1, -1):
            # The token above `place` leaves the state: it is drawn given all tokens after it.
            kept = tokens[:, place - width + 1 : place] @ powers[1:] if width > 1 else 0
            before = np.arange(self.codes)[:, None] * powers[0] + kept
            p = messages[place - 1][before].T * np.exp(
                self.coupling * (tokens[:, place, None] == np.arange(self.codes))
            )
            shares = p.cumsum(1) / p.sum(1, keepdims=True)
            tokens[:, place - width] = (rng.random((n, 1)) > shares[:, :-1]).sum(1)
        return tokens.reshape(n, self.rows, self.columns)

    def _single(self) -> np.ndarray:
        shades: np.ndarray = -self.slope * np.arange(self.codes) / (self.codes - 1)
        return shades

    def _log_z(self, scale: complex) -> np.complex128:
        messages, log_scale = self._messages(scale, keep=False)
        return np.complex128(np.log(messages[-1].sum()) + log_scale)

    def _messages(self, scale: complex, keep: bool = True) -> tuple[list[np.ndarray], complex]:
        """After each token, the sums over those before the last row of tokens, by the state of that row."""
        single = np.exp(scale * self._single())
        pair = np.exp(scale * self.coupling * np.eye(self.codes))
        message: np.ndarray = single.copy()
        log_scale: complex = 0.0
        messages = [message]
        for place in range(1, self.rows * self.columns):
            flat: np.ndarray = message.reshape(-1, self.codes)[:, :, None] * single  # (..., left, new)
            if place % self.columns:
                flat = flat * pair
            flat = flat.reshape(-1, self.codes)
            if place >= self.columns:  # the first token of the state is the one above the new one
                flat = np.einsum("asn,an->sn", flat.reshape(self.codes, -1, self.codes), pair)
            total = flat.sum().real
            message, log_scale = flat.reshape(-1) / total, log_scale + math.log(total)
            messages = [*messages, message] if keep else [message]
        return messages, log_scale


def markov_codes(
    n: int = 10_000,
    rows: int = 7,
    columns: int = 7,
    codes: int = 4,
    coupling: float = 0.8,
    slope: float = 1.0,
    seed: int = 0,
    tests: int = 2_000,
) -> Raw:
    """Draw grids of tokens from a Potts field of known entropy, as images with a shade of grey for each token.

    A tokenizer that reconstructs every token has codes of the same entropy, whatever they are: a lower bound of the
    bits of any prior. The audit compares `prior/bits` with it. A prior over indices can also be fitted to
    `truth.tokens` directly, without a tokenizer.

    Args:
        n: training examples.
        rows: of a grid.
        columns: of a grid.
        codes: number of values of a token, K.
        coupling: J, how strongly equal neighbours attract each other; with 0 tokens are independent.
        slope: h, how much more frequent token 0 is than the last one.
        seed: seed of the draws.
        tests: test examples.

    Raises:
        RequestError: K to the power of `columns` is above 65,536, with which the exact sums grow.

    Example:
        >>> import narrows.data
        >>> source = narrows.data.open("markov-codes", n=100, tests=10)
        >>> source.spec.shape, round(source.truth.bits, 2)
        ((1, 7, 7), 1.12)

    Reference:
        Potts, Some generalized order-disorder transformations, 1952. doi:10.1017/S0305004100027419
    """
    whole("rows", rows), whole("columns", columns), whole("codes", codes, low=2)
    if codes**columns > _MOST:
        fix = "Take fewer columns, or fewer codes; rows are free."
        raise refuse(
            "columns", columns, f"so few that codes to the power of columns is at most {_MOST:,}", fix
        )
    truth = MarkovCodesTruth(rows, columns, codes, number("coupling", coupling), number("slope", slope))
    x = truth.images(truth.draw(np.random.default_rng((seed, 23)), whole("n", n) + whole("tests", tests)))
    return Raw(x[:n], test=Raw(x[n:], layout="chw"), layout="chw", scale="none", truth=truth)
