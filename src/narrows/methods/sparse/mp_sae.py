"""The matching-pursuit sparse autoencoder."""

from narrows.bottlenecks.sparse.pursuit import MatchingPursuit
from narrows.core import Autoencoder, Spec
from narrows.methods.sparse._assemble import assemble, dead_latents, sized
from narrows.nets.dictionaries.dictionary import Dictionary
from narrows.nets.dictionaries.tied import TiedEncoder
from narrows.objectives.dead_latents import DeadLatents
from narrows.objectives.sparse import SparseObjective


def mp_sae(
    spec: Spec | tuple[int, ...],
    *,
    latents: int = 0,
    k: int = 16,
    k_eval: int = 0,
    signed: bool = False,
    tolerance: float = 0.0,
    dead: str | DeadLatents = "none",
    normalise: bool = True,
) -> Autoencoder:
    r"""A dictionary whose encoder is matching pursuit with the same atoms, trained through its unrolled steps.

    .. math:: r_0 = x - b; \qquad j_t = \arg\max_j \langle a_j, r_{t-1} \rangle, \quad
        z_{j_t} \leftarrow z_{j_t} + \langle a_{j_t}, r_{t-1} \rangle, \quad
        r_t = r_{t-1} - \langle a_{j_t}, r_{t-1} \rangle a_{j_t}, \qquad \hat x = A^\top z + b

    Each atom is chosen for what the earlier ones left over, so that codes may use atoms that resemble each other, as
    the children of one parent do, and the error falls with every further step: k may be changed after training. Atoms
    have length 1. The loss is the squared error; what is done for dead latents elsewhere is there as an option.

    Args:
        k_eval: how many steps in use; k when 0.
        signed: choose by the absolute value of the fit, as the classical pursuit does; the paper's does not.
        tolerance: stop where the residual is shorter than this share of the centred example.

    Raises:
        RequestError: an argument out of range; k larger than the number of latents; data with a target.

    Example:
        >>> model = mp_sae((8,), latents=32, k=4)
        >>> model.encode(Batch(torch.randn(5, 8))).z.values.shape
        torch.Size([5, 4])

    Reference:
        Costa, Fel, Lubana, Tolooshams, Ba, From Flat to Hierarchical: Extracting Sparse Representations with Matching
        Pursuit, 2025. arXiv:2506.03093
    """
    spec, latents = sized(spec, "mp-sae", latents)
    bottleneck = MatchingPursuit(latents, k, k_eval=k_eval, signed=signed, tolerance=tolerance)
    objective = SparseObjective(dead=dead_latents(dead, latents, k, spec.size))
    dictionary = Dictionary(latents, spec.output_shape, normalise=normalise)
    return assemble(spec, TiedEncoder(dictionary), bottleneck, dictionary, objective)
