"""Sparse autoencoders with mutual feature regularisation."""

from narrows.bottlenecks.sparse.ensemble import Ensemble
from narrows.core import Autoencoder, Spec
from narrows.core.schedules import Schedule
from narrows.methods.sparse._assemble import dead_latents, sparse_autoencoder, spec_and_latents
from narrows.objectives.dead_latents import DeadLatents
from narrows.objectives.mutual import MutualFeatures


def mfr_sae(
    spec: Spec | tuple[int, ...],
    *,
    latents: int = 0,
    k: int = 16,
    members: int = 2,
    mfr: Schedule = "linear:0:0.02:100",
    dead: str | DeadLatents = "resample",
    unit_norm: bool = True,
    normalise: bool = True,
) -> Autoencoder:
    r"""Several TopK autoencoders trained jointly, with a reward for features that the others have too.

    .. math:: L = \frac1S \sum_s \|x - \hat x_s\|^2
        + \lambda V \Big(1 - \binom{S}{2}^{-1} \sum_{s < t} \mathrm{MMCS}(A_s, A_t)\Big)

    A feature that several find is more likely to be in the data. All members get the same batches and share
    the bias; the code concatenates the latents of all, and the reconstruction is the mean of theirs.
    ``model.bottleneck.use(0)`` selects one of them. Inactive latents are resampled in four rounds, ten times
    earlier than in `relu_sae` (the authors' code reinitialises a whole member instead).

    Args:
        members: number of members, S.
        mfr: weight of the penalty, lambda; 0 trains the members independently.

    Raises:
        RequestError: an argument out of range; k larger than the number of latents; data with a target.

    Example:
        >>> from narrows.core.evidence import EnsembleCodes
        >>> model = mfr_sae((8,), latents=32, k=4, members=3)
        >>> model.encode(Batch(torch.randn(5, 8)))[EnsembleCodes].z.values.shape
        torch.Size([5, 3, 4])

    Reference:
        Marks, Paren, Krueger, Barez, Enhancing Neural Network Interpretability with Feature-Aligned Sparse
        Autoencoders, 2024. arXiv:2411.01220
    """
    spec, latents = spec_and_latents(spec, "mfr-sae", latents)
    bottleneck = Ensemble(members, latents, k)
    revived = dead_latents(dead, latents, k, spec.size, gaps=100)
    objective = MutualFeatures(weight=mfr, dead=revived)
    return sparse_autoencoder(spec, bottleneck, objective, unit_norm=unit_norm, normalise=normalise)
