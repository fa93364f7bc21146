"""The concept set of two modalities."""

from narrows.bottlenecks.sparse.topk import TopK
from narrows.core import Autoencoder, Objective, Spec
from narrows.core.schedules import Schedule
from narrows.methods.sparse._assemble import assemble, spec_and_latents
from narrows.nets.dictionaries.paired import PairDictionary, PairEncoder, widths
from narrows.objectives.pairs import PairAlignment
from narrows.objectives.sparse import SparseObjective


def concept_sae(
    spec: Spec | tuple[int, ...],
    *,
    latents: int = 0,
    k: int = 16,
    first: int = 0,
    score: str = "distance",
    align: Schedule = 0.0,
    normalise: bool = True,
) -> Autoencoder:
    r"""One set of concepts for two modalities: a shared distance-based encoder, and a decoder for each.

    .. math:: h_j(x) = 2 - \Big\| \frac{x}{|x|} - \frac{w_j}{|w_j|} \Big\|, \qquad
        \hat x = D_1^\top \mathrm{TopK}(h(x)) + b_1, \qquad \hat y = D_2^\top \mathrm{TopK}(h(y)) + b_2, \qquad
        L = \|x - \hat x\|^2 + \|y - \hat y\|^2

    Each side of a pair (an image and its caption) is encoded separately; since latents score by the distance
    of directions, similar sides have the same active latents, and each latent is one concept of both
    modalities. The sides must be in one space with a meaningful cosine, as those of contrastive models are.
    Otherwise the paper aligns them first with an auxiliary autoencoder, which is then frozen; here `align`
    trains a linear map for each side with a contrastive loss jointly with the code, so that the maps are
    trained by the reconstruction, too.

    The code of a pair is (2, N), with the first side in the first row.

    Args:
        spec: examples (2, D), or flat ones that concatenate both sides.
        first: the width of the first side of flat examples; half of them if 0.
        score: ``distance``, or ``linear``, a shared affine encoder.
        align: weight of a contrastive loss on the sides after a linear map each; 0 omits it, and the maps if
            the widths are equal.

    Raises:
        RequestError: examples that are not pairs; k larger than the number of latents; data with a target.

    Example:
        >>> model = concept_sae((12,), latents=32, k=4, first=8)
        >>> model.encode(Batch(torch.randn(5, 12))).z.values.shape
        torch.Size([5, 2, 4])

    Reference:
        Shen, Sun, Huang, Wang, VL-SAE: Interpreting and Enhancing Vision-Language Alignment with a Unified
        Concept Set, 2025. arXiv:2510.21323
    """
    spec, latents = spec_and_latents(spec, "concept-sae", latents)
    sides, aligned = widths(spec, first), align != 0
    encoder = PairEncoder(latents, sides, score=score, mapped=aligned)
    dictionary = PairDictionary(latents, spec.output_shape, sides, normalise=normalise)
    objective: Objective = PairAlignment(align) if aligned else SparseObjective()
    return assemble(spec, encoder, TopK(latents, k), dictionary, objective)
