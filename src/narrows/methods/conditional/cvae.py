"""The conditional variational autoencoder, told attributes on both sides.

Debbagh, Learning Structured Output Representations from Attributes using Deep Conditional Generative Models, 2023.
arXiv:2305.00980; after Sohn, Lee, Yan, Learning Structured Output Representation using Deep Conditional Generative
Models, NIPS 2015.
"""

from __future__ import annotations

from narrows import likelihoods
from narrows.bottlenecks.gaussian.conditional import Conditional, ConditionedEncoder
from narrows.core import Autoencoder, Spec, as_spec
from narrows.core.check import RequestError, choice
from narrows.core.schedules import Schedule
from narrows.nets import build
from narrows.objectives.elbo import Elbo

__all__ = ["cvae"]


def cvae(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 16,
    beta: Schedule = 1.0,
    prior: str = "standard",
    free_bits: float = 0.0,
    net: str = "auto",
    hidden: tuple[int, ...] = (),
    likelihood: str = "auto",
) -> Autoencoder:
    r"""A CVAE: encoder, decoder and, if it is learned, the prior are told the attribute y.

    .. math:: E_{q(z|x,y)}[\log p(x|z,y)] - \beta\,\mathrm{KL}(q(z|x,y)\,\|\,p(z|y))

    Args:
        spec: what the data look like; it must have label classes.
        latent: width of the code, Z.
        beta: weight of the divergence: less gives more diverse samples, more gives more faithful ones.
        prior: ``standard``, N(0, I) whatever y is, so that z holds what y does not say; or ``learned``, one
            Gaussian a class.
        free_bits: nats that each latent may carry free of charge.
        net: ``auto``, ``linear``, ``mlp``, ``conv``, ``resnet`` or ``vit``.
        hidden: widths of the hidden layers; the net's own choice when empty.
        likelihood: p(x | z, y); ``auto`` is Bernoulli for binary values and pixels from 0 to 1, else Gaussian.

    Raises:
        RequestError: data without labels, or an argument out of range.

    Example:
        >>> import torch
        >>> model = cvae(Spec((8,), classes=3), latent=2)
        >>> model.sample(3, condition={"labels": torch.eye(3)}).shape
        torch.Size([3, 8])

    Reference:
        Debbagh, 2023. arXiv:2305.00980; Sohn, Lee, Yan, 2015.
    """
    spec = as_spec(spec)
    if spec.classes < 1:
        raise RequestError(
            "A CVAE is told labels, and these data have none. Name them with ``labels``, or fit `vae`."
        )
    told = {"labels": spec.classes}
    learned = choice("prior", prior, ("standard", "learned")) == "learned"
    bottleneck = Conditional(latent, told, learned)
    output = likelihoods.likelihood(likelihood, spec.output_shape, spec.values)
    encoder = build.encoder(spec.shape, 2 * latent, net=net, hidden=hidden, condition=told)
    decoder = build.decoder(latent, output.parameter_shape, net=net, hidden=hidden, condition=told)
    objective = Elbo(beta=beta, free_bits=free_bits)
    return Autoencoder(
        ConditionedEncoder(encoder, told),
        bottleneck,
        decoder,
        output,
        objective,
        conditions=("labels",),
    )
