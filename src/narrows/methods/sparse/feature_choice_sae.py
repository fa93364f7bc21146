"""The Feature Choice sparse autoencoder."""

from narrows.bottlenecks.sparse.choice import FeatureChoice
from narrows.core import Autoencoder, Spec
from narrows.methods.sparse._assemble import dead_latents, sized, sparse_autoencoder
from narrows.objectives.dead_latents import DeadLatents
from narrows.objectives.sparse import SparseObjective


def feature_choice_sae(
    spec: Spec | tuple[int, ...],
    *,
    latents: int = 0,
    k: int = 16,
    zipf: float = 1.0,
    zipf_offset: float = 0.0,
    threshold_decay: float = 0.9,
    dead: str | DeadLatents = "zipf",
    unit_norm: bool = True,
    normalise: bool = True,
) -> Autoencoder:
    r"""Features choose tokens: each latent keeps the examples of the batch on which it is largest, by a budget.

    .. math:: z_{bi} = h_{bi}\, 1[h_{bi} \in \mathrm{top}_{m_i}(h_{\cdot i})], \quad m_i \propto (i + q)^{-s}, \qquad
        L = \|x - \hat x\|^2 + \alpha L_{aux\_zipf}

    Every latent is on in its share of the examples, so that none can die; an example has as many as chose it.
    `bottlenecks.choice.FeatureChoice` has the rule and what replaces it at inference. The paper begins with Mutual
    Choice to learn the frequencies; here the budgets follow the law from the first step. That it runs along the
    latents' order, and its exponent, are our reading of the paper's summaries: its full text was not at hand.

    Args:
        zipf: exponent of Zipf's law, by which budgets fall from the first latent to the last; 0 for equal budgets.
        zipf_offset: q of that law, (i + q)^-s, by which the first latents are flattened.

    Raises:
        RequestError: an argument out of range; k larger than the number of latents; data with a target.

    Example:
        >>> model = feature_choice_sae((8,), latents=32, k=4)
        >>> model.bottleneck.budgets(64).sum()
        tensor(256)

    Reference:
        Ayonrinde, Adaptive Sparse Allocation with Mutual Choice & Feature Choice Sparse Autoencoders, 2024.
        arXiv:2411.02124
    """
    spec, latents = sized(spec, "feature-choice-sae", latents)
    bottleneck = FeatureChoice(latents, k, exponent=zipf, offset=zipf_offset, decay=threshold_decay)
    revived = dead_latents(dead, latents, k, spec.size, exponent=zipf, offset=zipf_offset)
    objective = SparseObjective(dead=revived)
    return sparse_autoencoder(spec, bottleneck, objective, unit_norm=unit_norm, normalise=normalise)
