"""The transcoder: a sparse imitation of a layer.

Dunefsky, Chlenski, Nanda, Transcoders Find Interpretable LLM Feature Circuits, NeurIPS 2024. arXiv:2406.11944
"""

from __future__ import annotations

from typing import Any

from narrows.bottlenecks.sparse.jumprelu import JumpReLU
from narrows.bottlenecks.sparse.latents import SparseBottleneck
from narrows.bottlenecks.sparse.relu import ReLU
from narrows.bottlenecks.sparse.topk import TopK
from narrows.core import Autoencoder, Spec, as_spec
from narrows.core.check import RequestError, choice, refuse
from narrows.core.schedules import Schedule
from narrows.likelihoods import Squared
from narrows.methods.sparse.shared import priced_terms, revival
from narrows.methods.sparse.topk_sae import default_latents
from narrows.nets.dictionaries.dictionary import AffineEncoder, Dictionary, SkipDictionary
from narrows.objectives.sparse import SparseObjective

__all__ = ["transcoder"]


def transcoder(
    spec: Spec | tuple[int, ...],
    *,
    latents: int = 0,
    activation: str = "topk",
    k: int = 16,
    l1: Schedule = 1.0,
    l0: Schedule = 1.0,
    target_l0: float = 0.0,
    target_fvu: float = 0.0,
    skip: bool = False,
    dead: str = "",
    aux_k: int = 0,
    aux_weight: Schedule = 1 / 32,
    dead_after: int = 0,
    normalise: bool = True,
) -> Autoencoder:
    r"""What enters a layer is encoded sparsely, and decoded to what the layer puts out.

    .. math:: z = \sigma(W x + b_e), \quad \hat y = A^\top z + b_d \;(+\, S x), \qquad
        L = \|y - \hat y\|^2 + \lambda \|z\|_1

    ``batch.x`` is what enters, ``batch.target`` what comes out; nothing is subtracted from x, for the two lie in
    different spaces. ``relu`` with the L1 price is the paper's; ``jumprelu`` has thresholds and a price on L0, as
    `jumprelu_sae`; ``topk`` sets L0 instead, without a price, and has the auxiliary loss of `topk_sae`. A latent's
    influence on another layer's latent is its value times a number that the weights alone decide, which is what
    makes circuits readable.

    Args:
        spec: what the data look like, with the shape of what must be produced in ``spec.target``.
        latents: how many, N; when 0, eight for each number that enters, at most 16384.
        activation: ``topk``, ``relu`` or ``jumprelu``.
        k: how many latents may be on in one example, with ``topk``.
        l1: weight of the sum of the latents, with ``relu``.
        l0: weight of their number, with ``jumprelu``.
        target_l0: how many latents shall be on in one example, on average; the weight is then steered. 0 is off.
        target_fvu: the share of variance that may stay unexplained; the weight is then steered. 0 is off.
        skip: add a linear map S around the latents.
        dead: what is done for dead latents: ``auxk``, ``resample``, ``ghost``, ``preact`` or ``none``; when empty,
            ``auxk`` with ``topk`` and ``none`` with a price.
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
            "what enters a layer as the data and what it puts out as the ``target`` (of files and arrays a "
            "key, a column or an array with one row an example), or a source with both, such as `minilm` with "
            "--data-option site=mlp. To encode the data alone, fit `topk-sae`."
        )
    latents = latents or default_latents(spec)
    bottleneck: SparseBottleneck
    if choice("activation", activation, ("topk", "relu", "jumprelu")) == "topk":
        if target_l0 or target_fvu:
            raise refuse(
                "target_l0", target_l0 or target_fvu, "0 with TopK, which has no price", "Set ``k``."
            )
        bottleneck = TopK(latents, k)
        terms: dict[str, Any] = {
            "revival": revival(
                dead or "auxk", spec, latents, k, dead_after=dead_after, aux_k=aux_k, aux_weight=aux_weight
            )
        }
    else:
        relu = activation == "relu"
        bottleneck = ReLU(latents) if relu else JumpReLU(latents, speed=10.0)
        terms = priced_terms(
            spec,
            latents,
            *(("l1", l1) if relu else ("l0", l0)),
            target_l0=target_l0,
            target_fvu=target_fvu,
            dead=dead or "none",
            dead_after=dead_after,
            aux_weight=aux_weight,
        )
    dictionary = (
        SkipDictionary(latents, spec.output_shape, spec.size, normalise=normalise)
        if skip
        else Dictionary(latents, spec.output_shape, normalise=normalise)
    )
    bottleneck.bind(dictionary)
    encoder = AffineEncoder(latents, spec.shape, normalise=normalise, around=skip)
    objective = SparseObjective(**terms)
    return Autoencoder(encoder, bottleneck, dictionary, Squared(spec.output_shape), objective)
