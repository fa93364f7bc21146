"""The quantised-latent autoencoder."""

import math

from narrows import likelihoods
from narrows.bottlenecks.discrete.latent import LatentQuantizer
from narrows.core import Autoencoder, Likelihood, Objective, Prior, Spec, as_spec
from narrows.nets import build
from narrows.nets.kinds import Net
from narrows.nets.logarithm import reading
from narrows.priors import make_prior


def qlae(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 10,
    values: int = 10,
    quantise: float = 0.01,
    commit: float = 0.01,
    bounded: bool = True,
    prior: str | Prior = "autoregressive",
    net: str | Net = "auto",
    likelihood: str | Likelihood = "auto",
) -> Autoencoder:
    r"""A QLAE: each latent is one of a few learned scalars of its own, under strong weight decay, for disentanglement.

    .. math:: -\frac1D \log p(x \mid \hat z) + \frac{\alpha}{Z} \|\mathrm{sg}(z) - \hat z\|^2
              + \frac{\beta}{Z} \|z - \mathrm{sg}(\hat z)\|^2,\qquad
              \hat z_j = \arg\min_{v \in V_j} |z_j - v|

    The loss is this times D, the number of elements of an example, as of all methods. Unless told otherwise it is
    trained by AdamW with a weight decay of 0.1; the authors use twice as many latents as there are factors.

    Args:
        values: number of scalars of each latent.
        quantise: alpha, the weight of the cost that moves the scalars, relative to the distortion of one element.
        commit: beta, the weight of the cost that moves the encoder, likewise.
        bounded: pass no gradient of the reconstruction to a latent beyond its outermost scalars; the paper does.

    Raises:
        RequestError: an argument out of range, or a prior on labels that the data do not have.

    Example:
        >>> model = qlae((8,), latent=4, values=3)
        >>> model.features(Batch(torch.zeros(5, 8))).shape, model.bottleneck.symbols.codes
        (torch.Size([5, 4]), 3)

    Reference:
        Hsu, Dorrell, Whittington, Wu, Finn, Disentanglement via Latent Quantization, 2023. arXiv:2305.18378
    """
    spec = as_spec(spec)
    latent = build.code_width(latent, spec.shape)
    output = likelihoods.likelihood(likelihood, spec.output_shape, spec.output_values)
    encoder = reading(spec, build.encoder(spec.shape, latent, net))
    decoder = build.decoder(latent, output.parameter_shape, net)
    bottleneck, elements = LatentQuantizer(latent, values, bounded), math.prod(spec.output_shape)
    objective = Objective(weights={"quantise": quantise * elements, "commit": commit * elements})
    second = make_prior(prior, bottleneck.symbols, spec.classes, spec.shape)
    model = Autoencoder(encoder, bottleneck, decoder, output, objective, prior=second)
    model.default_plan = {"optimizer": "adamw", "weight_decay": 0.1}
    return model
