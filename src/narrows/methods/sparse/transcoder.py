"""The transcoder: a sparse replacement of a layer."""

from typing import Any

from narrows.bottlenecks.sparse.jumprelu import JumpReLU
from narrows.bottlenecks.sparse.latents import SparseBottleneck
from narrows.bottlenecks.sparse.relu import ReLU
from narrows.bottlenecks.sparse.topk import TopK
from narrows.core import Autoencoder, Spec, as_spec
from narrows.core.check import RequestError, choice
from narrows.core.schedules import Schedule
from narrows.methods.sparse._assemble import (
    assemble,
    dead_latents,
    default_latents,
    penalised_terms,
    without_penalty,
)
from narrows.nets.dictionaries.dictionary import AffineEncoder, Dictionary, SkipDictionary
from narrows.nets.dictionaries.token_norm import TOKEN_NORMS
from narrows.objectives.dead_latents import DeadLatents
from narrows.objectives.sparse import SparseObjective
from narrows.objectives.target import Target


def transcoder(
    spec: Spec | tuple[int, ...],
    *,
    latents: int = 0,
    activation: str = "topk",
    k: int = 16,
    l1: Schedule = 1.0,
    l0: Schedule = 1.0,
    price_target: str | Target = "none",
    skip: bool = False,
    dead: str | DeadLatents = "auto",
    normalise: bool = True,
    token_norm: str = "none",
    by_norm: bool = False,
    positive: str = "log",
    threshold_speed: float = 10.0,
) -> Autoencoder:
    r"""The input of a layer is encoded sparsely, and decoded to the layer's output.

    .. math:: z = \sigma(W x + b_e), \quad \hat y = A^\top z + b_d \;(+\, S x), \qquad
        L = \|y - \hat y\|^2 + \lambda \|z\|_1

    ``batch.x`` is the layer's input, ``batch.target`` its output; no bias is subtracted from x, since the two
    are in different spaces. ``relu`` with the L1 penalty is the paper's; ``jumprelu`` has thresholds and a
    penalty on L0, as `jumprelu_sae`; ``topk`` sets L0 without a penalty, and has the auxiliary loss of
    `topk_sae`. A latent's effect on another layer's latent is its value times a constant of the weights,
    which makes circuits interpretable. A ``token_norm`` is applied to the input only: the output is not
    restored, and the skip connection reads the input itself.

    Args:
        spec: description of the data, with the shape of the layer's output in ``spec.target``.
        activation: ``topk``, ``relu`` or ``jumprelu``.
        l1: weight of the sum of the latents, with ``relu``.
        l0: weight of their number, with ``jumprelu``.
        skip: add a linear skip connection S.
        positive: of ``jumprelu``: ``log`` learns the logarithm of the thresholds, ``raw`` the thresholds.
        threshold_speed: of ``jumprelu``, learning rate of the thresholds relative to the weights.

    Raises:
        RequestError: the data have no target; an argument out of range.

    Example:
        >>> model = transcoder(Spec((8,), target=(4,)), latents=32, k=4)
        >>> model.decoder.atoms.shape
        torch.Size([32, 4])

    Reference:
        Dunefsky, Chlenski, Nanda, Transcoders Find Interpretable LLM Feature Circuits, 2024.
        arXiv:2406.11944. The skip: Paulo, Shabalin, Belrose, 2025. arXiv:2501.18823
    """
    spec = as_spec(spec)
    if spec.target is None:
        raise RequestError(
            "A transcoder predicts a layer's output from its input, but these data have no target. Give both: the "
            "input of a layer as the data and its output as the ``target`` (for files and arrays a key, a column or "
            "an array with one row per example), or a source with both, such as `minilm` with "
            "--data-option site=mlp. To encode the data alone, fit `topk-sae`."
        )
    latents = default_latents(latents, spec.size)
    bottleneck: SparseBottleneck
    if choice("activation", activation, ("topk", "relu", "jumprelu")) == "topk":
        bottleneck = TopK(latents, k)
        terms = {**without_penalty(price_target), "dead": dead_latents(dead, latents, k, spec.size)}
    else:
        relu = activation == "relu"
        bottleneck = ReLU(latents) if relu else JumpReLU(latents, positive=positive, speed=threshold_speed)
        cost, weight = ("l1", l1) if relu else ("l0", l0)
        terms = penalised_terms(spec, latents, cost, weight, price_target, dead)
    shared: dict[str, Any] = {"normalise": normalise, "by_norm": by_norm}
    dictionary = (
        SkipDictionary(latents, spec.output_shape, spec.size, **shared)
        if skip
        else Dictionary(latents, spec.output_shape, **shared)
    )
    bottleneck.bind(dictionary)
    norm = choice("token_norm", token_norm, TOKEN_NORMS)
    norms_of = dictionary if by_norm else None
    encoder = AffineEncoder(
        latents, spec.shape, normalise=normalise, skip=skip, token_norm=norm, norms_of=norms_of
    )
    return assemble(spec, encoder, bottleneck, dictionary, SparseObjective(**terms))
