"""The TopK sparse autoencoder."""

from typing import Any

from narrows.bottlenecks.sparse.topk import TopK
from narrows.core import Autoencoder, Spec
from narrows.core.check import refuse
from narrows.core.schedules import Schedule
from narrows.methods.sparse._assemble import dead_latents, sparse_autoencoder, spec_and_latents
from narrows.objectives.dead_latents import DeadLatents
from narrows.objectives.multi_topk import MultiTopK
from narrows.objectives.sparse import SparseObjective


def topk_sae(
    spec: Spec | tuple[int, ...],
    *,
    latents: int = 0,
    k: int = 16,
    dead: str | DeadLatents = "auxk",
    multi_topk: Schedule = 0.0,
    begin_k: int = 0,
    anneal: int = 0,
    unit_norm: bool = True,
    normalise: bool = True,
    centre: bool = True,
    token_norm: str = "none",
    by_norm: bool = False,
    groupmax: bool = False,
) -> Autoencoder:
    r"""A linear autoencoder with k active latents, and an auxiliary loss that revives dead ones.

    .. math:: z = \mathrm{ReLU}(\mathrm{TopK}(W (x - b_d) + b_e)), \qquad \hat x = A^\top z + b_d

    The loss is the squared error and the auxiliary loss of `objectives.dead_latents.AuxK`. k-Sparse
    Autoencoders (2013, `k_sparse_ae`) has no ReLU and decodes with the encoder's weights; this is the later
    form: a ReLU after the selection, a decoder that is tied only initially, normalised atoms, and the
    auxiliary loss instead of annealing k. Multi-TopK adds the error of a code of 4 k latents, so that the
    trained model works with other k too.

    Args:
        multi_topk: weight of the error with 4 k latents; 1/8 in the paper's multi-TopK.
        groupmax: keep the largest of each of k groups of consecutive latents instead of the k largest.

    Raises:
        RequestError: an argument out of range; k larger than the number of latents; data with a target.

    Example:
        >>> model = topk_sae((8,), latents=32, k=4)
        >>> model.encode(Batch(torch.randn(5, 8))).z.values.shape
        torch.Size([5, 4])

    Reference:
        Gao et al., Scaling and Evaluating Sparse Autoencoders, 2024. arXiv:2406.04093
    """
    spec, latents = spec_and_latents(spec, "topk-sae", latents)
    bottleneck = TopK(latents, k, begin=begin_k, over=anneal, groupmax=groupmax)
    revived = dead_latents(dead, latents, k, spec.size)
    plain = multi_topk == 0
    if not plain and token_norm != "none":
        raise refuse("token_norm", token_norm, "`none` with multi-TopK", "Set ``multi_topk=0``.")
    objective = SparseObjective(dead=revived) if plain else MultiTopK(weight=multi_topk, dead=revived)
    shared: dict[str, Any] = {"centre": centre, "token_norm": token_norm, "by_norm": by_norm}
    return sparse_autoencoder(spec, bottleneck, objective, unit_norm=unit_norm, normalise=normalise, **shared)
