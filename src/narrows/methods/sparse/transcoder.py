"""The transcoder: a sparse imitation of a layer."""

from narrows.bottlenecks.sparse.jumprelu import JumpReLU
from narrows.bottlenecks.sparse.latents import SparseBottleneck
from narrows.bottlenecks.sparse.relu import ReLU
from narrows.bottlenecks.sparse.topk import TopK
from narrows.core import Autoencoder, Spec, as_spec
from narrows.core.check import RequestError, choice
from narrows.core.schedules import Schedule
from narrows.methods.sparse._assemble import assemble, dead_latents, default_latents, priced, unpriced
from narrows.nets.dictionaries.dictionary import AffineEncoder, Dictionary, SkipDictionary
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
        activation: ``topk``, ``relu`` or ``jumprelu``.
        l1: weight of the sum of the latents, with ``relu``.
        l0: weight of their number, with ``jumprelu``.
        skip: add a linear map S around the latents.

    Raises:
        RequestError: the data have no target; an argument out of range.

    Example:
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
    latents = default_latents(latents, spec.size)
    bottleneck: SparseBottleneck
    if choice("activation", activation, ("topk", "relu", "jumprelu")) == "topk":
        bottleneck = TopK(latents, k)
        terms = {**unpriced(price_target), "dead": dead_latents(dead, latents, k, spec.size)}
    else:
        relu = activation == "relu"
        bottleneck = ReLU(latents) if relu else JumpReLU(latents, speed=10.0)
        cost, weight = ("l1", l1) if relu else ("l0", l0)
        terms = priced(spec, latents, cost, weight, price_target, dead)
    dictionary = (
        SkipDictionary(latents, spec.output_shape, spec.size, normalise=normalise)
        if skip
        else Dictionary(latents, spec.output_shape, normalise=normalise)
    )
    bottleneck.bind(dictionary)
    encoder = AffineEncoder(latents, spec.shape, normalise=normalise, skip=skip)
    return assemble(spec, encoder, bottleneck, dictionary, SparseObjective(**terms))
