"""Inference-time decomposition of activations."""

from narrows.bottlenecks.sparse.pursuit import MatchingPursuit
from narrows.core import Autoencoder, Spec
from narrows.methods.sparse._assemble import assemble, spec_and_latents
from narrows.nets.dictionaries.itda import ITDADictionary
from narrows.nets.dictionaries.tied import TiedEncoder
from narrows.objectives.sparse import SparseObjective


def itda(
    spec: Spec | tuple[int, ...],
    *,
    latents: int = 0,
    k: int = 16,
    threshold: float = 0.3,
    signed: bool = True,
    centre: bool = False,
    at_once: int = 8,
    numbers: str = "",
) -> Autoencoder:
    r"""A dictionary of real activations, built without gradients; codes are found by matching pursuit.

    .. math:: z = \mathrm{MP}_k(x; A), \qquad
        \frac{\|x - A^\top z\|^2}{\|x\|^2} > \tau \;\Rightarrow\; A \leftarrow [A;\, x / \|x\|]

    The examples are processed once, in order; one that the current atoms explain too little becomes an atom.
    Nothing is optimised: one pass over a small share of the data is the training. Since each atom is an
    example, two models (or layers) can be compared by their atoms: `nets.dictionaries.itda.jaccard`.

    The authors' code has another error, the mean over D of :math:`(x / \|x\| - \hat x / \|\hat x\|)^2`; it
    starts with the first D different examples as atoms, and adds all insufficiently explained examples of a
    batch at once. Thresholds are therefore not comparable.

    Args:
        threshold: the share of an example's squared norm that may remain unexplained; the lower, the sooner
            the dictionary is full.
        signed: the pursuit may subtract atoms, as in the classical algorithm.
        at_once: number of examples that are added before later ones are encoded again; 1 is the exact
            algorithm.
        numbers: the column with the index of each example, for comparisons; none if empty.

    Raises:
        RequestError: an argument out of range; k larger than the number of latents; data with a target.

    Example:
        >>> model = itda((8,), latents=32, k=4)
        >>> model.players()[0].parameters, int(model.decoder.count)
        ([], 0)

    Reference:
        Leask, Nanda, Al Moubayed, Inference-Time Decomposition of Activations (ITDA), 2025. arXiv:2505.17769
    """
    spec, latents = spec_and_latents(spec, "itda", latents)
    dictionary = ITDADictionary(
        latents, spec.output_shape, threshold=threshold, k=k, signed=signed, centre=centre, at_once=at_once
    )
    bottleneck = MatchingPursuit(latents, k, signed=signed)
    return assemble(
        spec,
        TiedEncoder(dictionary),
        bottleneck,
        dictionary,
        SparseObjective(),
        conditions=(numbers,) if numbers else (),
    )
