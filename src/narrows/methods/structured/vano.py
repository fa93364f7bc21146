"""Variational autoencoding neural operators: a VAE whose data are functions.

Seidman, Kissas, Pappas and Perdikaris, Variational Autoencoding Neural Operators, ICML 2023. arXiv:2302.10351
"""

import torch
from torch import nn

from narrows.bottlenecks.gaussian.diagonal import Gaussian
from narrows.core import Autoencoder, Batch, Spec, as_spec
from narrows.core.check import choice, whole
from narrows.core.schedules import Schedule
from narrows.likelihoods.field import FunctionGaussian
from narrows.nets.build import code_width
from narrows.nets.field import DECODERS, FieldEncoder, LinearDecoder, NonlinearDecoder
from narrows.nets.field_start import principal_start
from narrows.objectives.some_points import SomePoints

__all__ = ["vano"]

QUERIES = 256
"""The default number of points per step at which a nonlinear decoder is evaluated."""


class PrincipalFunctions(Gaussian):
    """A Gaussian posterior, with the linear decoder initialised by principal components of functions."""

    @torch.no_grad()
    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Initialise the linear maps of encoder and decoder from a batch."""
        encoder, decoder, output = model.encoder, model.decoder, model.likelihood
        assert isinstance(encoder, FieldEncoder)
        assert isinstance(decoder, LinearDecoder)
        assert isinstance(output, FunctionGaussian)
        principal_start(encoder, decoder, batch.x, batch.condition, output.noise)


def vano(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 16,
    decoder: str = "linear",
    noise: float = 0.01,
    beta: Schedule = 1.0,
    free_bits: float = 0.0,
    width: int = 64,
    hidden: tuple[int, ...] = (),
    coordinates: str = "fourier",
    queries: int = 0,
) -> Autoencoder:
    r"""A VAE of functions, observed at any points and decoded at any others.

    .. math:: E_{q(z|u)}\left[ \frac{1}{2 \sigma^2} \int (u(y) - D(z)(y))^2 dy \right]
              + \beta\, \mathrm{KL}(q(z|u)\,\|\,N(0, I))

    Integrals are sums over the points with quadrature weights, in the encoder and in the likelihood, so that
    training does not depend on the grid. A linear decoder is initialised with the principal functions of the
    data.

    Args:
        spec: description of the data, of the kind ``field``.
        decoder: ``linear``, a mean function and a sum of modes; ``concat``, a net of position and code;
            ``split``, the same with a part of the code for each layer.
        noise: sigma, the standard deviation of white noise on the scaled functions: finer detail is not
            modelled.
        beta: weight of the KL divergence, a number or a schedule.
        width: number of integrals that the encoder computes of a function.
        hidden: widths of the hidden layers of the decoder's net; if empty, 256 for a linear one, else 128 and
            128.
        coordinates: the positional encoding of nets: ``fourier:scale=3``, random Fourier features with this
            many cycles across the domain, or ``siren:w0=30``, layers of sines.
        queries: number of random points per training step at which the decoder is evaluated; with 0, all of
            them for a linear decoder and 256 for a nonlinear one, which is evaluated for each.

    Raises:
        RequestError: data of another kind, or an argument out of range.

    Example:
        >>> model = vano(Spec((64, 1), kind="field", conditions={"positions": (64, 1)}), latent=3)
        >>> model.sample(2, {"positions": torch.rand(2, 200, 1)}).shape
        torch.Size([2, 200, 1])

    Reference:
        Seidman, Kissas, Pappas, Perdikaris, Variational Autoencoding Neural Operators, 2023. arXiv:2302.10351
    """
    spec = as_spec(spec, "field")
    latent = code_width(latent, spec.shape)
    width = max(whole("width", width), latent)
    k = spec.conditions.get("positions", (1,))[-1]
    linear = choice("decoder", decoder, DECODERS) == "linear"
    if linear:
        net: nn.Module = LinearDecoder(latent, spec.output_shape, k, hidden or (256,), coordinates)
    else:
        net = NonlinearDecoder(
            latent, spec.output_shape, k, decoder == "split", hidden or (128, 128), coordinates
        )
        queries = queries or QUERIES
    return Autoencoder(
        FieldEncoder(spec.shape, k, 2 * latent, width=width, coordinates=coordinates),
        PrincipalFunctions(latent) if linear else Gaussian(latent),
        net,
        FunctionGaussian(spec.output_shape, noise),
        SomePoints(queries, beta=beta, free_bits=free_bits),
    )
