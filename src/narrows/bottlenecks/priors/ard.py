"""Automatic relevance determination: the prior's variance of each latent is that of the codes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd.functional import jvp
from torch.distributions import Independent, Normal

from narrows.bottlenecks.gaussian.diagonal import Diagonal, normal
from narrows.core import Autoencoder, Batch, Part, Pass, all_sum, seeded
from narrows.core.check import number, refuse, whole
from narrows.core.reference import ModuleReference

__all__ = ["Relevance", "leading", "relevance"]

_CHUNK, _LEAST, _ROWS = 512, 1e-8, 64
_MOST = 10_000
"""Largest number of examples that are held back."""


class Relevance(Part):
    r"""The prior N(0, v_j) of each latent, whose variance is that of codes of held-back examples.

    .. math:: p(z_j) = N(0,\, b_j / a),\qquad a = \frac n2,\quad b_j = \frac12 \sum_{i=1}^n z_{ij}^2

    a and b are the Gamma posterior of the precision of z_j, from one draw z_i of the code of each of n
    examples, which no training step sees. They are computed before the first step and after every epoch.

    Args:
        encoder: maps examples to means and log-variances, (n, 2Z); it belongs to the model.
        latent: the width of the code, Z.
        share: of the training examples that are held back, at most 10,000 of them.

    Raises:
        RequestError: an argument out of range; before training, too few examples would be held back.

    Example:
        >>> Relevance(nn.Linear(3, 4), 2)().variance
        tensor([1., 1.])

    Reference:
        Saha, Joshi, Whitaker, ARD-VAE: A Statistical Formulation to Find the Relevant Latent Dimensions of
        Variational Autoencoders, 2025. arXiv:2501.10901
    """

    variance: Tensor
    steps: Tensor
    held: Tensor

    def __init__(self, encoder: nn.Module, latent: int, share: float = 0.1) -> None:
        super().__init__()
        self.encoder, self.latent = ModuleReference(encoder), whole("latent", latent)
        if not 0 < number("share", share) < 1:
            raise refuse("share", share, "a number between 0 and 1", "Try share=0.1.")
        self.share = share
        self.register_buffer("variance", torch.ones(self.latent))
        self.rows, self.epoch = 0, 0
        self.register_buffer("steps", torch.tensor(0))  # `epoch`, for a training that is resumed
        self.register_buffer("held", torch.zeros(0), persistent=False)

    def held_back(self, rows: int) -> int:
        """The share of the training examples: more than there are latents, or their variances are noise.

        Raises:
            RequestError: it is less.
        """
        count = min(int(self.share * rows), _MOST)
        if count <= self.latent:
            raise refuse(
                "share",
                self.share,
                f"more than {self.latent} of the {rows} training examples, one for each latent",
                "Give more examples, a larger share or fewer latents.",
            )
        return count

    def check_rows(self, rows: int) -> None:
        """Raise if too few examples would be held back."""
        self.held_back(rows)

    def keep(self, batch: Batch) -> None:
        """Hold the examples from whose codes the variances are computed."""
        self.held = batch.x

    def set_rows(self, rows: int) -> None:
        """The number of examples of an epoch."""
        self.rows, self.epoch = rows, 0
        self.steps.zero_()

    def before_step(self, step: int) -> None:
        """At the start and after every epoch, compute the variances."""
        self.epoch = self.epoch or int(self.steps)
        if len(self.held) and (not step or (self.epoch and step % self.epoch == 0)):
            with seeded(step):
                self.refresh(self.held)

    def after_step(self, passed: Pass) -> None:
        """At the first step, compute the number of steps of an epoch."""
        if not self.epoch:
            batch = all_sum(torch.tensor(len(passed.batch), device=self.steps.device))
            self.epoch = max(1, self.rows // int(batch))
            self.steps.fill_(self.epoch)

    @torch.no_grad()
    def refresh(self, x: Tensor) -> None:
        """Set the variances to b / a, from one draw of the code of each example, (n, ...)."""
        b = torch.zeros_like(self.variance)
        for some in x.split(_CHUNK):
            b += 0.5 * normal(self.encoder.module(some)).sample().square().sum(0)
        self.variance.copy_((b / (0.5 * len(x))).clamp_min(_LEAST))

    def forward(self) -> Diagonal:
        """N(0, diag v)."""
        zero = torch.zeros_like(self.variance)
        return Independent(Normal(zero, self.variance.sqrt(), validate_args=False), 1, validate_args=False)

    def metrics(self, model: Autoencoder, passed: Pass) -> dict[str, Tensor]:
        """The number of relevant latents, of a few examples of a held-out batch."""
        few = passed.batch[:_ROWS]
        return {"relevant": torch.tensor(float(len(leading(relevance(model, few)))))}


@torch.no_grad()
def relevance(model: Autoencoder, batch: Batch) -> Tensor:
    r"""The relevance of each latent: its prior variance times the squared effect on the decoder's mean, (Z,).

    .. math:: r_j = \frac{b_j}{a} \sum_d \left( E_x \left| \frac{\partial f_d(\mu(x))}{\partial \mu_j} \right|
              \right)^2

    Args:
        model: with a diagonal Gaussian prior over one code.
        batch: examples over which the mean is taken.
    """
    code = model.encode_fixed(batch)
    assert code.p is not None
    z = code.z

    def mean(z: Tensor) -> Tensor:
        return model.likelihood.mean(model.decode(z, batch.condition)).flatten(1)

    effects = []
    for axis in torch.eye(z.shape[-1], dtype=z.dtype, device=z.device):
        with torch.enable_grad():
            slope: Tensor = jvp(mean, z, axis.expand_as(z))[1]
        effects.append(slope.abs().mean(0).square().sum())
    found: Tensor = code.p.variance * torch.stack(effects)
    return found


def leading(values: Tensor, share: float = 0.99) -> Tensor:
    """The fewest latents whose relevances sum to a share of the total, the largest first.

    Example:
        >>> leading(torch.tensor([0.0, 90.0, 9.5, 0.5]))
        tensor([1, 2])
    """
    order = values.argsort(descending=True)
    before = values[order].double().cumsum(0).roll(1)
    before[0] = 0
    return order[before < share * float(values.double().sum())]
