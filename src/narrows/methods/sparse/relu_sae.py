"""The ReLU sparse autoencoder with an L1 penalty, in the form of Bricken et al."""

from typing import Any

from narrows.bottlenecks.sparse.relu import ReLU
from narrows.core import Autoencoder, Spec
from narrows.core.schedules import Schedule
from narrows.methods.sparse._assemble import penalised_terms, sparse_autoencoder, spec_and_latents
from narrows.objectives.dead_latents import DeadLatents
from narrows.objectives.sparse import SparseObjective
from narrows.objectives.target import Target


def relu_sae(
    spec: Spec | tuple[int, ...],
    *,
    latents: int = 0,
    l1: Schedule = 1.0,
    price_target: str | Target = "none",
    dead: str | DeadLatents = "resample",
    unit_norm: bool = True,
    normalise: bool = True,
    centre: bool = True,
    token_norm: str = "none",
    by_norm: bool = False,
) -> Autoencoder:
    r"""A wide linear autoencoder with ReLU latents and an L1 penalty.

    .. math:: z = \mathrm{ReLU}(W (x - b_d) + b_e), \quad \hat x = A^\top z + b_d, \quad
        L = \|x - \hat x\|^2 + \lambda \sum_n z_n \|a_n\|

    The form is that of Bricken et al.; Cunningham et al. tie the two matrices and have no bias in the
    decoder. With ``unit_norm=False`` atoms have any length, which the penalty includes (Anthropic's update of
    April 2024, which also omits the first b_d). The L1 penalty shrinks all latents, including large ones, so
    that codes underestimate the features' magnitudes.

    Args:
        l1: weight of the penalty, lambda.

    Raises:
        RequestError: an argument out of range; data with a separate target.

    Example:
        >>> model = relu_sae((8,), latents=32, price_target="l0=4")
        >>> model.encode(Batch(torch.randn(5, 8))).z.shape
        torch.Size([5, 32])

    Reference:
        Cunningham et al., Sparse Autoencoders Find Highly Interpretable Features in Language Models, 2023.
        arXiv:2309.08600. Resampling: Bricken et al., Towards Monosemanticity, 2023
    """
    spec, latents = spec_and_latents(spec, "relu-sae", latents)
    objective = SparseObjective(**penalised_terms(spec, latents, "l1", l1, price_target, dead))
    shared: dict[str, Any] = {"centre": centre, "token_norm": token_norm, "by_norm": by_norm}
    return sparse_autoencoder(
        spec, ReLU(latents), objective, unit_norm=unit_norm, normalise=normalise, **shared
    )
