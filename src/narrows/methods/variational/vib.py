"""The variational information bottleneck."""

from __future__ import annotations

from narrows.bottlenecks.gaussian.diagonal import Gaussian
from narrows.core import Autoencoder, Spec, as_spec
from narrows.core.predictor import Predictor
from narrows.core.schedules import Schedule
from narrows.methods._prediction import predicted
from narrows.nets import build
from narrows.nets.kinds import Net
from narrows.nets.logarithm import reading
from narrows.objectives.elbo import Elbo

__all__ = ["vib"]


def vib(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 16,
    beta: Schedule = 1e-2,
    net: str | Net = "auto",
) -> Autoencoder:
    r"""A VIB: a noisy code that keeps what predicts the label, and as little else of x as its weight demands.

    .. math:: \min \; E_{q(z|x)}[-\log q(y|z)] + \beta\, \mathrm{KL}(q(z|x)\,\|\,r(z)), \qquad r = N(0, I)

    In nats of the label. The net is that of the encoder. The decoder is linear, with the softmax of its output for
    labels, and a Gaussian of one learned variance if the data have a target. From a finite sample of labels it
    predicts with less overconfidence than maximum likelihood does. ``narrows predict`` writes the probabilities of
    the classes.

    Args:
        spec: description of the data, which must have label classes or a target.
        beta: weight of the KL divergence, a number or a schedule; 0 is maximum likelihood with a noisy code.

    Raises:
        RequestError: data without labels and target, or an argument out of range.

    Example:
        >>> model = vib(Spec((8,), classes=3), latent=2)
        >>> model.predict(Batch(torch.zeros(5, 8))).sum(1).allclose(torch.ones(5))
        True

    Reference:
        Alemi et al., Deep Variational Information Bottleneck, 2017. arXiv:1612.00410; Alemi, Morningstar, Poole,
        Fischer, Dillon, VIB is Half Bayes, 2020. arXiv:2011.08711
    """
    spec = as_spec(spec)
    output = predicted(spec, "vib", "vae")
    latent = build.code_width(latent, spec.shape)
    encoder = reading(spec, build.encoder(spec.shape, 2 * latent, net))
    decoder = build.decoder(latent, output.parameter_shape, "linear")
    return Predictor(encoder, Gaussian(latent), decoder, output, Elbo(beta=beta), labels=spec.target is None)
