"""The matching-pursuit sparse autoencoder."""

from narrows.bottlenecks.sparse.pursuit import MatchingPursuit
from narrows.core import Autoencoder, Spec
from narrows.methods.sparse._assemble import assemble, dead_latents, spec_and_latents
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
    residual: float = 0.0,
    stop_on_repeat: bool = False,
) -> Autoencoder:
    r"""A dictionary with matching pursuit as its encoder, trained through the unrolled steps.

    .. math:: r_0 = x - b; \qquad j_t = \arg\max_j \langle a_j, r_{t-1} \rangle, \quad
        z_{j_t} \leftarrow z_{j_t} + \langle a_{j_t}, r_{t-1} \rangle, \quad
        r_t = r_{t-1} - \langle a_{j_t}, r_{t-1} \rangle a_{j_t}, \qquad \hat x = A^\top z + b

    Each atom is selected from the residual of the previous ones, so codes may use similar atoms, as the
    children of one parent are, and the error decreases with every step: k may be changed after training.
    Atoms have length 1. The loss is the squared error; a treatment of dead latents is an option.

    Args:
        k_eval: number of steps in ``eval()``; k if 0.
        signed: select by absolute value, as in the classical pursuit; the paper does not.
        tolerance: stop when the norm of the residual falls below this share of the centred example's.
        residual: stop when the norm of the residual falls below this, in the units of the scaled data.
        stop_on_repeat: stop when an atom is selected again.

    Raises:
        RequestError: an argument out of range; k larger than the number of latents; data with a target.

    Example:
        >>> model = mp_sae((8,), latents=32, k=4)
        >>> model.encode(Batch(torch.randn(5, 8))).z.values.shape
        torch.Size([5, 4])

    Reference:
        Costa, Fel, Lubana, Tolooshams, Ba, From Flat to Hierarchical: Extracting Sparse Representations with
        Matching Pursuit, 2025. arXiv:2506.03093
    """
    spec, latents = spec_and_latents(spec, "mp-sae", latents)
    bottleneck = MatchingPursuit(
        latents,
        k,
        k_eval=k_eval,
        signed=signed,
        tolerance=tolerance,
        residual=residual,
        stop_on_repeat=stop_on_repeat,
    )
    objective = SparseObjective(dead=dead_latents(dead, latents, k, spec.size))
    dictionary = Dictionary(latents, spec.output_shape, normalise=normalise)
    return assemble(spec, TiedEncoder(dictionary), bottleneck, dictionary, objective)
