"""Sparse coding with masked coordinates."""

from narrows.bottlenecks.masked.masked_coordinates import HiddenCoordinates
from narrows.core import Autoencoder, Spec
from narrows.methods.sparse._assemble import assemble, spec_and_latents
from narrows.nets.dictionaries.dictionary import AffineEncoder, Dictionary
from narrows.nets.dictionaries.tied import TiedEncoder
from narrows.objectives.sparse import SparseObjective


def masked_sae(
    spec: Spec | tuple[int, ...],
    *,
    latents: int = 0,
    k: int = 16,
    hide: float = 0.3,
    coder: str = "omp",
    masks: str = "example",
    unit_norm: bool = True,
    normalise: bool = True,
) -> Autoencoder:
    r"""A dictionary that predicts masked coordinates of an example from a sparse code of the visible ones.

    .. math:: z = \mathrm{OMP}_k([A]_M, [x - b]_M), \qquad L = \|[x]_{\bar M} - [A z + b]_{\bar M}\|^2

    With an overcomplete dictionary and noise, the ordinary error is lower for atoms that fit the noise than
    for the true ones; the error on masked coordinates is not. The paper encodes by orthogonal matching
    pursuit, detaches the code, and moves the dictionary (whose atoms are normalised) along the gradient. This
    one differs under a mask: the pursuit selects by the cosine with an atom's visible part, divided by its
    norm, so that an atom is not penalised for its masked part. The authors mask a tenth, with one mask for
    all examples of a batch (``hide=0.1, masks="batch"``). ``coder="topk"`` masks the input of a TopK
    autoencoder instead.

    Args:
        hide: the masked share of the coordinates in training; 0 for plain sparse coding.
        coder: ``omp``, with the dictionary itself, or ``topk``, a learned linear encoder.
        masks: one mask per ``example``, or one per ``batch``.

    Raises:
        RequestError: an argument out of range; examples of one number; data with a target.

    Example:
        >>> code = masked_sae((8,), latents=32, k=2, hide=0.25).encode(Batch(torch.randn(5, 8)))
        >>> code.weight.sum(1)
        tensor([2., 2., 2., 2., 2.])

    Reference:
        Chidambaram, Wu, Cheng, Ge, Hiding Data Helps: On the Benefits of Masking for Sparse Coding, 2023.
        arXiv:2302.12715
    """
    spec, latents = spec_and_latents(spec, "masked-sae", latents)
    bottleneck = HiddenCoordinates(latents, k, shape=spec.shape, hide=hide, coder=coder, masks=masks)
    dictionary = Dictionary(latents, spec.output_shape, unit_norm=unit_norm, normalise=normalise)
    encoder = (
        TiedEncoder(dictionary)
        if coder == "omp"
        else AffineEncoder(latents, spec.shape, centre=dictionary, normalise=normalise)
    )
    return assemble(spec, encoder, bottleneck, dictionary, SparseObjective())
