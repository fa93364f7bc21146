"""The contractive autoencoder."""

from narrows.bottlenecks.deterministic.identity import Identity
from narrows.core import Autoencoder, Likelihood, Spec, as_spec
from narrows.core.schedules import Schedule
from narrows.likelihoods import likelihood as make_likelihood
from narrows.methods.regularised._assemble import deterministic_autoencoder
from narrows.nets import NETS
from narrows.nets.build import code_width
from narrows.nets.kinds import Net
from narrows.nets.logarithm import reading
from narrows.nets.tied import SigmoidLayer, TiedDecoder
from narrows.objectives.contraction import CodeContraction


def contractive_ae(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 128,
    weight: Schedule = 0.1,
    net: str | Net = "auto",
    likelihood: str | Likelihood = "auto",
) -> Autoencoder:
    r"""A CAE: a code that changes little with its input, except in directions that reconstruction needs.

    .. math:: \min_{f, g} \; E_x \left[ -\log p(x \mid g(f(x)))
              + \lambda \left\| \frac{\partial f(x)}{\partial x} \right\|_F^2 \right]

    As published, ``net="auto"`` is one layer of sigmoid units whose weights the decoder shares, so that it cannot make
    up for a small code; the norm is then exact. Other nets have a decoder of their own, and the norm is estimated with
    one random direction.

    Args:
        weight: lambda.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> contractive_ae((8,), latent=4).reconstruct(Batch(torch.rand(3, 8))).shape
        torch.Size([3, 8])

    Reference:
        Rifai, Vincent, Muller, Glorot and Bengio, Contractive Auto-Encoders, 2011.
        https://icml.cc/2011/papers/455_icmlpaper.pdf
    """
    spec, objective = as_spec(spec), CodeContraction(weight)
    latent = code_width(latent, spec.shape)
    if not NETS.word(net) or spec.target is not None:
        return deterministic_autoencoder(spec, latent, net=net, likelihood=likelihood, objective=objective)
    output = make_likelihood(likelihood, spec.output_shape, spec.output_values)
    layer = SigmoidLayer(spec.shape, latent)
    return Autoencoder(
        reading(spec, layer), Identity(), TiedDecoder(layer, output.parameter_shape), output, objective
    )
