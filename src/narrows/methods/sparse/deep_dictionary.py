"""Deep dictionary learning by majorisation-minimisation."""

from narrows.bottlenecks.sparse.shrinkage import Shrinkage
from narrows.core import Autoencoder, Spec
from narrows.methods.sparse._assemble import assemble, sized
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
    r"""Several dictionaries and a sparse code, solved for together, in closed steps that never raise the objective.

    .. math:: \min_{D_1 \dots D_L, Z} \| X - \varphi(\cdots \varphi(Z D_L) \cdots D_2) D_1 \|^2 + \lambda \|Z\|_1

    For each block (a level, or the code) the objective is majorised by a quadratic, whose minimiser is taken: the
    deeper levels have a say in the shallower ones, which greedy layer-by-layer learning does not give them. Rows of
    the dictionaries are at most 1 long, so that the price of the code cannot be evaded by scale: the majoriser of a
    level is minimised within that ball, where the paper has none and solves by pseudo-inverses. There are no
    parameters and no learning rate: all levels are updated on the step's batch, from its code. With all data in one
    batch this is the paper's setting; codes there are kept between sweeps (`nets.deep_dictionary.sweep`), here
    each batch is coded anew. With small batches it is a stochastic form that the paper does not have.

    Args:
        levels: widths of the levels between data and code, the one nearest to the data first; when empty, one level
            of as many as an example has numbers.
        l1: the price of the code's size, lambda.
        activation: ``identity`` or ``tanh``, between the levels.
        iterations: how many shrinkage steps make a code.
        sweeps: how often every block is updated on a batch.

    Raises:
        RequestError: an argument out of range; data with a target.

    Example:
        >>> model = deep_dictionary((8,), latents=32, levels=(12,))
        >>> [tuple(level.shape) for level in model.decoder.levels]
        [(12, 8), (32, 12)]

    Reference:
        Singhal and Majumdar, Majorization Minimization Technique for Optimally Solving Deep Dictionary Learning, 2018.
        arXiv:1912.10801
    """
    spec, latents = sized(spec, "deep-dictionary", latents)
    widths = (*(levels or (spec.size,)), latents)
    dictionary = DeepDictionary(widths, spec.output_shape, l1=l1, activation=activation, sweeps=sweeps)
    objective = SparseObjective(weights={"l1": l1})
    return assemble(spec, DeepEncoder(dictionary), Shrinkage(latents, iterations), dictionary, objective)
