"""The ladder variational autoencoder.

Sonderby, Raiko, Maaloe, Sonderby, Winther, Ladder Variational Autoencoders, NIPS 2016. arXiv:1602.02282
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from torch import Tensor, nn

from narrows import likelihoods
from narrows.bottlenecks.gaussian.ladder import Chain, Ladder, halved
from narrows.core import NO_CONDITION, Autoencoder, Condition, Spec, Tree, as_spec
from narrows.core.check import choice, whole
from narrows.core.schedules import Schedule
from narrows.nets import build
from narrows.objectives.elbo import Elbo

__all__ = ["BottomUp", "Lowest", "Normalised", "ladder_vae"]


class Normalised(nn.Module):
    """A net from the data to features, normalised over the features of each example.

    The paper normalises over the batch; here evaluating a loss moves no buffer, and an example's code does not
    depend on its neighbours.

    Args:
        net: ``(x, condition) -> (B, F)``.
        width: F.
    """

    def __init__(self, net: nn.Module, width: int) -> None:
        super().__init__()
        self.net, self.after = net, nn.Sequential(nn.LayerNorm(width), nn.SiLU())

    def forward(self, x: Tree, condition: Condition = NO_CONDITION) -> Tensor:
        """The features, (B, F)."""
        return self.after(self.net(x, condition))


class BottomUp(nn.Module):
    """The deterministic path upwards: features d_1 of the data, d_2 of d_1, and so on.

    Args:
        first: a net from the data to d_1, ``(x, condition) -> (B, F_1)``.
        widths: widths F_1 ... F_L of the features.
    """

    def __init__(self, first: nn.Module, widths: Sequence[int]) -> None:
        super().__init__()
        self.first = Normalised(first, widths[0])
        self.steps = nn.ModuleList(
            nn.Sequential(nn.Linear(below, above), nn.LayerNorm(above), nn.SiLU())
            for below, above in itertools.pairwise(widths)
        )

    def forward(self, x: Tree, condition: Condition = NO_CONDITION) -> list[Tensor]:
        """The features of each group, from the data upwards."""
        features = [self.first(x, condition)]
        for step in self.steps:
            features.append(step(features[-1]))
        return features


class Lowest(nn.Module):
    """A decoder that reads the lowest group alone, p(x | z_1).

    Args:
        net: the decoder of z_1.
        width: how many latents z_1 has; they come first.
    """

    def __init__(self, net: nn.Module, width: int) -> None:
        super().__init__()
        self.net, self.width = net, width

    def forward(self, z: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """(*samples, B, sum of widths) -> parameters of p(x | z_1)."""
        return self.net(z[..., : self.width], condition)


def ladder_vae(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 32,
    layers: int = 3,
    beta: Schedule = "linear:0:1:1000",
    free_bits: float = 0.0,
    inference: str = "top-down",
    width: int = 256,
    net: str = "auto",
    hidden: tuple[int, ...] = (),
    likelihood: str = "auto",
) -> Autoencoder:
    r"""A ladder VAE: several stochastic layers, inferred from the top down like they are generated.

    .. math:: q(z_i | z_{i+1}, x) \propto N(\hat\mu_i(x), \hat\sigma_i^2(x))\; p(z_i | z_{i+1}),\quad
              \mathrm{loss} = -E[\log p(x|z_1)] + \beta(t) \sum_i \mathrm{KL}_i

    Args:
        spec: what the data look like, or the shape of one example.
        latent: width of the lowest layer, which the decoder reads; each layer above is half as wide.
        layers: stochastic layers, L; 1 is the VAE.
        beta: weight of the divergence; by default it warms up over 1000 steps, which the paper finds crucial.
        free_bits: nats that each layer may carry free of charge.
        inference: ``top-down``, the ladder, or ``bottom-up``, the hierarchical VAE that the paper compares with.
        width: width of the deterministic features of each layer.
        net: ``auto``, ``linear``, ``mlp``, ``conv``, ``resnet`` or ``vit``.
        hidden: widths of the hidden layers of the nets next to the data; their own choice when empty.
        likelihood: p(x | z_1); ``auto`` is Bernoulli for binary values and pixels from 0 to 1, else Gaussian.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> model = ladder_vae((8,), latent=4, layers=2, width=16)
        >>> model.bottleneck.widths, model.sample(3).shape
        ((4, 2), torch.Size([3, 8]))

    Reference:
        Sonderby et al., Ladder Variational Autoencoders, 2016. arXiv:1602.02282
    """
    spec, width = as_spec(spec), whole("width", width)
    latents = halved(latent, layers)
    output = likelihoods.likelihood(likelihood, spec.output_shape, spec.values)
    first = build.encoder(spec.shape, width, net=net, hidden=hidden)
    decoder = Lowest(build.decoder(latents[0], output.parameter_shape, net=net, hidden=hidden), latents[0])
    objective = Elbo(beta=beta, free_bits=free_bits)
    if choice("inference", inference, ("top-down", "bottom-up")) == "bottom-up":
        return Autoencoder(Normalised(first, width), Chain(latents, width, width), decoder, output, objective)
    features = (width,) * len(latents)
    ladder = Ladder(latents, features, hidden=width)
    return Autoencoder(BottomUp(first, features), ladder, decoder, output, objective)
