"""Diffusion: codes from noise, by a net that removes noise a little at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from narrows.core import NO_CONDITION, Condition, Symbols, seeded
from narrows.core.check import refuse
from narrows.diffusion.bound import bound
from narrows.diffusion.paths import make_path
from narrows.diffusion.predictions import Denoised, read
from narrows.diffusion.samplers import draw
from narrows.priors.denoising import DenoisingPrior, interval

__all__ = ["Diffusion"]


class Diffusion(DenoisingPrior):
    r"""A prior for real-valued codes: a chain that turns noise into codes, with one net for all levels of noise.

    .. math:: z_t = \alpha_t z + \sigma_t \epsilon,\qquad
              \min_{\hat\epsilon} E_{z, \epsilon, t} \|\hat\epsilon(z_t, t) - \epsilon\|^2,\qquad
              z_s \sim q(z_s \mid z_t, \hat z),\quad \hat z = \frac{z_t - \sigma_t \hat\epsilon}{\alpha_t}

    Codes are standardised, by channel in a grid and number by number in a vector. The net learns what the prediction
    is beyond that for N(0, I), so that before training the prior is a Gaussian with mean and standard deviation of the
    codes.

    `nll` is the variational bound in continuous time, in nats, see `narrows.diffusion.bound`. In training all times
    have the same weight (L_simple of the paper), which the bound has not.

    Args:
        path: alpha and sigma by t. ``ddpm`` is the paper's chain of 1000 steps; ``cosine``; ``edm``, where noise of
            standard deviations from 0.002 to 80 is added; ``linear``, the path of flow matching.
        prediction: what the net predicts: the velocity ``v`` = alpha e - sigma z, the noise ``e``, as in the paper, or
            the codes ``x``. The loss is the squared error of the prediction, so that ``e`` learns little where there
            is much noise. On ``cosine`` and ``linear`` the noise does not determine the codes at t = 1.
        times: the law of t in training: ``uniform``, ``logit-normal`` or ``lognormal``, where log(sigma / alpha) is
            N(-1.2, 1.2^2); ``auto`` is ``lognormal`` for ``edm`` and else ``uniform``.

    Raises:
        RequestError: the symbols are indices, or an option is out of range.

    Example:
        >>> prior = Diffusion(Symbols((4,)), width=8, depth=1)
        >>> prior.sample(2, steps=5).shape, prior.nll(torch.zeros(3, 4)).shape
        (torch.Size([2, 4]), torch.Size([3]))

    Reference:
        Ho, Jain, Abbeel, Denoising Diffusion Probabilistic Models, 2020. arXiv:2006.11239. On codes: Rombach et al.,
        High-Resolution Image Synthesis with Latent Diffusion Models, 2021. arXiv:2112.10752
    """

    exact = False

    def __init__(
        self,
        symbols: Symbols,
        *,
        classes: int = 0,
        path: str = "ddpm",
        prediction: str = "v",
        times: str = "auto",
        draws: bool = True,
        elementwise: bool = False,
        labels: bool = False,
        width: int = 128,
        depth: int = 3,
        heads: int = 4,
        net: str = "auto",
    ) -> None:
        if times == "auto":
            times = "lognormal" if path == "edm" else "uniform"
        super().__init__(
            symbols,
            path=make_path(path),
            prediction=prediction,
            times=times,
            shift=1.0,
            classes=classes,
            draws=draws,
            elementwise=elementwise,
            labels=labels,
            width=width,
            depth=depth,
            heads=heads,
            net=net,
        )

    def nll(self, symbols: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """A bound of -log p of codes (n, *shape), in nats, (n,), estimated at 64 levels with fixed noise."""
        labels = self.known(condition, len(symbols))

        def denoise(x: Tensor, t: Tensor) -> Denoised:
            level = self.path.level(t).like(x)
            return read(self.prediction, self.predict(x, t, labels), x, level, self.path)

        z = self.standard(symbols.flatten(1)).view(-1, *self.symbols.shape)
        with seeded(0):
            return bound(denoise, z, self.path) + self.scale.log().sum()

    @torch.no_grad()
    def sample(
        self,
        n: int,
        condition: Condition = NO_CONDITION,
        *,
        steps: int = 50,
        sampler: str = "ddim",
        eta: float = 0.0,
        guidance: float = 1.0,
        guidance_interval: str = "0/1",
    ) -> Tensor:
        """n codes (n, *shape), in their own scale. `narrows.priors.SAMPLING` explains guidance.

        Args:
            n: how many.
            condition: their ``labels``, one-hot (n, G). A prior that is told labels draws them if none are given.
            steps: levels of noise that are passed, T; on the path ``ddpm`` at most its 1000.
            sampler: ``ddpm``, ancestral sampling, which needs many steps; ``ddim``; or a solver of the differential
                equation: ``euler``, ``ab2`` (one evaluation of the net a step), ``heun`` (two) or ``rk4`` (four).
            eta: the share of new noise in each step of ``ddim``: 0 for none, 1 for as much as in ``ddpm``.
        """
        if eta and sampler != "ddim":
            raise refuse(
                "eta", eta, f"0 for the sampler `{sampler}`", "Only ``sampler='ddim'`` has a choice."
            )
        labels, within = self.asked(condition, n, guidance, self.shift.device), interval(guidance_interval)
        levels = self.path.levels(steps)
        denoise = self.separator(levels, labels, guidance, within)
        z = draw(denoise, self.noise(n), self.path, levels, sampler=sampler, eta=eta)
        return self.own(z.flatten(1))
