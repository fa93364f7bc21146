"""The Mutual Choice sparse autoencoder."""

from narrows.bottlenecks.sparse.batchtopk import BatchTopK
from narrows.core import Autoencoder, Spec
from narrows.methods.sparse._assemble import dead_latents, sparse_autoencoder, spec_and_latents
from narrows.objectives.dead_latents import DeadLatents
from narrows.objectives.sparse import SparseObjective


def mutual_choice_sae(
    spec: Spec | tuple[int, ...],
    *,
    latents: int = 0,
    k: int = 16,
    threshold_decay: float = 0.9,
    dead: str | DeadLatents = "zipf",
    unit_norm: bool = True,
    normalise: bool = True,
) -> Autoencoder:
    r"""Mutual Choice: the k B largest pairs of tokens and features of a batch are active.

    .. math:: z = h\, 1[h \ge \theta_B], \quad \theta_B = \text{the } k B\text{-th largest of the batch}, \qquad
        L = \|x - \hat x\|^2 + \alpha L_{aux\_zipf}

    The activation is that of `batchtopk_sae`, published at the same time. The auxiliary loss is for all
    latents that are active less often than Zipf's law predicts for their rank (`objectives.zipf.AuxZipf`),
    not only for dead ones. The exponent of that law, the ranks by frequency, and the threshold of underuse
    are an interpretation of the paper's summaries, since its full text was not available.

    Raises:
        RequestError: an argument out of range; k larger than the number of latents; data with a target.

    Example:
        >>> model = mutual_choice_sae((8,), latents=32, k=4)
        >>> int((model.encode(Batch(torch.randn(5, 8))).z.dense() > 0).sum())
        20

    Reference:
        Ayonrinde, Adaptive Sparse Allocation with Mutual Choice & Feature Choice Sparse Autoencoders, 2024.
        arXiv:2411.02124
    """
    spec, latents = spec_and_latents(spec, "mutual-choice-sae", latents)
    bottleneck = BatchTopK(latents, k, decay=threshold_decay)
    objective = SparseObjective(dead=dead_latents(dead, latents, k, spec.size))
    return sparse_autoencoder(spec, bottleneck, objective, unit_norm=unit_norm, normalise=normalise)
