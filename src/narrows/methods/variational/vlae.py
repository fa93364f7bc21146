"""The variational lossy autoencoder."""

from __future__ import annotations

from torch import nn

from narrows.bottlenecks.priors.flow import FlowPrior
from narrows.core import Autoencoder, Part, Spec, as_spec
from narrows.core.check import choice, refuse, whole
from narrows.core.schedules import Schedule
from narrows.likelihoods.masked_pixels import Pixels
from narrows.methods.variational._assemble import gaussian_autoencoder
from narrows.nets.kinds import Net
from narrows.objectives.elbo import Elbo

__all__ = ["vlae"]


def vlae(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 16,
    window: int = 5,
    grey_levels: int = 0,
    features: int = 32,
    depth: int = 2,
    prior: str = "flow",
    beta: Schedule = 1.0,
    free_bits: float = 0.0,
    net: str | Net = "auto",
) -> Autoencoder:
    r"""A VLAE: an autoregressive decoder that sees a window of earlier pixels, and a flow as the prior.

    .. math:: E_{q(z|x)}\Big[\sum_i \log p(x_i \mid z, x_{W(i)})\Big] - \mathrm{KL}(q(z|x)\,\|\,p(z)), \qquad
        z = g(\epsilon),\; \epsilon \sim N(0, I)

    W(i) are the pixels before i in a square of side ``window`` around it. A decoder that sees all earlier pixels
    needs no code; what the window can predict costs no nats of the code either, so that z has what is not local. The
    prior is an autoregressive flow g with log p(z) = log N(g^-1(z)) + log |det dg^-1/dz|; a draw from it takes as
    many passes as there are latents, and its density one.

    Args:
        window: side of the square of which the decoder sees the earlier pixels, odd; 0 for all earlier pixels.
        grey_levels: number of values of a pixel from 0 to 1; 0 for 2 if the data are binary, and else 256.
        features: width of the pixel net, and channels of the decoder's map.
        depth: number of layers of the pixel net after the first, which do not widen the window.
        prior: ``flow``, or ``normal`` for N(0, I).
        beta: weight of the KL divergence, a number or a schedule.

    Raises:
        RequestError: data that are no images with values from 0 to 1, or an argument out of range.

    Example:
        >>> model = vlae(Spec((1, 8, 8), "binary"), latent=2, prior="normal")
        >>> model.likelihood.levels, model.sample(3, draw=True).unique()
        (2, tensor([0., 1.]))

    Reference:
        Chen, Kingma, Salimans, Duan, Dhariwal, Schulman, Sutskever, Abbeel, Variational Lossy Autoencoder, 2017.
        arXiv:1611.02731
    """
    spec = as_spec(spec)
    if spec.values not in ("binary", "unit"):
        fix = "Scale the data to lie between 0 and 1, or fit `vae` with a Gaussian likelihood."
        found = f"{spec.values} values of shape {spec.shape}"
        raise refuse("spec", found, "images with values from 0 to 1, whose levels are predicted", fix)
    levels = whole("grey_levels", grey_levels or (2 if spec.values == "binary" else 256), low=2)
    output = Pixels(spec.output_shape, levels, window, features, depth)
    flow = choice("prior", prior, ("flow", "normal")) == "flow"

    def autoregressive(encoder: nn.Module, latent: int) -> Part:
        return FlowPrior(latent, "maf")

    return gaussian_autoencoder(
        spec,
        Elbo(beta=beta, free_bits=free_bits),
        latent=latent,
        net=net,
        likelihood=output,
        prior=autoregressive if flow else None,
    )
