"""The transcoder: a sparse imitation of a layer.

Dunefsky, Chlenski, Nanda, Transcoders Find Interpretable LLM Feature Circuits, NeurIPS 2024. arXiv:2406.11944
"""

from __future__ import annotations

from narrows.bottlenecks.latents import Latents
from narrows.bottlenecks.relu import ReLU
from narrows.bottlenecks.topk import TopK
from narrows.check import RequestError, choice
from narrows.core import Autoencoder, Objective, Spec, as_spec
from narrows.likelihoods import Squared
from narrows.methods.sparse.topk_sae import aux_k_objective, default_latents
from narrows.nets.dictionary import AffineEncoder, Dictionary, SkipDictionary
from narrows.schedules import Schedule

__all__ = ["transcoder"]


def transcoder(
    spec: Spec | tuple[int, ...],
    *,
    latents: int = 0,
    activation: str = "topk",
    k: int = 16,
    l1: Schedule = 1.0,
    skip: bool = False,
    aux_k: int = 0,
    aux_weight: Schedule = 1 / 32,
    dead_after: int = 0,
    normalise: bool = True,
) -> Autoencoder:
    r"""What enters a layer is encoded sparsely, and decoded to what the layer puts out.

    .. math:: z = \sigma(W x + b_e), \quad \hat y = A^\top z + b_d \;(+\, S x), \qquad
        L = \|y - \hat y\|^2 + \lambda \|z\|_1

    ``batch.x`` is what enters, ``batch.target`` what comes out; nothing is subtracted from x, for the two lie in
    different spaces. ``relu`` with the L1 price is the paper's; ``topk`` sets L0 instead, without a price, and has
    the auxiliary loss of `topk_sae`. A latent's influence on another layer's latent is its value times a number
    that the weights alone decide, which is what makes circuits readable.

    Args:
        spec: what the data look like, with the shape of what must be produced in ``spec.target``.
        latents: how many, N; when 0, eight for each number that enters, at most 16384.
        activation: ``topk`` or ``relu``.
        k: how many latents may be on in one example, with ``topk``.
        l1: weight of the sum of the latents, with ``relu``.
        skip: add a linear map S around the latents.
        aux_k: how many dead latents predict the residual, with ``topk``; when 0, half the numbers that enter.
        aux_weight: weight of their error; 0 leaves it out.
        dead_after: a latent is dead when it was off for more examples than this; when 0, a hundred times N / k.
        normalise: scale both sides to mean square 1 inside the model.

    Raises:
        RequestError: the data have no target; an argument out of range.

    Example:
        >>> from narrows.core import Spec
        >>> model = transcoder(Spec((8,), target=(4,)), latents=32, k=4)
        >>> model.decoder.atoms.shape
        torch.Size([32, 4])

    Reference:
        Dunefsky, Chlenski, Nanda, Transcoders Find Interpretable LLM Feature Circuits, 2024. arXiv:2406.11944.
        The skip: Paulo, Shabalin, Belrose, 2025. arXiv:2501.18823
    """
    spec = as_spec(spec)
    if spec.target is None:
        raise RequestError(
            "A transcoder learns to turn one thing into another, but these data have no target. Give both sides: "
            "what enters a layer as the data and what it puts out as the `target` (an option of files and arrays: a "
            "key, a column or an array with one row an example), or a source with both, such as `minilm` with "
            "--data-option site=mlp. To encode the data alone, fit `topk-sae`."
        )
    latents = latents or default_latents(spec)
    bottleneck: Latents
    if choice("activation", activation, ("topk", "relu")) == "topk":
        bottleneck = TopK(latents, k)
        objective = aux_k_objective(spec, latents, k, aux_k=aux_k, weight=aux_weight, dead_after=dead_after)
    else:
        bottleneck, objective = ReLU(latents), Objective(weights={"l1": l1})
    dictionary = (
        SkipDictionary(latents, spec.goal, spec.size, normalise=normalise)
        if skip
        else Dictionary(latents, spec.goal, normalise=normalise)
    )
    encoder = AffineEncoder(latents, spec.shape, normalise=normalise, around=skip)
    return Autoencoder(encoder, bottleneck, dictionary, Squared(spec.goal), objective)
