"""The ReLU sparse autoencoder with an L1 price, in the form of Bricken et al.

Bricken et al., Towards Monosemanticity, Anthropic, 2023.
Cunningham et al., Sparse Autoencoders Find Highly Interpretable Features in Language Models, 2023. arXiv:2309.08600
"""

from __future__ import annotations

from narrows.bottlenecks.sparse.relu import ReLU
from narrows.core import Autoencoder, Spec, as_spec
from narrows.core.check import choice
from narrows.core.schedules import Schedule
from narrows.methods.sparse.shared import priced_terms
from narrows.methods.sparse.topk_sae import default_latents, sparse_autoencoder
from narrows.objectives.sparse import SparseObjective

__all__ = ["relu_sae"]


def relu_sae(
    spec: Spec | tuple[int, ...],
    *,
    latents: int = 0,
    l1: Schedule = 1.0,
    target_l0: float = 0.0,
    target_fvu: float = 0.0,
    norm: str = "unit",
    dead: str = "resample",
    dead_after: int = 0,
    aux_weight: Schedule = 1 / 32,
    normalise: bool = True,
) -> Autoencoder:
    r"""A wide linear autoencoder with ReLU latents, whose sum is a price.

    .. math:: z = \mathrm{ReLU}(W (x - b_d) + b_e), \quad \hat x = A^\top z + b_d, \quad
        L = \|x - \hat x\|^2 + \lambda \sum_n z_n \|a_n\|

    The form is that of Bricken et al.; Cunningham et al. tie the two matrices and have no bias in the decoder. With
    ``norm="unit"`` atoms are held at length 1, as in 2023; with ``free`` they have any length, and the price counts it
    (Anthropic's update of April 2024, which also leaves out the first b_d). The L1 price pulls all latents
    toward 0, the large too, so that codes are smaller than what they stand for.

    Args:
        spec: what the data look like, or the shape of one example; flattened.
        latents: how many, N; when 0, eight for each number of an example, at most 16384.
        l1: weight of the price, lambda.
        target_l0: how many latents shall be on in one example, on average; the weight is then steered. 0 is off.
        target_fvu: the share of variance that may stay unexplained; the weight is then steered. 0 is off.
        norm: ``unit`` or ``free``.
        dead: what is done for dead latents: ``auxk``, ``resample``, ``ghost``, ``preact`` or ``none``.
        dead_after: a latent is dead when it was off for more examples than this; when 0, as many as suit the sizes.
        aux_weight: weight of the term by which dead latents learn, where there is one.
        normalise: scale the data to mean square 1 inside the model while it trains.

    Raises:
        RequestError: an argument out of range; both targets; data with a target of their own.

    Example:
        >>> model = relu_sae((8,), latents=32, target_l0=4)
        >>> import torch
        >>> from narrows.core import Batch
        >>> model.encode(Batch(torch.randn(5, 8))).z.shape
        torch.Size([5, 32])

    Reference:
        Cunningham et al., Sparse Autoencoders Find Highly Interpretable Features in Language Models, 2023.
        arXiv:2309.08600. Resampling: Bricken et al., Towards Monosemanticity, 2023
    """
    spec = as_spec(spec)
    latents = latents or default_latents(spec)
    objective = SparseObjective(
        **priced_terms(
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
    )
    unit = choice("norm", norm, ("unit", "free")) == "unit"
    return sparse_autoencoder(spec, ReLU(latents), objective, unit_norm=unit, normalise=normalise)
