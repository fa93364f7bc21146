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
"""Points a step at which a nonlinear decoder is evaluated, where nobody says how many."""


class PrincipalFunctions(Gaussian):
    """A Gaussian posterior in an autoencoder whose linear decoder begins at the functions' principal components."""

    @torch.no_grad()
    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Set the linear maps of encoder and decoder from a batch."""
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
    r"""A VAE of functions: known at some points, each its own if need be, and decoded at any.

    .. math:: E_{q(z|u)}\left[ \frac{1}{2 \sigma^2} \int (u(y) - D(z)(y))^2 dy \right]
              + \beta\, \mathrm{KL}(q(z|u)\,\|\,N(0, I))

    Integrals are sums over the points with quadrature weights, in the encoder as well as in the likelihood, so that
    what is learned does not depend on the grid. A linear decoder begins at the principal functions of the data.

    Args:
        spec: what the data look like; of the kind ``field``.
        decoder: ``linear``, a mean function and a sum of modes; ``concat``, a net of position and code; ``split``, the
            same with a share of the code for each layer.
        noise: sigma, the deviation of white noise on the scaled functions: finer detail than it is left out.
        beta: weight of the divergence, a number or a schedule.
        width: how many integrals the encoder takes of a function.
        hidden: widths of the hidden layers of the decoder's net; 256 of a linear one, else 128 and 128, when empty.
        coordinates: how nets read positions: ``fourier:scale=3``, random features of so many cycles across the domain,
            or ``siren:w0=30``, layers of sines.
        queries: points a training step at which the decoder is evaluated, drawn anew each time; when 0, all of them for
            a linear decoder and 256 for another, which takes time for each.

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
