"""The conditional variational autoencoder."""

from narrows import likelihoods
from narrows.bottlenecks.gaussian.conditional import Conditional, ConditionedEncoder
from narrows.core import Autoencoder, Likelihood, Spec, as_spec
from narrows.core.check import RequestError
from narrows.core.schedules import Schedule
from narrows.nets import build
from narrows.nets.kinds import Net
from narrows.nets.logarithm import reading
from narrows.objectives.elbo import Elbo


def cvae(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 16,
    beta: Schedule = 1.0,
    learned_prior: bool = False,
    free_bits: float = 0.0,
    net: str | Net = "auto",
    likelihood: str | Likelihood = "auto",
) -> Autoencoder:
    r"""A CVAE: encoder, decoder and, if it is learned, the prior are conditioned on an attribute y.

    .. math:: E_{q(z|x,y)}[\log p(x|z,y)] - \beta\,\mathrm{KL}(q(z|x,y)\,\|\,p(z|y))

    Args:
        spec: description of the data, which must have label classes.
        beta: weight of the KL divergence: smaller values give more diverse samples, larger ones more faithful
            ones.
        learned_prior: p(z | y) is one learned Gaussian per class; else N(0, I) for every y, so that z
            describes what y does not.

    Raises:
        RequestError: data without labels, or an argument out of range.

    Example:
        >>> model = cvae(Spec((8,), classes=3), latent=2)
        >>> model.sample(3, condition={"labels": torch.eye(3)}).shape
        torch.Size([3, 8])

    Reference:
        Debbagh, 2023. arXiv:2305.00980; Sohn, Lee, Yan, 2015.
    """
    spec = as_spec(spec)
    if spec.classes < 1:
        raise RequestError(
            "A CVAE needs labels, and these data have none. Name them with ``labels``, or fit `vae`."
        )
    condition = {"labels": spec.classes}
    latent = build.code_width(latent, spec.shape)
    bottleneck = Conditional(latent, condition, learned_prior)
    output = likelihoods.likelihood(likelihood, spec.output_shape, spec.output_values)
    encoder = reading(spec, build.encoder(spec.shape, 2 * latent, net, condition))
    decoder = build.decoder(latent, output.parameter_shape, net, condition)
    objective = Elbo(beta=beta, free_bits=free_bits)
    encoder = ConditionedEncoder(encoder, condition)
    return Autoencoder(encoder, bottleneck, decoder, output, objective, conditions=("labels",))
