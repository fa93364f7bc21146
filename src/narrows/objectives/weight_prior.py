"""A prior of weights, layer by layer, whose means and scales make outputs look like data before anything is learned."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.optim import Adam

from narrows.bottlenecks.deterministic.ensemble import EnsembleAutoencoder
from narrows.core import Autoencoder, Batch, Pass, Penalty
from narrows.core.check import number, refuse, whole
from narrows.objectives.distributional import Slicer

__all__ = ["WeightPrior"]

_ROWS, _DRAWS, _INNER, _RATE = 64, 4, 2, 0.03


class WeightPrior(Penalty):
    r"""Independent Gaussians of all weights, with one mean and one scale a tensor of weights.

    .. math:: p(w) = \prod_l N(w_l;\, m_l, s_l^2 I),\qquad
              (m, s) = \arg\min\; DSW_2\big(f(g(x; w); w),\, x\big),\quad w \sim p

    Before training, means and scales are optimised by Adam, with a rate that falls to 0, on the distributional sliced
    Wasserstein distance between outputs under weights of the prior and the data: model selection that needs no
    posterior. Its term is -log p(w) divided by the number N of training examples, without constants.

    Args:
        modules: encoder, decoder and likelihood, whose parameters have the prior.
        scale: the scale of all tensors, whose mean is 0; with 0 means and scales are optimised.
        iterations: steps of that optimisation.

    Raises:
        RequestError: an argument out of range.

    Reference:
        Tran et al., Model Selection for Bayesian Autoencoders, 2021. arXiv:2106.06245
    """

    means: Tensor
    scales: Tensor
    rows: Tensor

    def __init__(self, modules: Sequence[nn.Module], scale: float = 0.0, iterations: int = 400) -> None:
        super().__init__({})
        if number("prior_scale", scale) < 0:
            raise refuse("prior_scale", scale, "a scale above 0, or 0 to optimise it", "Try 0 or 1.")
        self.matched, self.iterations = scale == 0, whole("iterations", iterations, low=0)
        shapes = [[p.shape for p in module.parameters()] for module in modules]
        self.sizes = [[shape.numel() for shape in one] for one in shapes]
        first = [_start(shape) if self.matched else scale for one in shapes[:-1] for shape in one]
        first += [scale or 1.0] * len(shapes[-1])
        self.register_buffer("means", torch.zeros(len(first)))
        self.register_buffer("scales", torch.tensor(first))
        self.register_buffer("rows", torch.tensor(1))

    def set_rows(self, rows: int) -> None:
        """The number of training examples."""
        self.rows.fill_(rows)

    def forward(self, model: Autoencoder, passed: Pass) -> Mapping[str, Tensor]:
        """-log p(w) / N without constants, a scalar."""
        assert isinstance(model, EnsembleAutoencoder)
        weights = [p for sets in model.weight_sets for p in sets.module.parameters()]
        squares = [(p - m).square().sum() for p, m in zip(weights, self.means, strict=True)]
        energy = 0.5 * (torch.stack(squares) / self.scales.square()).sum()
        return {"weights": energy / self.rows}

    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Optimise means and scales on the data."""
        if not self.matched or not self.iterations:
            return
        assert isinstance(model, EnsembleAutoencoder)
        with torch.enable_grad():
            self._match(model, batch)

    def _match(self, model: EnsembleAutoencoder, batch: Batch) -> None:
        means = self.means.clone().requires_grad_()
        scales = self.scales.log().requires_grad_()
        optimizer = Adam([means, scales], _RATE)
        slicer = Slicer(batch.target[0].numel()).to(self.means)
        for step in range(self.iterations):
            optimizer.param_groups[0]["lr"] = _RATE * (1 - step / self.iterations)
            some = batch[torch.randint(len(batch), (min(_ROWS, len(batch)),), device=self.means.device)]
            made = torch.cat(
                [model.mean_under(self.draw(means, scales.exp()), some).flatten(1) for _ in range(_DRAWS)]
            )
            wanted = some.target.flatten(1).repeat(_DRAWS, 1)
            slicer.learn(made, wanted, _INNER)
            optimizer.zero_grad()
            slicer.distance(made, wanted).backward()
            optimizer.step()
        self.means.copy_(means.detach())
        self.scales.copy_(scales.detach().exp())

    def draw(self, means: Tensor | None = None, scales: Tensor | None = None) -> list[Tensor]:
        """Weights of each module from the prior, each (P,)."""
        means, scales = self.means if means is None else means, self.scales if scales is None else scales
        sizes = torch.tensor([size for one in self.sizes for size in one], device=means.device)
        mean, scale = (value.repeat_interleave(sizes) for value in (means, scales))
        drawn = torch.addcmul(mean, scale, torch.randn_like(mean))
        return list(drawn.split([sum(one) for one in self.sizes]))


def _start(shape: Sequence[int]) -> float:
    """The scale from which a tensor's is optimised: outputs keep the size of inputs, and biases are small."""
    return 1 / math.sqrt(math.prod(shape[1:])) if len(shape) > 1 else 0.1
