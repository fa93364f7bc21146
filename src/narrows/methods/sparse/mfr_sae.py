"""Sparse autoencoders with mutual feature regularisation.

Marks, Paren, Krueger, Barez, Enhancing Neural Network Interpretability with Feature-Aligned Sparse Autoencoders, 2024.
arXiv:2411.01220
"""

from __future__ import annotations

from narrows.bottlenecks.sparse.ensemble import Ensemble
from narrows.core import Autoencoder, Spec, as_spec
from narrows.core.check import choice
from narrows.core.schedules import Schedule
from narrows.methods.sparse.shared import revival
from narrows.methods.sparse.topk_sae import default_latents, sparse_autoencoder
from narrows.objectives.mutual import MutualFeatures

__all__ = ["mfr_sae"]


def mfr_sae(
    spec: Spec | tuple[int, ...],
    *,
    latents: int = 0,
    k: int = 16,
    members: int = 2,
    mfr: Schedule = "linear:0:0.02:100",
    dead: str = "resample",
    aux_k: int = 0,
    aux_weight: Schedule = 1 / 32,
    dead_after: int = 0,
    unit_norm: bool = True,
    normalise: bool = True,
) -> Autoencoder:
    r"""Several TopK autoencoders trained together, and rewarded for features that the others have found too.

    .. math:: L = \frac1S \sum_s \|x - \hat x_s\|^2
        + \lambda V \Big(1 - \binom{S}{2}^{-1} \sum_{s < t} \mathrm{MMCS}(A_s, A_t)\Big)

    What several find is more likely to be in the data. All members see the same batches and share the bias;
    the code has the latents of all, one member after the other, and the reconstruction is the mean of theirs.
    ``model.bottleneck.use(0)`` goes on with one of them. Inactive latents begin anew, in four rounds, ten times earlier
    than in `relu_sae` (the authors' code begins anew with a whole member instead).

    Args:
        spec: what the data look like, or the shape of one example; flattened.
        latents: how many each member has, N; when 0, eight for each number of an example, at most 16384.
        k: how many of them may be on in one example, in each member.
        members: how many there are, S.
        mfr: weight of the penalty, lambda; 0 trains the members side by side.
        dead: what is done for inactive latents: ``resample``, ``auxk`` or ``none``.
        aux_k: how many dead latents predict the residual, with ``auxk``; when 0, half the numbers of an example.
        aux_weight: weight of their error, with ``auxk``.
        dead_after: a latent is inactive when it was off for more examples than this; when 0, a hundred times N / k.
        unit_norm: hold every atom at length 1.
        normalise: scale the data to mean square 1 inside the model.

    Raises:
        RequestError: an argument out of range; k larger than the number of latents; data with a target.

    Example:
        >>> import torch
        >>> from narrows.core import Batch
        >>> model = mfr_sae((8,), latents=32, k=4, members=3)
        >>> model.encode(Batch(torch.randn(5, 8))).seen["members"].values.shape
        torch.Size([5, 3, 4])

    Reference:
        Marks, Paren, Krueger, Barez, Enhancing Neural Network Interpretability with Feature-Aligned Sparse
        Autoencoders, 2024. arXiv:2411.01220
    """
    spec = as_spec(spec)
    latents = latents or default_latents(spec)
    bottleneck = Ensemble(members, latents, k)
    choice("dead", dead, ("resample", "auxk", "none"))
    after = dead_after or 100 * -(-latents // k)
    terms = revival(dead, spec, latents, k, dead_after=after, aux_k=aux_k, aux_weight=aux_weight)
    objective = MutualFeatures(weight=mfr, revival=terms)
    return sparse_autoencoder(spec, bottleneck, objective, unit_norm=unit_norm, normalise=normalise)
