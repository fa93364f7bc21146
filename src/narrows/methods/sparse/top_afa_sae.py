"""The top-AFA sparse autoencoder."""

from narrows.bottlenecks.sparse.afa import TopAFA
from narrows.core import Autoencoder, Spec
from narrows.core.schedules import Schedule
from narrows.methods.sparse._assemble import dead_latents, sparse_autoencoder, spec_and_latents
from narrows.objectives.dead_latents import DeadLatents
from narrows.objectives.sparse import SparseObjective


def top_afa_sae(
    spec: Spec | tuple[int, ...],
    *,
    latents: int = 0,
    afa: Schedule = 1 / 16,
    dead: str | DeadLatents = "auxk",
    unit_norm: bool = True,
    normalise: bool = True,
) -> Autoencoder:
    r"""A sparse autoencoder without k: the active latents give the code the norm of the input.

    .. math:: L = \|x - \hat x\|^2 + \lambda D\, (\|z\| - \|x - b\|)^2 + \alpha L_{aux}

    For the selection see `bottlenecks.afa.TopAFA`. The default weight is the paper's, 1/16, which was stable
    on all layers. Two things differ from the authors' code: its cost has the norm of x, not of x - b,
    although its selection has the latter; and its encoder has no bias.

    Args:
        afa: weight of the difference of the norms.

    Raises:
        RequestError: an argument out of range; data with a target.

    Example:
        >>> model = top_afa_sae((8,), latents=32)
        >>> model.encode(Batch(torch.randn(5, 8))).costs["afa"].shape
        torch.Size([5])

    Reference:
        Lee, Davies, Canby, Hockenmaier, Evaluating and Designing Sparse Autoencoders by Approximating
        Quasi-Orthogonality, 2025. arXiv:2503.24277
    """
    spec, latents = spec_and_latents(spec, "top-afa-sae", latents)
    revived = dead_latents(dead, latents, 10, spec.size)
    objective = SparseObjective(dead=revived, weights={"afa": afa})
    return sparse_autoencoder(spec, TopAFA(latents), objective, unit_norm=unit_norm, normalise=normalise)
