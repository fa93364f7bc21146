"""Bits that a policy adds in order: a posterior without independence of the latents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Distribution, Independent, constraints
from torch.nn import functional as F

from narrows.bottlenecks.variational import DRAWS, Variational
from narrows.core import Code, Symbols, Tree
from narrows.core.check import RequestError, whole
from narrows.core.evidence import Indices

__all__ = ["BitPolicy", "PolicyPosterior"]

_MOST = 16
"""The largest number of bits whose codes are enumerated."""


class PolicyPosterior(Distribution):
    r"""The distribution of the codes that a policy builds bit by bit.

    .. math:: \log q(z) = \sum_j \log P_F(z_j \mid z_1, \ldots, z_{j-1})

    Args:
        policy: gives the logit of each bit.
        seen: what the policy reads of the features, (B, H).
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(self, policy: BitPolicy, seen: Tensor) -> None:
        self.policy, self.seen, self.bits = policy, seen, policy.latent
        super().__init__(seen.shape[:1], torch.Size([policy.latent]), validate_args=False)

    @torch.no_grad()
    def of_noise(self, uniform: Tensor) -> Tensor:
        """The codes of uniform noise (*samples, B, Z): bit j is 1 where the noise is below its probability."""
        state = torch.zeros_like(uniform)
        for j in range(self.bits):
            p = self.policy.logit(self.seen, state, j).sigmoid()
            state[..., j] = torch.where(uniform[..., j] < p, 1.0, -1.0)
        return (state + 1) / 2

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draws (*samples, B, Z), without gradient."""
        shape = (*sample_shape, *self.batch_shape, self.bits)
        return self.of_noise(torch.rand(shape, dtype=self.seen.dtype, device=self.seen.device))

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """The same: draws have no gradient."""
        return self.sample(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """log q of codes (*samples, B, Z), (*samples, B)."""
        before = torch.ones(self.bits, self.bits, device=value.device).tril(-1).to(value)
        states = (2 * value - 1)[..., None, :] * before  # what each step has seen, (*samples, B, Z, Z)
        logits = self.policy.logits(self.seen[..., None, :], states)
        return -F.binary_cross_entropy_with_logits(logits, value, reduction="none").sum(-1)

    def enumerated(self) -> Tensor:
        """log q of all codes, (B, 2^Z): code number n has its first bit at the highest place.

        Raises:
            RequestError: more than 16 bits.
        """
        if self.bits > _MOST:
            raise RequestError(f"2^{self.bits} codes are too many to enumerate; at most 2^{_MOST}.")
        log_q = self.seen.new_zeros(1, len(self.seen))
        states = self.seen.new_zeros(1, 1, self.bits)
        for j in range(self.bits):
            logit = self.policy.logit(self.seen, states, j)
            log_q = torch.stack([log_q + F.logsigmoid(-logit), log_q + F.logsigmoid(logit)], 1).flatten(0, 1)
            states = states.repeat_interleave(2, 0)
            states[0::2, :, j], states[1::2, :, j] = -1.0, 1.0
        return log_q.T


class BitPolicy(Variational):
    r"""Z bits, each given those before it; uniform prior.

    .. math:: q(z|x) = \prod_j P_F(z_j \mid z_1, \ldots, z_{j-1}, x),\qquad p(z) = 2^{-Z}

    A net reads the features and the bits so far (-1 or 1; 0 for those to come), and gives the logit of the next. The
    draws have no gradient, so that the policy needs a loss of its own: see `TrajectoryBalance`. In `eval()` each bit is
    the more probable one in turn, and the divergence is a mean over fixed draws.

    Args:
        features: width of the features, F.
        latent: number of bits, Z.
        width: width of the net, H.

    Raises:
        RequestError: a size below 1.

    Example:
        >>> policy = BitPolicy(8, 3)
        >>> code = policy(torch.randn(5, 8))
        >>> code.z.shape, bool(((code.z == 0) | (code.z == 1)).all())
        (torch.Size([5, 3]), True)
        >>> bool(torch.allclose(code.q.enumerated().exp().sum(1), torch.ones(5)))
        True

    Reference:
        Hu, Malkin, Jain, Everett, Graikos, Bengio, GFlowNet-EM for Learning Compositional Latent Variable Models, 2023,
        section 5. arXiv:2302.06576
    """

    smooth = False
    zero: Tensor
    noise: Tensor

    def __init__(self, features: int, latent: int, width: int = 64) -> None:
        super().__init__()
        self.latent, width = whole("latent", latent), whole("width", width)
        self.of_features = nn.Linear(whole("features", features), width)
        self.of_bits = nn.Linear(self.latent, width, bias=False)
        self.hidden = nn.Linear(width, width)
        self.out = nn.Linear(width, self.latent)
        self.register_buffer("zero", torch.zeros(self.latent), persistent=False)
        dice = torch.Generator().manual_seed(0)
        self.register_buffer("noise", torch.rand(DRAWS, 1, self.latent, generator=dice), persistent=False)

    def posterior(self, h: Tree) -> PolicyPosterior:
        """q(z | x) from features (B, F)."""
        return PolicyPosterior(self, self.of_features(h))

    def prior(self) -> Distribution:
        """Independent bits of probability one half."""
        return Independent(Bernoulli(logits=self.zero, validate_args=False), 1, validate_args=False)

    def logits(self, seen: Tensor, states: Tensor) -> Tensor:
        """The logit of bit j from the j-th state: seen (B, 1, H), states (..., B, Z, Z), (..., B, Z)."""
        hidden = self._read(seen, states)
        return (hidden * self.out.weight).sum(-1) + self.out.bias

    def logit(self, seen: Tensor, state: Tensor, j: int) -> Tensor:
        """The logit of bit j from a state (..., B, Z), (..., B)."""
        return self._read(seen, state) @ self.out.weight[j] + self.out.bias[j]

    def _read(self, seen: Tensor, state: Tensor) -> Tensor:
        return F.silu(self.hidden(F.silu(seen + self.of_bits(state))))

    def centre(self, q: Distribution) -> Tensor:
        """The code whose bits are in turn the more probable ones, (B, Z)."""
        assert isinstance(q, PolicyPosterior)
        return q.of_noise(q.seen.new_full((*q.batch_shape, self.latent), 0.5))

    def fixed_draws(self, q: Distribution, h: Tree) -> Tensor:
        """Codes of the same noise for every example, (K, B, Z)."""
        assert isinstance(q, PolicyPosterior)
        return q.of_noise(self.noise.expand(-1, *q.batch_shape, -1))

    def forward(self, h: Tree, samples: tuple[int, ...] = ()) -> Code:
        """Draw the bits that the features describe."""
        code = super().forward(h, samples)
        return replace(code, evidence=(Indices(code.z.long(), 2),))

    @property
    def symbols(self) -> Symbols:
        """Z indices of 2 codes, the bits."""
        return Symbols((self.latent,), 2, self.layout)

    def to_symbols(self, code: Code) -> Tensor:
        """The bits, (B, Z)."""
        return code[Indices].indices

    def from_symbols(self, symbols: Tensor) -> Code:
        """The code of bits (B, Z)."""
        return Code(symbols.to(self.zero.dtype), evidence=(Indices(symbols.long(), 2),))
