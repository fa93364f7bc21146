"""Bringing dead latents back: terms of a loss, or surgery between steps."""

from __future__ import annotations

import torch
from torch import Tensor

from narrows.bottlenecks.latents import Latents
from narrows.check import number, refuse, whole
from narrows.core import Autoencoder, Batch, Code, Part
from narrows.schedules import Schedule

__all__ = ["AuxK", "Revival", "unexplained"]


class Revival(Part):
    """What is done for latents that have been idle for long.

    Called in the loss, it gives a term by its `name`, weighted by `weight`; its hooks may do the rest.

    Args:
        dead_after: a latent that is idle for more examples than this is dead.
        weight: of the term.
    """

    name = "revival"

    def __init__(self, dead_after: int, weight: Schedule = 1.0) -> None:
        super().__init__()
        self.dead_after, self.weight = whole("dead_after", dead_after), weight

    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Only sparse latents can be revived."""
        if not isinstance(model.bottleneck, Latents):
            raise refuse("bottleneck", type(model.bottleneck).__name__, "one of sparse latents", "Use TopK.")

    def forward(self, model: Autoencoder, batch: Batch, code: Code, residual: Tensor) -> Tensor:
        """The term: (B,) or a scalar.

        Args:
            model: the whole.
            batch: what is trained on.
            code: the code of the batch.
            residual: what the code left out, (B, ...), without gradient.
        """
        raise NotImplementedError(f"{type(self).__name__} must define forward")


class AuxK(Revival):
    r"""An auxiliary loss by which dead latents learn what the living ones leave out.

    .. math:: V \frac{\|e - \hat e\|^2}{\|e - \bar e\|^2},
        \qquad e = x - \hat x \text{ (no gradient)}, \quad \hat e = \sum_{j \in \mathrm{top}_{k'}(dead)} z_j a_j

    The residual e is predicted by the k' best of the latents that have been idle for long, without the decoder's
    bias. As in the authors' code the auxiliary error is a share of the residual's variance; V, the variance of the
    data, makes it weigh the same against an error that is not normalised. It is 0 while no latent is dead.

    The encoder is asked a second time, for the dead only: it makes a promise, so that this costs their product.

    Args:
        k: how many dead latents predict the residual, k'.
        dead_after: a latent that is idle for more examples than this is dead.
        weight: of the auxiliary loss.

    Raises:
        RequestError: a number out of range.

    Reference:
        Gao et al., Scaling and evaluating sparse autoencoders, 2024, section 2.4 and appendix A.2. arXiv:2406.04093
    """

    name = "auxk"
    smooth = False  # the residual is a target, and passes no gradient
    variance: Tensor

    def __init__(self, *, k: int, dead_after: int, weight: Schedule = 1 / 32) -> None:
        super().__init__(dead_after, weight)
        self.k = whole("aux_k", k)
        if isinstance(weight, (int, float)):
            number("aux_weight", weight, low=0)
        self.register_buffer("variance", torch.ones(()))

    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Measure the variance of what must be produced, summed over an example."""
        super().prepare(model, batch)
        goal = batch.goal.flatten(1)
        self.variance.copy_((goal - goal.mean(0)).square().sum(1).mean())

    def forward(self, model: Autoencoder, batch: Batch, code: Code, residual: Tensor) -> Tensor:
        """V times the share of the residual (B, ...) that dead latents leave unexplained; 0 where none is dead."""
        bottleneck = model.bottleneck
        assert isinstance(bottleneck, Latents)
        dead = bottleneck.wake(model.encoder(batch.x, batch.given), self.k, self.dead_after)
        if dead is None:
            return residual.new_zeros(())
        return self.variance * unexplained(residual, model.decoder.combine(dead))  # type: ignore[operator]


def unexplained(x: Tensor, x_hat: Tensor) -> Tensor:
    r"""The squared error as a share of the batch's variance, :math:`\|x - \hat x\|^2 / \|x - \bar x\|^2`.

    0 where the batch does not vary (one example has no variance).

    Args:
        x: what is predicted, (B, ...).
        x_hat: the prediction, of the same shape.

    Example:
        >>> unexplained(torch.tensor([[0.0], [2.0]]), torch.tensor([[0.0], [1.0]]))
        tensor(0.5000)
    """
    error, varies = (x - x_hat).square().sum(), (x - x.mean(0)).square().sum()
    return torch.where(varies > 0, error / varies.clamp_min(torch.finfo(x.dtype).tiny), 0.0)
