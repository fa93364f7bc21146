"""The AbsTopK sparse autoencoder."""

from typing import Any

from narrows.bottlenecks.sparse.abstopk import AbsTopK
from narrows.core import Autoencoder, Spec
from narrows.methods.sparse._assemble import dead_latents, sparse_autoencoder, spec_and_latents
from narrows.objectives.dead_latents import DeadLatents
from narrows.objectives.sparse import SparseObjective


def abstopk_sae(
    spec: Spec | tuple[int, ...],
    *,
    latents: int = 0,
    k: int = 16,
    dead: str | DeadLatents = "auxk",
    unit_norm: bool = True,
    normalise: bool = True,
    centre: bool = True,
    token_norm: str = "none",
    by_norm: bool = False,
) -> Autoencoder:
    r"""A linear autoencoder with the k latents of largest magnitude active, positive or negative.

    .. math:: z = H_k(W (x - b_d) + b_e), \qquad \hat x = A^\top z + b_d

    A single latent can represent both poles of a concept, which takes two with non-negative codes. The loss
    is the squared error and, in addition to the paper, the auxiliary loss of `topk_sae`, with dead latents
    selected by magnitude too.

    Raises:
        RequestError: an argument out of range; k larger than the number of latents; data with a target.

    Example:
        >>> model = abstopk_sae((8,), latents=32, k=4)
        >>> bool((model.encode(Batch(torch.randn(50, 8))).z.values < 0).any())
        True

    Reference:
        Zhu, Khalili, Zhu, AbsTopK: Rethinking Sparse Autoencoders For Bidirectional Features, 2025.
        arXiv:2510.00404
    """
    spec, latents = spec_and_latents(spec, "abstopk-sae", latents)
    objective = SparseObjective(dead=dead_latents(dead, latents, k, spec.size))
    shared: dict[str, Any] = {"centre": centre, "token_norm": token_norm, "by_norm": by_norm}
    return sparse_autoencoder(
        spec, AbsTopK(latents, k), objective, unit_norm=unit_norm, normalise=normalise, **shared
    )
