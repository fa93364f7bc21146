"""A Gaussian posterior at each time step, with a recurrent prior given the previous steps."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Independent, Normal
from torch.nn import functional as F

from narrows.bottlenecks.gaussian.diagonal import Diagonal, kl
from narrows.core import NO_CONDITION, Bottleneck, Code, Condition, Tree
from narrows.core.check import whole
from narrows.likelihoods.recurrent import Recurrence, Step, Trajectory, softplus_gaussian
from narrows.nets.mlp import dense_layers
from narrows.nets.sequence import Steps

__all__ = ["Stepwise"]


class Stepwise(Bottleneck):
    r"""q(z_t | x_<=t, z_<t) with the prior p(z_t | x_<t, z_<t), step by step.

    .. math:: \mathrm{kl} = \sum_t \mathrm{KL}(q(z_t \mid x_{\le t}, z_{<t})\,\|\,p(z_t \mid x_{<t}, z_{<t}))

    The code is the noise of the latents, u = (z - prior mean) / prior standard deviation, (B, T, Z): in these
    coordinates the prior is N(0, I) at every step, and the KL divergence is the same. At a step without
    observations the posterior is the prior, which costs nothing; a padded step has the code 0.

    Args:
        core: the generative net, which the likelihood shares.
        features: width F of the encoder's features of a step.
        length: number of steps of a code drawn from the prior.

    Example:
        >>> from narrows.likelihoods import Gaussian
        >>> from narrows.nets.sequence import StepEncoder
        >>> core = Recurrence(2, Gaussian((3,)), width=8)
        >>> code = Stepwise(core, 6, 5)(StepEncoder(3, 6)(torch.zeros(4, 5, 3)))
        >>> code.z.shape, code.costs["kl"].shape
        (torch.Size([4, 5, 2]), torch.Size([4]))

    Reference:
        Chung et al., A Recurrent Latent Variable Model for Sequential Data, 2015, equations 5 to 11.
        arXiv:1506.02216
    """

    def __init__(self, core: Recurrence, features: int, length: int) -> None:
        super().__init__()
        self.core, self.length = core, whole("length", length)
        self.posterior = dense_layers(
            (whole("features", features) + core.context, core.width, 2 * core.latent)
        )

    def infer(self, features: Tensor, step: Step) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of q(z_t | ...), (..., Z), from features (B, F) and the state."""
        inputs = torch.cat([features.expand(*step.context.shape[:-1], -1), step.context], -1)
        return softplus_gaussian(self.posterior(inputs))

    def forward(self, h: Tree, samples: tuple[int, ...] = ()) -> Code:
        """Infer and draw step by step.

        Args:
            h: ``features`` (B, T, F), the series ``x`` (B, T, C) and its ``steps``.
            samples: leading axes of the draws.
        """
        steps = Steps(*h["steps"])
        informed = (steps.observed.any(-1) & steps.mask).unsqueeze(-1)
        full = bool(informed.all())
        drawn, means, scales = self.training or bool(samples), [], []

        def choose(t: int, step: Step) -> Tensor:
            mean, scale = self.infer(h["features"][:, t], step)
            mean, scale = (mean - step.mean) / step.scale, scale / step.scale
            if not full:
                mean = torch.where(informed[:, t], mean, 0.0)
                scale = torch.where(informed[:, t], scale, 1.0)
            means.append(mean)
            scales.append(scale)
            u = mean + scale * torch.randn_like(mean) if drawn else mean
            noise.append(u if full else torch.where(steps.mask[:, t, None], u, 0.0))
            return step.mean + step.scale * noise[-1]

        noise: list[Tensor] = []
        path = self.core.unroll(choose, steps, (*samples, len(h["x"])), h["x"])
        u = torch.stack(noise, -2)
        q = _gaussian(torch.stack(means, -2), torch.stack(scales, -2))
        p = _gaussian(torch.zeros_like(q.mean), torch.ones_like(q.mean))
        nats = q.log_prob(u) - p.log_prob(u) if samples else kl(q)
        cost = torch.where(informed.squeeze(-1), nats, 0.0).sum(-1)
        return Code(u, {"kl": cost}, q, p, evidence=(Trajectory(path),))

    def features(self, code: Code) -> Tensor:
        """The posterior means of all steps, (B, T Z); of shorter series 0 up to `length` steps."""
        assert code.q is not None
        mean: Tensor = code.q.mean
        return F.pad(mean, (0, 0, 0, max(self.length - mean.shape[1], 0))).flatten(1)

    def sample(self, n: int, condition: Condition = NO_CONDITION) -> Code:
        """Draw the noise of n series, (n, T, Z); T is that of the condition, else `length`."""
        series = [condition[name] for name in ("mask", "times", "observed") if name in condition]
        like, length = self.core.first, series[0].shape[1] if series else self.length
        u = torch.randn(n, length, self.core.latent, dtype=like.dtype, device=like.device)
        return Code(u, p=_gaussian(torch.zeros_like(u), torch.ones_like(u)))


def _gaussian(mean: Tensor, scale: Tensor) -> Diagonal:
    return Independent(Normal(mean, scale, validate_args=False), 1, validate_args=False)
