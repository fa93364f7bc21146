"""Deep dictionary learning by majorisation-minimisation."""

from narrows.bottlenecks.sparse.shrinkage import Shrinkage
from narrows.core import Autoencoder, Spec
from narrows.methods.sparse._assemble import assemble, spec_and_latents
from narrows.nets.dictionaries.deep import DeepDictionary, DeepEncoder
from narrows.objectives.sparse import SparseObjective


def deep_dictionary(
    spec: Spec | tuple[int, ...],
    *,
    latents: int = 0,
    levels: tuple[int, ...] = (),
    l1: float = 0.1,
    activation: str = "identity",
    iterations: int = 50,
    sweeps: int = 1,
) -> Autoencoder:
    r"""Several dictionaries and a sparse code, updated jointly in closed form, with a monotone objective.

    .. math:: \min_{D_1 \dots D_L, Z} \| X - \varphi(\cdots \varphi(Z D_L) \cdots D_2) D_1 \|^2 + \lambda \|Z\|_1

    For each block (a level, or the code) the objective is majorised by a quadratic and its minimiser is
    taken: deeper levels influence the shallower ones, unlike in greedy layer-by-layer learning. Rows of the
    dictionaries have norm at most 1, so that the penalty on the code cannot be evaded by scale: the majoriser
    of a level is minimised within that ball, where the paper has no constraint and uses pseudo-inverses.
    There is no learning rate: all levels are updated on the step's batch, from its code. With all data in one
    batch this is the paper's setting; there codes are kept between sweeps (`nets.deep_dictionary.sweep`),
    here each batch is encoded again. With small batches it is a stochastic form that the paper does not have.

    Args:
        levels: widths of the levels between data and code, the one nearest to the data first; if empty, one
            level of the width of an example.
        l1: weight of the penalty on the code, lambda.
        activation: ``identity`` or ``tanh``, between the levels.
        iterations: number of shrinkage steps of the encoder.
        sweeps: number of updates of every block per batch.

    Raises:
        RequestError: an argument out of range; data with a target.

    Example:
        >>> model = deep_dictionary((8,), latents=32, levels=(12,))
        >>> [tuple(level.shape) for level in model.decoder.levels]
        [(12, 8), (32, 12)]

    Reference:
        Singhal and Majumdar, Majorization Minimization Technique for Optimally Solving Deep Dictionary
        Learning, 2018. arXiv:1912.10801
    """
    spec, latents = spec_and_latents(spec, "deep-dictionary", latents)
    widths = (*(levels or (spec.size,)), latents)
    dictionary = DeepDictionary(widths, spec.output_shape, l1=l1, activation=activation, sweeps=sweeps)
    objective = SparseObjective(weights={"l1": l1})
    return assemble(spec, DeepEncoder(dictionary), Shrinkage(latents, iterations), dictionary, objective)
