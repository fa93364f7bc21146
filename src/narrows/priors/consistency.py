"""Consistency models: codes from noise in one step, learned without a teacher."""

from __future__ import annotations

import torch
from torch import Tensor

from narrows.core import NO_CONDITION, Batch, Condition, Loss, Pass, Symbols
from narrows.core.check import number, whole
from narrows.diffusion.paths import Level, Path
from narrows.priors.denoising import DenoisingPrior

__all__ = ["Consistency", "Noising"]

_LEAST = 0.01
"""Smallest time of training: a millionth of the largest level of noise."""
_SLOPE = 8.0
"""How much larger the gap of two times is where there is no noise: k of the paper, at b = 1."""


class Noising(Path):
    r"""The straight path to noise of standard deviation T, with more time at low levels of noise.

    .. math:: x_t = \left(1 - \frac{\sigma_t}{T}\right) x + \sigma_t\, \epsilon,\qquad \sigma_t = T\, t^3

    Args:
        largest: T.

    Example:
        >>> [round(float(value), 4) for value in Noising(10.0).level(torch.tensor(0.5))]
        [0.875, 1.25]
    """

    def __init__(self, largest: float) -> None:
        self.largest = largest

    def level(self, t: Tensor) -> Level:
        """alpha and sigma at times of any shape."""
        share = t**3
        return Level(1 - share, self.largest * share)

    def time(self, ratio: Tensor) -> Tensor:
        """The times at which sigma/alpha has these values."""
        return (1 + self.largest / ratio) ** (-1 / 3)  # also where the ratio is infinite


class Consistency(DenoisingPrior):
    r"""A prior for real-valued codes: a map from any level of noise to the code, the same along each path.

    .. math:: \min_f E_{z, \epsilon, t}\, \frac{1}{\sigma_t - \sigma_r}
              \left(\sqrt{\|f(x_t, t) - \mathrm{sg}\, f(x_r, r)\|^2 + c^2} - c\right),\qquad
              f(x, 0) = x,\quad x_t = \left(1 - \frac{\sigma_t}{T}\right) z + \sigma_t\, \epsilon

    Both states have the same noise. sigma_r is below sigma_t by a gap that is halved `stages` times, from half of it
    on (at low levels of noise all of it):

    .. math:: \sigma_r = \sigma_t \left(1 - \frac{1 + 8\, \mathrm{sigmoid}(-\sigma_t)}{2^{s + 1}}\right)_+,\qquad
              s = 0, \ldots, S - 1

    f is the posterior mean for N(0, I), which is x at t = 0, plus a net times a factor that is 0 there. sigma = T u^3
    with uniform u, near to the lognormal law of the paper. The paper adds noise to codes that keep their scale; the
    straight path, as in flow matching, is the same one in other units, and ends in noise alone.

    c is `huber` times the square root of the size of a code. Codes are standardised. There is no likelihood. In one
    step a sample is f(T e); in more it gets new noise, less and less, and is mapped again.

    Raises:
        RequestError: the symbols are indices, or an option is out of range.

    Example:
        >>> prior = Consistency(Symbols((4,)), width=8, depth=1)
        >>> prior.sample(2).shape, prior.sample(2, steps=3).shape
        (torch.Size([2, 4]), torch.Size([2, 4]))

    Reference:
        Geng et al., Consistency Models Made Easy, 2024. arXiv:2406.14548. Song and Dhariwal, Improved Techniques for
        Training Consistency Models, 2023. arXiv:2310.14189
    """

    path: Noising

    def __init__(
        self,
        symbols: Symbols,
        *,
        classes: int = 0,
        largest: float = 10.0,
        stages: int = 4,
        stage_steps: int = 300,
        huber: float = 0.5,
        draws: bool = True,
        elementwise: bool = False,
        labels: bool = False,
        width: int = 128,
        depth: int = 3,
        heads: int = 4,
    ) -> None:
        super().__init__(
            symbols,
            path=Noising(number("largest", largest, low=1.0)),
            prediction="x",
            times="uniform",
            shift=1.0,
            classes=classes,
            draws=draws,
            elementwise=elementwise,
            labels=labels,
            width=width,
            depth=depth,
            heads=heads,
        )
        self.stages, self.stage_steps = whole("stages", stages), whole("stage_steps", stage_steps)
        self.huber = number("huber", huber, low=1e-6)

    def earlier(self, t: Tensor, step: int) -> Tensor:
        """The times r of the targets of times t in a step of training."""
        sigma = self.path.level(t).sigma
        stage = min(step // self.stage_steps, self.stages - 1)
        kept = 1 - (1 + _SLOPE * torch.sigmoid(-sigma)) / 2 ** (stage + 1)
        return t * kept.clamp_min(0) ** (1 / 3)

    def times_and_noise(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """What is drawn in training for standardised codes (n, *shape): times (n,) and noise like the codes."""
        t, noise = super().times_and_noise(z)
        return t.clamp_min(_LEAST), noise

    def learned_from(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Draws of the codes of a batch, standardised (B, *shape), and their labels."""
        z = self.standard(self.drawn(batch)).view(-1, *self.symbols.shape)
        return z, self.told(batch.condition, len(z))

    def difference(self, z: Tensor, noise: Tensor, t: Tensor, labels: Tensor | None, step: int) -> Tensor:
        """The weighted difference of f at times t (n,) and at the earlier ones, (n,)."""
        before = self.earlier(t, step)
        levels = [self.path.level(time).like(z) for time in (t, before)]
        states = [level.alpha * z + level.sigma * noise for level in levels]
        with torch.no_grad():
            target = self.predict(states[1], before, labels)
        squares = (self.predict(states[0], t, labels) - target).square().flatten(1).sum(1)
        c = self.huber * self.size**0.5
        gap = (levels[0].sigma - levels[1].sigma).flatten()
        return ((squares + c * c).sqrt() - c) / gap

    def loss(self, batch: Batch, step: int = 0, passed: Pass | None = None) -> Loss:
        """The mean weighted difference of a batch of codes."""
        z, labels = self.learned_from(batch)
        t, noise = self.times_and_noise(z)
        error = self.difference(z, noise, t, labels, step).mean()
        return Loss(error, {"consistency": error.detach()})

    def noise_for(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """Noise for standardised codes (n, *shape), when they get new noise in sampling."""
        return torch.randn_like(z)

    @torch.no_grad()
    def sample(
        self, n: int, condition: Condition = NO_CONDITION, *, steps: int = 1, guidance: float = 1.0
    ) -> Tensor:
        """n codes (n, *shape), in their own scale. `narrows.priors.SAMPLING` explains guidance.

        Args:
            n: how many.
            condition: their ``labels``, one-hot (n, G). A prior that is told labels draws them if none are given.
            steps: evaluations of the net: one from noise, and one after each time that a sample gets new noise.
        """
        labels = self.asked(condition, n, guidance, self.shift.device)
        own = None if labels is None else labels[:n]
        x = self.path.largest * self.noise(n)
        for i, t in enumerate(torch.linspace(1, 0, whole("steps", steps) + 1).to(x)[:-1]):
            level = self.path.level(t)
            if i:
                x = level.alpha * x + level.sigma * self.noise_for(x, own)
            norm, plain, scale = self._units(level)
            x = plain * x + scale * self.guided(norm * x, t, labels, guidance, (0.0, 1.0))
        return self.own(x.flatten(1))
