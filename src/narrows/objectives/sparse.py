"""Objectives of sparse autoencoders: reconstruct, and wake the latents that have died."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from narrows.bottlenecks.latents import Latents
from narrows.check import number, refuse, whole
from narrows.core import Autoencoder, Batch, Code, Objective, Sparse, all_sum
from narrows.schedules import Schedule

__all__ = ["AuxK", "TargetL0", "unexplained"]


class AuxK(Objective):
    r"""The distortion, and an auxiliary loss by which dead latents learn what the living ones leave out.

    .. math:: L = \|x - \hat x\|^2 + \alpha V \frac{\|e - \hat e\|^2}{\|e - \bar e\|^2},
        \qquad e = x - \hat x \text{ (no gradient)}, \quad \hat e = \sum_{j \in \mathrm{top}_{k'}(dead)} z_j a_j

    The residual e is predicted by the k' best of the latents that have been idle for long, without the decoder's
    bias. As in the authors' code the auxiliary error is a share of the residual's variance; V, the variance of the
    data, makes it weigh the same against an error that is not normalised. It is 0 while no latent is dead.

    The encoder is asked a second time, for the dead only: it makes a promise, so that this costs their product.

    Args:
        k: how many dead latents predict the residual, k'.
        dead_after: a latent that is idle for more examples than this is dead.
        weight: of the auxiliary loss, alpha.
        weights: of the other terms.

    Raises:
        RequestError: a number out of range.

    Reference:
        Gao et al., Scaling and evaluating sparse autoencoders, 2024, section 2.4 and appendix A.2. arXiv:2406.04093
    """

    smooth = False  # the residual is a target, and passes no gradient
    variance: Tensor

    def __init__(
        self,
        *,
        k: int,
        dead_after: int,
        weight: Schedule = 1 / 32,
        weights: Mapping[str, Schedule] | None = None,
    ) -> None:
        super().__init__(weights={"auxk": weight, **(weights or {})})
        self.k, self.dead_after = whole("aux_k", k), whole("dead_after", dead_after)
        if isinstance(weight, (int, float)):
            number("aux_weight", weight, low=0)
        self.register_buffer("variance", torch.ones(()))

    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Measure the variance of what must be produced, summed over an example."""
        if not isinstance(model.bottleneck, Latents):
            raise refuse("bottleneck", type(model.bottleneck).__name__, "one of sparse latents", "Use TopK.")
        goal = batch.goal.flatten(1)
        self.variance.copy_((goal - goal.mean(0)).square().sum(1).mean())

    def terms(self, model: Autoencoder, batch: Batch, code: Code) -> dict[str, Tensor]:
        """The distortion, the code's costs and ``auxk``; the code is decoded once for both errors."""
        parameters = model.decode(code.z, batch.given)
        distortion = model.likelihood.nll(parameters, batch.goal, batch.weight)
        residual = batch.goal - model.likelihood.mean(parameters).detach()
        return {"distortion": distortion, **code.costs, "auxk": self.auxiliary(model, batch, residual)}

    def auxiliary(self, model: Autoencoder, batch: Batch, residual: Tensor) -> Tensor:
        """V times the share of the residual (B, ...) that dead latents leave unexplained; 0 where none is dead."""
        bottleneck = model.bottleneck
        assert isinstance(bottleneck, Latents)
        dead = bottleneck.wake(model.encoder(batch.x, batch.given), self.k, self.dead_after)
        if dead is None:
            return residual.new_zeros(())
        return self.variance * unexplained(residual, model.decoder.combine(dead))  # type: ignore[operator]


class TargetL0(Objective):
    r"""A sparsity cost whose weight finds itself: it rises while more latents are on than wanted, and falls else.

    .. math:: L = \|x - \hat x\|^2 + \lambda_t\, c, \qquad
        \log \lambda_{t+1} = \log \lambda_t + \eta \log(L_0 / L_0^*), \quad \text{at most } \eta \text{ a step}

    Two methods can then be compared at the same number of active latents, whatever the units of their costs.

    Args:
        l0: how many latents should be on in one example, on average.
        cost: which of the code's costs is weighed.
        start: the weight at first.
        rate: how fast the weight moves, eta.

    Example:
        >>> TargetL0(8.0).log_weight.exp()
        tensor(0.1000)
    """

    log_weight: Tensor

    def __init__(self, l0: float, *, cost: str = "l1", start: float = 0.1, rate: float = 0.03) -> None:
        super().__init__()
        self.l0, self.cost = number("l0", l0, low=1e-3), cost
        self.rate = number("rate", rate, low=0)
        self.register_buffer("log_weight", torch.tensor(math.log(number("start", start, low=1e-12))))

    def terms(self, model: Autoencoder, batch: Batch, code: Code) -> dict[str, Tensor]:
        """The usual terms, the cost times its present weight."""
        terms = super().terms(model, batch, code)
        return {**terms, self.cost: self.log_weight.exp() * terms[self.cost]}

    def after_step(self, code: Code) -> None:
        """Move the weight by what this step's code had too many or too few."""
        z = code.seen["latents"]
        values = z.values if isinstance(z, Sparse) else z
        on = all_sum(torch.stack([(values > 0).sum(), values.new_tensor(len(z))]).double())
        gap = torch.log(on[0].clamp_min(0.5) / (on[1] * self.l0)).clamp(-1, 1)
        self.log_weight.add_(self.rate * gap.to(self.log_weight.dtype))


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
