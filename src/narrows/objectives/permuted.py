"""The total correlation of the code, by a critic of permuted codes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from narrows.core import Autoencoder, Pass
from narrows.core.schedules import Schedule
from narrows.objectives.adversarial import CodeAdversary

__all__ = ["PermutedAdversary", "permuted"]


def permuted(z: Tensor) -> Tensor:
    """Permute each latent over the batch, independently of the others.

    Args:
        z: codes (B, Z), draws of q(z).

    Returns:
        (B, Z), approximately draws of the product of the marginals of q(z).

    Example:
        >>> permuted(torch.tensor([[1.0, 5.0], [1.0, 5.0]]))
        tensor([[1., 5.],
                [1., 5.]])
    """
    return z.gather(0, torch.rand(z.shape, device=z.device).argsort(0))


class PermutedAdversary(CodeAdversary):
    r"""The negative evidence lower bound plus gamma times the total correlation, a critic's log density ratio.

    .. math:: \text{autoencoder:}\ -E[\log p(x|z)] + \mathrm{KL}
              + \gamma\, E_{q(z)}\left[\log \frac{1 - D(z)}{D(z)}\right],\qquad
              \text{critic:}\ -E_{\bar q(z)}[\log D(z)] - E_{q(z)}[\log(1 - D(z))]

    D(z) is the probability that z is a draw of the product of the marginals, :math:`\bar q(z) = \prod_j q(z_j)`.
    The critic learns from both halves of a batch: codes of the first, and codes of the second whose latents are
    permuted. The middle example of an odd batch is in both. The autoencoder's term is over the whole batch. In
    `eval()` the term is at a draw of each posterior, since the means have another distribution.

    Args:
        latent: width of the code, Z.
        gamma: weight of the total correlation, the term ``tc``.
        critic: a net from codes (B, Z) to scores (B, 1), logits of D; an MLP with two hidden layers if None.
        critic_lr: the critic's learning rate; the trainer's if None.

    Reference:
        Kim and Mnih, Disentangling by Factorising, 2018, algorithm 2. arXiv:1802.05983
    """

    term: ClassVar[str] = "tc"

    def __init__(
        self,
        latent: int,
        gamma: Schedule = 35.0,
        critic: nn.Module | None = None,
        critic_lr: Schedule | None = None,
    ) -> None:
        super().__init__(latent, gamma, critic, critic_lr, gradient_penalty=0.0)

    def drawn(self, passed: Pass) -> Tensor:
        """A draw of each posterior, (B, Z)."""
        code = passed.code
        z: Tensor = code.z if self.training or code.q is None else code.q.rsample()
        return z

    def compared(self, model: Autoencoder, passed: Pass) -> tuple[Tensor, Tensor]:
        """Permuted codes of the second half of the batch, and codes of the first."""
        z = self.drawn(passed)
        half = (len(z) + 1) // 2
        return permuted(z[len(z) - half :]), z[:half]

    def fool(self, scores: Tensor) -> Tensor:
        """The log density ratio of q(z) and the product of its marginals."""
        return -scores

    def extra(self, model: Autoencoder, passed: Pass) -> Mapping[str, Tensor]:
        """The term ``tc``, (B,)."""
        return {self.term: self.fool(self.scores(self.drawn(passed)))}
