"""Matryoshka sparse autoencoders, with three kinds of nesting."""

from narrows.bottlenecks.sparse.batchtopk import BatchTopK
from narrows.bottlenecks.sparse.latents import SparseBottleneck
from narrows.bottlenecks.sparse.topk import TopK
from narrows.core import Autoencoder, Spec
from narrows.core.check import choice, refuse, whole
from narrows.methods.sparse._assemble import dead_latents, learning_rate, sparse_autoencoder, spec_and_latents
from narrows.objectives.dead_latents import DeadLatents
from narrows.objectives.nested import Nested, Prefixes, Ranks


def matryoshka_sae(
    spec: Spec | tuple[int, ...],
    *,
    latents: int = 0,
    k: int = 16,
    nesting: str = "fixed",
    activation: str = "batchtopk",
    widths: tuple[int, ...] = (),
    prefixes: int = 10,
    alpha: float = 0.5,
    levels: tuple[int, ...] = (),
    reverse: bool = False,
    threshold_decay: float = 0.9,
    dead: str | DeadLatents = "auxk",
    unit_norm: bool = True,
    normalise: bool = True,
) -> Autoencoder:
    r"""A dictionary with nested parts that must each reconstruct: general latents first, specific ones later.

    .. math:: L = \sum_{m \in M} \|x - (z_{0:m} A_{0:m} + b)\|^2 + \alpha_{aux} L_{aux}

    ``fixed``: the parts are the first m latents, for fixed m. ``sampled``: for ten m, drawn at each step with
    :math:`P(m) \propto m^\alpha - (m-1)^\alpha`, always including N. ``topk``: the parts are the k largest
    latents, for several k, weighted equally or the smallest most; k can be chosen at inference:
    ``model.bottleneck.use(8)`` (by default the last level).

    The losses are summed, as in the paper and SAELens; dictionary_learning averages them. The paper's
    activation is BatchTopK. Nabeshima's model has another one (a penalised ReLU), and periodically re-sorts
    its latents by power, which is omitted. So is the error of the bias alone, the part with m = 0, which the
    authors' code adds. As in dictionary_learning the auxiliary loss uses the residual of the whole code.

    Args:
        nesting: ``fixed``, ``sampled`` or ``topk``.
        activation: ``batchtopk`` or ``topk``; nesting by ``topk`` has TopK.
        widths: the m of ``fixed``, increasing, without N; if empty, groups of 1/32, 1/16, 1/8, 1/4 and the
            rest.
        prefixes: number of m that ``sampled`` draws, including N.
        alpha: exponent of the distribution of m.
        levels: the k of ``topk``, increasing; if empty, 1, 2, 4 and 8 times `k`.
        reverse: weigh the smallest level of ``topk`` most: G, G - 1, ... 1.

    Raises:
        RequestError: an argument out of range; widths or levels that do not increase, or exceed the latents.

    Example:
        >>> model = matryoshka_sae((8,), latents=32, k=4)
        >>> model.objective.widths
        tensor([ 1,  3,  7, 15, 32])

    Reference:
        Bussmann et al., Learning Multi-Level Features with Matryoshka Sparse Autoencoders, 2025.
        arXiv:2503.17547. Sampled: Nabeshima, Matryoshka Sparse Autoencoders, 2024. TopK: Zaigrajew et al.,
        2025. arXiv:2502.20578
    """
    spec, latents = spec_and_latents(spec, "matryoshka-sae", whole("latents", latents, low=0))
    choice("activation", activation, ("batchtopk", "topk"))
    revived = dead_latents(dead, latents, k, spec.size)
    objective: Nested
    if choice("nesting", nesting, ("fixed", "sampled", "topk")) == "topk":
        ks = tuple(levels) or tuple(sorted({min(latents, whole("k", k) * n) for n in (1, 2, 4, 8)}))
        objective, k, activation = Ranks(ks, reverse=reverse, dead=revived), ks[-1], "topk"
    elif nesting == "fixed":
        objective = _fixed(latents, widths, revived)
    else:
        ends = range(latents + 1 - min(latents, whole("prefixes", prefixes)), latents + 1)
        objective = Prefixes(ends, alpha=alpha, dead=revived)
    topk = activation == "topk"
    bottleneck: SparseBottleneck = TopK(latents, k) if topk else BatchTopK(latents, k, decay=threshold_decay)
    # At twice this rate most latents die where as many are on as the data have numbers.
    rate = learning_rate(spec.size, fastest=0.002)
    return sparse_autoencoder(
        spec, bottleneck, objective, unit_norm=unit_norm, normalise=normalise, rate=rate
    )


def _fixed(latents: int, widths: tuple[int, ...], revived: DeadLatents | None) -> Prefixes:
    """Prefixes of fixed widths, the last of which is N."""
    if widths and max(widths) >= latents:
        raise refuse("widths", widths, f"below the number of latents, {latents}", "The last, N, is added.")
    default = sorted({latents * part // 32 for part in (1, 3, 7, 15)} - {0, latents})
    return Prefixes((*(widths or default), latents), dead=revived)
