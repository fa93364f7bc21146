"""The deep autoencoder for federated learning, which is solved layer by layer."""

import math

from narrows import likelihoods
from narrows.bottlenecks.deterministic.identity import Identity
from narrows.core import Autoencoder, Spec, as_spec
from narrows.core.check import at_least
from narrows.nets.build import code_width
from narrows.nets.closed_form import Solved, SolvedDecoder, SolvedEncoder


def daef(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 0,
    widths: tuple[int, ...] = (32,),
    activation: str = "tanh",
    ridge: float = 0.1,
) -> Autoencoder:
    r"""A deep autoencoder in closed form: nothing is optimised, and parts of the data are put together exactly.

    .. math:: z = f(U_Z^T x),\qquad w = U (S^2 + \lambda I)^{-1} U^T m,\quad
              X\,\mathrm{diag}(F) = U S V^T,\quad m = X (F^2 f^{-1}(d)),\quad F = f'(f^{-1}(d))

    The encoder has the leading singular vectors of the data. Each hidden layer of the decoder is the transpose of a
    layer that reconstructs its inputs from random features of them; the last layer reconstructs the examples. Each is
    a regularised least squares problem, for which errors are measured before the activation and weighted by its slope.
    Its statistics U S and m of several parts of the data are merged without the data: `nets.closed_form.SolvedDecoder`.

    The training is a pass over the data for each layer; there are no steps.

    Args:
        widths: of the decoder's hidden layers.
        activation: f: ``tanh``, ``logistic``, ``leaky-relu`` or ``linear``, which have an inverse.
        ridge: lambda of the least squares.

    Raises:
        RequestError: an activation without an inverse; more latents than elements or training examples.

    Example:
        >>> model = daef((8,), latent=2)
        >>> model.players(), model.features(Batch(torch.zeros(5, 8))).shape
        ([], torch.Size([5, 2]))

    Reference:
        Novoa-Paradela, Fontenla-Romero, Guijarro-Berdinas, Fast Deep Autoencoder for Federated Learning, 2022.
        arXiv:2206.05136
    """
    spec = as_spec(spec)
    size, width = math.prod(spec.shape), code_width(latent, spec.shape)
    output = likelihoods.Squared(spec.output_shape)
    encoder = SolvedEncoder(size, width, activation)
    decoder = SolvedDecoder(width, widths, output.parameter_shape, activation, at_least("ridge", ridge, 0))
    model = Autoencoder(encoder, Identity(), decoder, output, Solved())
    model.prepared_on = 1 << 18
    return model
