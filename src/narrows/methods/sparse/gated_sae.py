"""The gated sparse autoencoder.

Rajamanoharan et al., Improving Dictionary Learning with Gated Sparse Autoencoders, 2024. arXiv:2404.16014
"""

from __future__ import annotations

from narrows.bottlenecks.sparse.gated import Gated
from narrows.core import Autoencoder, Spec, as_spec
from narrows.core.schedules import Schedule
from narrows.methods.sparse.shared import priced_terms
from narrows.methods.sparse.topk_sae import default_latents, sparse_autoencoder
from narrows.objectives.gate import GatedObjective

__all__ = ["gated_sae"]


def gated_sae(
    spec: Spec | tuple[int, ...],
    *,
    latents: int = 0,
    l1: Schedule = 1.0,
    target_l0: float = 0.0,
    target_fvu: float = 0.0,
    frozen: bool = True,
    dead: str = "resample",
    dead_after: int = 0,
    aux_weight: Schedule = 1 / 32,
    unit_norm: bool = True,
    normalise: bool = True,
) -> Autoencoder:
    r"""Whether a latent is on, and how large it is, are decided apart, so that the price does not shrink it.

    .. math:: \pi = W (x - b_d) + b_{gate}, \quad
        z = 1[\pi > 0] \odot \mathrm{ReLU}(e^{r} \odot W (x - b_d) + b_{mag})

    .. math:: L = \|x - \hat x(z)\|^2 + \lambda \sum_n \mathrm{ReLU}(\pi_n)
        + \|x - \hat x_{frozen}(\mathrm{ReLU}(\pi))\|^2

    The gate is flat, and learns by the price and by the last term, in which the decoder is a constant.

    Args:
        spec: what the data look like, or the shape of one example; flattened.
        latents: how many, N; when 0, eight for each number of an example, at most 16384.
        l1: weight of the price, lambda.
        target_l0: how many latents shall be on in one example, on average; the weight is then steered. 0 is off.
        target_fvu: the share of variance that may stay unexplained; the weight is then steered. 0 is off.
        frozen: the last term teaches the decoder nothing, as in the paper; False as in SAELens.
        dead: what is done for dead latents: ``auxk``, ``resample``, ``ghost``, ``preact`` or ``none``.
        dead_after: a latent is dead when it was off for more examples than this; when 0, as many as suit the sizes.
        aux_weight: weight of the term by which dead latents learn, where there is one.
        unit_norm: hold every atom at length 1, as in the paper; else the price counts its length.
        normalise: scale the data to mean square 1 inside the model while it trains.

    Raises:
        RequestError: an argument out of range; both targets; data with a target of their own.

    Example:
        >>> model = gated_sae((8,), latents=32, target_l0=4)
        >>> import torch
        >>> from narrows.core import Batch
        >>> sorted(model.loss(Batch(torch.randn(5, 8))).terms)
        ['distortion', 'gate', 'l1']

    Reference:
        Rajamanoharan et al., Improving Dictionary Learning with Gated Sparse Autoencoders, 2024. arXiv:2404.16014
    """
    spec = as_spec(spec)
    latents = latents or default_latents(spec)
    terms = priced_terms(
        spec,
        latents,
        "l1",
        l1,
        target_l0=target_l0,
        target_fvu=target_fvu,
        dead=dead,
        dead_after=dead_after,
        aux_weight=aux_weight,
    )
    objective = GatedObjective(frozen=frozen, **terms)
    return sparse_autoencoder(spec, Gated(latents), objective, unit_norm=unit_norm, normalise=normalise)
