"""The Feature Choice sparse autoencoder."""

from narrows.bottlenecks.sparse.choice import FeatureChoice
from narrows.core import Autoencoder, Spec
from narrows.methods.sparse._assemble import dead_latents, sparse_autoencoder, spec_and_latents
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
    r"""Feature Choice: each latent is active on the examples of a batch with its largest pre-activations.

    .. math:: z_{bi} = h_{bi}\, 1[h_{bi} \in \mathrm{top}_{m_i}(h_{\cdot i})], \quad m_i \propto (i + q)^{-s}, \qquad
        L = \|x - \hat x\|^2 + \alpha L_{aux\_zipf}

    The number of examples is a budget per latent, so that none can die; the number of active latents of an
    example varies. For the rule and its replacement at inference see `bottlenecks.choice.FeatureChoice`. The
    paper starts with Mutual Choice to learn the frequencies; here the budgets follow the law from the first
    step. The order of the latents in it and its exponent are an interpretation of the paper's summaries,
    since its full text was not available.

    Args:
        zipf: exponent of Zipf's law, by which budgets decrease from the first latent to the last; 0 for equal
            budgets.
        zipf_offset: q of that law, (i + q)^-s, which flattens its beginning.

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
    spec, latents = spec_and_latents(spec, "feature-choice-sae", latents)
    bottleneck = FeatureChoice(latents, k, exponent=zipf, offset=zipf_offset, decay=threshold_decay)
    revived = dead_latents(dead, latents, k, spec.size, exponent=zipf, offset=zipf_offset)
    objective = SparseObjective(dead=revived)
    return sparse_autoencoder(spec, bottleneck, objective, unit_norm=unit_norm, normalise=normalise)
