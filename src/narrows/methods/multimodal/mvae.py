"""The multimodal variational autoencoder: a product of experts for any subset of modalities."""

from __future__ import annotations

from narrows.bottlenecks.fusion.experts import FusedGaussian
from narrows.bottlenecks.fusion.product import Product
from narrows.core import Autoencoder, Spec
from narrows.core.schedules import Schedule
from narrows.methods.multimodal import _assemble as views
from narrows.objectives.subsets import SubsetElbo


def mvae(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 0,
    beta: Schedule = 1.0,
    subsets: int = 1,
    alone: bool = True,
    weights: str = "1",
    net: str = "auto",
    likelihood: str = "auto",
) -> Autoencoder:
    r"""An MVAE: one encoder and one decoder per modality, and a product-of-experts posterior.

    .. math:: q(z \mid x_A) \propto p(z) \prod_{m \in A} q_m(z \mid x_m),\qquad
              \mathrm{ELBO}(x_A) = \sum_{m \in A} \lambda_m E_q[\log p(x_m \mid z)] - \beta\,\mathrm{KL}(q\,\|\,p)

    Trained on the ELBO of all modalities of an example, of each modality alone and of random subsets, so that
    any may be missing afterwards; examples may lack modalities in training too. ``net``, ``likelihood`` and
    ``weights`` apply to all modalities, or are given by name: ``"image=conv,label=mlp:64"``.

    Args:
        beta: weight of the KL divergence, a number or a schedule; the paper uses a warm-up, as
            ``"linear:0:1:2000"``.
        subsets: number of random subsets of two or more modalities for each example and step, if there are at
            least three.
        alone: train on single modalities and random subsets too, not only on all modalities of an example.
        weights: weights of the modalities' distortions, lambda, as ``"label=2"``; with values other than 1 the
            loss is not a bound. To be sampled well, a label needs some weight relative to an image; with a
            weight of 50, codes of the image alone predict it worse.

    Raises:
        RequestError: data with one modality, or an argument out of range.

    Example:
        >>> parts = {"image": Spec((1, 8, 8), "unit"), "label": Spec((1,), "categories", classes=10)}
        >>> {name: tuple(x.shape) for name, x in mvae(Spec((), kind="views", parts=parts)).sample(3).items()}
        {'image': (3, 1, 8, 8), 'label': (3, 1)}

    Reference:
        Wu and Goodman, 2018. arXiv:1802.05335
    """
    parts = views.modalities(spec)
    width, output = views.code_width(latent, parts), views.joint_likelihood(parts, likelihood)
    objective = SubsetElbo(beta=beta, subsets=subsets, alone=alone, weights=views.weights_of(weights, parts))
    encoder, decoder = views.encoders(parts, 2 * width, net), views.decoders(width, parts, output, net)
    return Autoencoder(encoder, FusedGaussian(width, Product()), decoder, output, objective)
