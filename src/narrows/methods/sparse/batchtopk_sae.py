"""The BatchTopK sparse autoencoder."""

from typing import Any

from narrows.bottlenecks.sparse.batchtopk import BatchTopK
from narrows.core import Autoencoder, Spec
from narrows.methods.sparse._assemble import dead_latents, sparse_autoencoder, spec_and_latents
from narrows.objectives.dead_latents import DeadLatents
from narrows.objectives.sparse import SparseObjective


def batchtopk_sae(
    spec: Spec | tuple[int, ...],
    *,
    latents: int = 0,
    k: int = 16,
    threshold_decay: float = 0.9,
    dead: str | DeadLatents = "auxk",
    unit_norm: bool = True,
    normalise: bool = True,
    centre: bool = True,
    token_norm: str = "none",
    by_norm: bool = False,
) -> Autoencoder:
    r"""A TopK autoencoder with a budget per batch: k active latents per example on average.

    .. math:: z = \mathrm{BatchTopK}(W (x - b_d) + b_e), \qquad \hat x = A^\top z + b_d, \qquad
        L = \|x - \hat x\|^2 + \alpha L_{aux}

    In training the k B largest positive pre-activations of a batch are active; at inference all above a
    threshold that is estimated in training (see `bottlenecks.batchtopk.BatchTopK`).

    Raises:
        RequestError: an argument out of range; k larger than the number of latents; data with a target.

    Example:
        >>> model = batchtopk_sae((8,), latents=32, k=4)
        >>> int((model.encode(Batch(torch.randn(5, 8))).z.dense() > 0).sum())
        20

    Reference:
        Bussmann, Leask, Nanda, BatchTopK Sparse Autoencoders, 2024. arXiv:2412.06410
    """
    spec, latents = spec_and_latents(spec, "batchtopk-sae", latents)
    bottleneck = BatchTopK(latents, k, decay=threshold_decay)
    objective = SparseObjective(dead=dead_latents(dead, latents, k, spec.size))
    shared: dict[str, Any] = {"centre": centre, "token_norm": token_norm, "by_norm": by_norm}
    return sparse_autoencoder(spec, bottleneck, objective, unit_norm=unit_norm, normalise=normalise, **shared)
