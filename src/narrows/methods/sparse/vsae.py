"""The variational sparse autoencoder.

Baker, Li, Analysis of Variational Sparse Autoencoders, 2025. arXiv:2509.22994
"""

from __future__ import annotations

from narrows.bottlenecks.sparse.variational_topk import VariationalTopK
from narrows.core import Autoencoder, Spec, as_spec
from narrows.core.schedules import Schedule
from narrows.methods.sparse.shared import revival
from narrows.methods.sparse.topk_sae import default_latents, sparse_autoencoder
from narrows.objectives.sparse import SparseObjective

__all__ = ["vsae"]


def vsae(
    spec: Spec | tuple[int, ...],
    *,
    latents: int = 0,
    k: int = 16,
    beta: Schedule = 1.0,
    sample: bool = True,
    variance: str = "fixed",
    kl: str = "all",
    rectify: bool = True,
    dead: str = "none",
    aux_k: int = 0,
    aux_weight: Schedule = 1 / 32,
    dead_after: int = 0,
    unit_norm: bool = True,
    normalise: bool = True,
) -> Autoencoder:
    r"""A TopK autoencoder whose latents are drawn around the pre-activations and priced against a standard normal.

    .. math:: z \sim \mathcal{N}(\mu, I), \quad \mu = \mathrm{ReLU}(W (x - b_d) + b_e), \qquad
        \hat x = A^\top \mathrm{TopK}(|z|) + b_d, \qquad L = \|x - \hat x\|^2 + \beta\, \tfrac12 \|\mu\|^2

    The paper's finding is negative: the pressure toward the prior kills many latents and costs fidelity. The defaults
    are what the paper describes. Its published code differs, and each difference is an option here: ``sample=False``
    draws nothing, the setting with which its results were published (there, ``var_flag=0``); ``variance="learned"``
    has a second head for log sigma^2, clamped to [-6, 2]; ``kl="selected"`` sums over the latents that pass. Its
    warm-up of the KL over a tenth of training is a schedule, such as ``beta="linear:0:1:1000"``. With ``beta=0`` and
    ``sample=False`` this is `topk_sae`, exactly.

    Args:
        spec: what the data look like, or the shape of one example; flattened.
        latents: how many, N; when 0, eight for each number of an example, at most 16384.
        k: how many of them pass.
        beta: weight of the KL, beside a squared error summed over the example; may be a schedule.
        sample: draw latents in training; codes in use are always those of the means.
        variance: ``fixed`` at 1, or ``learned``.
        kl: the KL sums over ``all`` latents, or over the ``selected``.
        rectify: means are cut off at 0; else TopK compares them by size, and codes are signed.
        dead: what is done for dead latents: ``none``, or as in `topk_sae`.
        aux_k: how many dead latents predict the residual, with ``auxk``; when 0, half the numbers of an example.
        aux_weight: weight of that term; 0 leaves it out.
        dead_after: a latent is dead when it was off for more examples than this; when 0, a hundred times N / k.
        unit_norm: hold every atom at length 1.
        normalise: scale the data to mean square 1 inside the model.

    Raises:
        RequestError: an argument out of range; k larger than the number of latents; data with a target.

    Example:
        >>> import torch
        >>> from narrows.core import Batch
        >>> code = vsae((8,), latents=32, k=4).encode(Batch(torch.randn(5, 8)))
        >>> code.z.values.shape, code.costs["kl"].shape
        (torch.Size([5, 4]), torch.Size([5]))

    Reference:
        Baker, Li, Analysis of Variational Sparse Autoencoders, 2025. arXiv:2509.22994
    """
    spec = as_spec(spec)
    latents = latents or default_latents(spec)
    bottleneck = VariationalTopK(
        latents, k, width=spec.size, sample=sample, variance=variance, kl=kl, rectify=rectify
    )
    revived = revival(dead, spec, latents, k, dead_after=dead_after, aux_k=aux_k, aux_weight=aux_weight)
    objective = SparseObjective(revival=revived, weights={"kl": beta})
    return sparse_autoencoder(spec, bottleneck, objective, unit_norm=unit_norm, normalise=normalise)
