"""Inference-time decomposition of activations."""

from narrows.bottlenecks.sparse.pursuit import MatchingPursuit
from narrows.core import Autoencoder, Spec
from narrows.methods.sparse._assemble import assemble, sized
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
    r"""A dictionary of real activations, grown without gradients; codes are found by matching pursuit.

    .. math:: z = \mathrm{MP}_k(x; A), \qquad
        \frac{\|x - A^\top z\|^2}{\|x\|^2} > \tau \;\Rightarrow\; A \leftarrow [A;\, x / \|x\|]

    The examples stream by once; one that the present atoms explain too little becomes an atom. Nothing is optimised:
    a pass over a small share of the data is the training. Since each atom is an example, two models (or layers) can be
    compared by which examples they took: `nets.grown.jaccard`.

    The authors' code measures what is unexplained otherwise, as the mean over D of :math:`(x / \|x\| - \hat x /
    \|\hat x\|)^2`; it begins with the first D different examples for atoms, and appends all that a batch shows to be
    explained too little at once. Thresholds do not carry over.

    Args:
        threshold: the share of an example's squared length that may stay unexplained; the lower, the sooner the
            dictionary is full.
        signed: the pursuit may subtract atoms, as the classical one.
        centre: take the data's mean from every example first.
        at_once: so many examples are appended before those after them are coded anew; 1 is the exact stream.
        numbers: the column that holds the number of each example, for comparisons; none when empty.

    Raises:
        RequestError: an argument out of range; k larger than the number of latents; data with a target.

    Example:
        >>> model = itda((8,), latents=32, k=4)
        >>> model.players()[0].parameters, int(model.decoder.count)
        ([], 0)

    Reference:
        Leask, Nanda, Al Moubayed, Inference-Time Decomposition of Activations (ITDA), 2025. arXiv:2505.17769
    """
    spec, latents = sized(spec, "itda", latents)
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
