"""Base class of priors that carry noise to codes along a path: diffusion, flow matching, consistency models."""

from __future__ import annotations

from types import MappingProxyType

import torch
from torch import Tensor, nn

from narrows.core import NO_CONDITION, Batch, Condition, Loss, Pass, Symbols
from narrows.core.check import RequestError, choice, number, refuse
from narrows.diffusion.paths import Level, Levels, Path
from narrows.diffusion.predictions import Denoised, check_prediction, express, gaussian, read
from narrows.diffusion.samplers import Denoise, draw
from narrows.diffusion.times import draw_times
from narrows.nets.denoiser import denoiser
from narrows.nets.unet_denoiser import unet_denoiser
from narrows.priors.drawn import StandardCodes
from narrows.priors.labels import guided

__all__ = ["DenoisingPrior", "interval"]

_TERMS = {"x": "data", "e": "noise", "v": "velocity"}


class DenoisingPrior(StandardCodes):
    """Base class of priors with a net that separates codes from noise.

    The net learns what the prediction is beyond that for N(0, I), in units of the standard deviation of what N(0, I)
    leaves open: before training the prior is a Gaussian with the mean and the deviation of the codes. Weights are
    averaged.

    Args:
        symbols: what the bottleneck stores of an example.
        path: the path from codes to noise.
        prediction: what the net predicts: ``x``, ``e`` or ``v``.
        times: the law of times in training, see `narrows.diffusion.times.draw_times`.
        shift: see `narrows.diffusion.times.shifted`.
        classes: how many labels the data have.
        draws: of a code with a posterior, learn draws from it instead of its mean.
        elementwise: standardise each number of tokens and arrays, not each channel.
        labels: whether the prior is told them.
        width: width of the net.
        depth: number of blocks.
        heads: number of attention heads, for tokens and arrays.
        net: ``auto``, a perceptron for vectors and a transformer for tokens and arrays; or ``unet``.

    Raises:
        RequestError: the symbols are indices, or an option is out of range.
    """

    # The average's half-life is at most a tenth of the steps taken, whatever their number: its decay is at most
    # (1 + t) / (10 + t), see `narrows.train.average`.
    plan = MappingProxyType({"lr": 1e-3, "ema": 0.999})

    def __init__(
        self,
        symbols: Symbols,
        *,
        path: Path,
        prediction: str,
        times: str,
        shift: float,
        classes: int,
        draws: bool,
        elementwise: bool,
        labels: bool,
        width: int,
        depth: int,
        heads: int,
        net: str = "auto",
    ) -> None:
        super().__init__(symbols, draws, elementwise=elementwise, classes=classes, labels=labels)
        if prediction not in _TERMS:
            raise refuse("prediction", prediction, "one of `x`, `e`, `v`")
        self.path, self.prediction = path, check_prediction(prediction, path)
        self.times, self.time_shift = times, number("shift", shift, low=1e-3)
        draw_times(
            times, 1, path, torch.zeros(()), shift
        )  # refuses an unknown law before anything is trained
        if choice("net", net, ("auto", "unet")) == "unet":
            self.net: nn.Module = unet_denoiser(symbols, width, depth, self.classes)
        else:
            self.net = denoiser(symbols, width, depth, heads, self.classes)

    def _units(self, level: Level) -> tuple[Tensor, Tensor, Tensor]:
        """The prediction is plain * state + scale * net(norm * state): norm, plain and scale, like the level's."""
        norm = level.power.rsqrt()
        plain = express(self.prediction, gaussian(torch.ones_like(norm), level), level, self.path)
        # what is left has variance 1 where codes are N(0, I): data and noise that add up to the state 0
        rest = Denoised(-level.sigma * norm, level.alpha * norm)
        return norm, plain, express(self.prediction, rest, level, self.path)

    def predict(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        """The prediction at standardised states (n, *shape) and times (n,), or one time for all, (1,)."""
        norm, plain, scale = self._units(self.path.level(t).like(x))
        return plain * x + scale * self._net(x * norm, t, labels)

    def _net(self, x: Tensor, t: Tensor, labels: Tensor | None) -> Tensor:
        """The net's output; one time for all rows is embedded once, unless labels are added to it."""
        return self.net(x, t.expand(len(x)) if self.classes else t, labels)

    def loss(self, batch: Batch, step: int = 0, passed: Pass | None = None) -> Loss:
        """The mean squared error of the prediction, a number of the code."""
        z = self.standard(self.drawn(batch)).view(-1, *self.symbols.shape)
        labels = self.told(batch.condition, len(z))
        t, noise = self.times_and_noise(z)
        error = self.error(z, noise, t, labels).mean()
        return Loss(error, {_TERMS[self.prediction]: error.detach()})

    def error(self, z: Tensor, noise: Tensor, t: Tensor, labels: Tensor | None) -> Tensor:
        """The squared error of the prediction at standardised codes (n, *shape) with noise at times (n,)."""
        level = self.path.level(t).like(z)
        found = self.predict(level.alpha * z + level.sigma * noise, t, labels)
        return (found - express(self.prediction, Denoised(z, noise), level, self.path)).square()

    def times_and_noise(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """What is drawn in training for standardised codes (n, *shape): times (n,) and noise like the codes."""
        return draw_times(self.times, len(z), self.path, z, self.time_shift), torch.randn_like(z)

    def guided(
        self, x: Tensor, t: Tensor, labels: Tensor | None, guidance: float, within: tuple[float, float]
    ) -> Tensor:
        """The net's output at states (n, *shape) and a scalar time, with guidance inside of an interval of times.

        Args:
            x: standardised states, times `norm`.
            t: the time.
            labels: with guidance, labels of the n states and n rows of zeros; else of the states.
            guidance: the scale; 1 is none.
            within: the first and the last time with guidance.
        """
        if guidance == 1 or not within[0] <= float(t) <= within[1]:
            return self._net(x, t.view(1), None if labels is None else labels[: len(x)])
        return guided(self._net(torch.cat([x, x]), t.view(1), labels), guidance)

    def _table(self, times: Tensor) -> dict[float, list[float]]:
        """By time: norm, and the coefficients of state and net in the data, and in the noise, that are found."""
        level = self.path.level(times.double())
        norm, plain, scale = self._units(level)
        own = read(self.prediction, plain, torch.ones_like(plain), level, self.path)
        learned = read(self.prediction, scale, torch.zeros_like(plain), level, self.path)
        rows = torch.stack([norm, own.x, learned.x, own.e, learned.e], 1).tolist()
        return dict(zip(times.tolist(), rows, strict=True))

    def separator(
        self, levels: Levels, labels: Tensor | None, guidance: float, within: tuple[float, float]
    ) -> Denoise:
        """A function of states (n, *shape) and a scalar time that finds data and noise, see `guided`.

        What depends on the time alone is computed once, for all levels that a sampler passes.
        """
        known = self._table(levels.times[:-1].to(self.shift.dtype))

        def denoise(x: Tensor, t: Tensor) -> Denoised:
            time = float(t)
            if time not in known:
                known.update(self._table(t.view(1).cpu()))
            norm, own, learned, own_noise, learned_noise = known[time]
            found = self.guided(norm * x, t, labels, guidance, within)
            return Denoised(
                torch.add(own * x, found, alpha=learned), torch.add(own_noise * x, found, alpha=learned_noise)
            )

        return denoise

    @torch.no_grad()
    def states(
        self, n: int, condition: Condition = NO_CONDITION, *, steps: int = 8
    ) -> list[tuple[Tensor, Tensor | None]]:
        """The estimates of n codes at each level of noise, by ``ddim``; see `Prior.states`."""
        levels, found = self.path.levels(steps), list[Tensor]()
        denoise = self.separator(levels, self.asked(condition, n, 1.0, self.shift.device), 1.0, (0.0, 1.0))

        def seen(x: Tensor, t: Tensor) -> Denoised:
            both = denoise(x, t)
            found.append(both.x)
            return both

        draw(seen, self.noise(n), self.path, levels)  # ends with the last estimate
        return [(self.own(z.flatten(1)), None) for z in found]

    def noise(self, n: int) -> Tensor:
        """Draws of N(0, I), (n, *shape)."""
        return torch.randn(n, *self.symbols.shape, dtype=self.shift.dtype, device=self.shift.device)


def interval(text: str) -> tuple[float, float]:
    """The interval of times of a text such as ``0.2/0.8``.

    Raises:
        RequestError: these are not two times from 0 to 1 in order.

    Example:
        >>> interval("0.2/0.8")
        (0.2, 0.8)
    """
    try:
        low, high = (number("guidance_interval", float(one), low=0, high=1) for one in str(text).split("/"))
        if low > high:
            raise ValueError
    except (ValueError, RequestError):
        raise refuse("guidance_interval", text, "two times from 0 to 1 in order, such as `0.2/0.8`") from None
    return low, high
