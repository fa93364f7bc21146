"""p(image | z) by an autoregressive net inside the likelihood, with a window of earlier pixels."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from narrows.core import Likelihood, Pass
from narrows.core.check import whole
from narrows.likelihoods.bernoulli import Bernoulli
from narrows.likelihoods.categorical import Categorical
from narrows.nets.pixels import PixelNet

__all__ = ["Pixels"]


class Pixels(Likelihood):
    r"""Each pixel given the earlier pixels within a window around it, and the code.

    .. math:: -\log p(x \mid z) = -\sum_i \log p(x_i \mid z, x_{W(i)})

    The decoder's output is a conditioning map, (*samples, B, features, H, W). `nll` uses teacher forcing: all
    pixels in one pass. `mean` and `sample` generate pixel by pixel from the map alone, with the activations of one
    pixel a step. With a small window, only what is not local must be in z.

    Args:
        shape: shape of one image, (C, H, W).
        levels: number of values of a pixel from 0 to 1: 2 for a Bernoulli variable, otherwise a categorical one.
        window: side of the square around a pixel whose earlier pixels are seen, odd; 0 for all earlier pixels.
        features: width of the net and channels of the map.
        depth: number of residual layers, which do not widen the window.

    Raises:
        RequestError: a shape that is no image, an even window, or a number out of range.

    Example:
        >>> p = Pixels((1, 6, 6), features=8)
        >>> z = torch.zeros(2, 8, 6, 6)
        >>> p.nll(z, torch.zeros(2, 1, 6, 6)).shape, p.sample(z).shape
        (torch.Size([2]), torch.Size([2, 1, 6, 6]))

    Reference:
        Chen et al., Variational Lossy Autoencoder, 2017, section 3. arXiv:1611.02731
    """

    autoregressive = True

    def __init__(
        self,
        shape: tuple[int, ...],
        levels: int = 2,
        window: int = 5,
        features: int = 32,
        depth: int = 2,
    ) -> None:
        super().__init__(shape)
        self.levels = whole("levels", levels, low=2)
        self.image = Bernoulli(shape) if levels == 2 else Categorical(shape, levels)
        self.one = Bernoulli((1,)) if levels == 2 else Categorical((1,), levels)
        self.net = PixelNet(shape, 1 if levels == 2 else levels, window, features, depth)

    @property
    def parameter_shape(self) -> tuple[int, ...]:
        """The shape of the conditioning map of one example."""
        return (self.net.features, *self.shape[1:])

    def nll(self, parameters: Tensor, x: Tensor, weight: Tensor | None = None) -> Tensor:
        """-log p(x | z) in nats, (*samples, B)."""
        return self.image.nll(self.outputs(parameters, x), x, weight)

    def outputs(self, parameters: Tensor, x: Tensor) -> Tensor:
        """The parameters of all pixels given the true earlier ones, (*samples, B, C * out, H, W)."""
        lead = parameters.shape[:-3]
        flat = x.expand(*lead, *self.shape).reshape(-1, *self.shape)
        y = self.net(2 * flat - 1, parameters.reshape(-1, *self.parameter_shape))
        y = y.unflatten(1, (self.shape[0], self.net.out)).transpose(1, 2)  # as `Categorical` has them
        return y.reshape(*lead, -1, *self.shape[1:])

    def teacher_forced(self, passed: Pass) -> Tensor:
        """The mean of each pixel given the true earlier ones, (*samples, B, C, H, W)."""
        return self.image.mean(self.outputs(passed.output, passed.batch.target))

    def mean(self, parameters: Tensor) -> Tensor:
        """The mean of each pixel given the means of earlier ones, (*samples, B, C, H, W)."""
        return self._generate(parameters, self.one.mean)

    def sample(self, parameters: Tensor) -> Tensor:
        """A draw, (*samples, B, C, H, W)."""
        return self._generate(parameters, self.one.sample)

    @torch.no_grad()
    def _generate(self, parameters: Tensor, choose: Callable[[Tensor], Tensor]) -> Tensor:
        """Pixel by pixel: of the net, only what the pixel needs is computed."""
        net, condition = self.net, parameters.reshape(-1, *self.parameter_shape)
        channels, height, width = self.shape
        # zeros where no pixels are; the window of a pixel never holds what is not yet written
        x = net.padded(condition.new_zeros(len(condition), channels, height, width))
        kernel = net.kernel
        for i in range(height):
            for j in range(width):
                patch = x[:, :, i : i + net.up + 1, j : j + 2 * net.side + 1]
                for channel in range(channels):
                    found = choose(net.at(patch, condition[:, :, i, j], kernel, channel))
                    x[:, channel, i + net.up, j + net.side] = 2 * found.squeeze(-1) - 1
        drawn = x[:, :, net.up :, net.side : net.side + width]
        return (0.5 * (drawn + 1)).reshape(*parameters.shape[:-3], *self.shape)
