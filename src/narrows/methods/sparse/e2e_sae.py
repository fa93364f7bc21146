"""The end-to-end sparse autoencoder: a dictionary trained for the outputs of a language model."""

from narrows.bottlenecks.sparse.latents import SparseBottleneck
from narrows.bottlenecks.sparse.per_layer import LayerReLU, LayerTopK
from narrows.core import Autoencoder, Spec
from narrows.core.check import RequestError, choice
from narrows.core.schedules import Schedule
from narrows.methods.sparse._assemble import (
    default_latents,
    penalty_terms,
    sparse_autoencoder,
    without_penalty,
    without_target,
)
from narrows.objectives.downstream import Downstream
from narrows.objectives.target import Target


def e2e_sae(
    spec: Spec | tuple[int, ...],
    *,
    model: str = "toy",
    place: str = "resid.0",
    layers: str = "",
    latents: int = 0,
    activation: str = "relu",
    k: int = 16,
    l1: Schedule = 0.1,
    price_target: str | Target = "none",
    kl: float = 1.0,
    ce: float = 0.0,
    downstream: float = 1.0,
    local: float = 0.0,
    normalise: bool = True,
) -> Autoencoder:
    r"""A dictionary trained through a frozen language model, to preserve its outputs.

    .. math:: L = \alpha\, \mathrm{KL}(p \,\|\, \hat p) + \lambda \|z\|_1
        + \frac{\beta}{|\mathcal{L}| D} \sum_{l \in \mathcal{L}} \| a_l - \hat a_l \|^2

    with p and :math:`\hat p` the model's predictions from x and from :math:`\hat x`, and a_l the activations
    of later hook points. Without `layers` this is the paper's SAE_e2e, with all later residual streams
    (``resid.*`` above `place`) its SAE_e2e+ds; ``local=1, kl=0`` is SAE_local. An example is a whole context,
    (positions, width), with its token ids in the column ``tokens``: open a harvest with
    ``layout="contexts"``. If there are more tokens than positions, the first ones are not replaced. All terms
    are sums over a context.

    Args:
        spec: description of the data, (positions, width).
        model: the language model of the activations, a name or a folder, such as ``stories260k``. The default ``toy``
            is an untrained network of the data's width: its predictions mean nothing, and it is for tests.
        place: the hook point of the activations.
        layers: later hook points whose activations are compared, names and globs, or "".
        activation: ``relu`` (the paper's) or ``topk``.
        l1: weight of the L1 penalty, with ``relu``.
        kl: weight of the KL divergence between the model's predictions.
        ce: weight of the cross-entropy of the next tokens.
        downstream: weight of the mean squared error at `layers`.
        local: weight of the mean squared error of the activation itself.

    Raises:
        RequestError: data of another shape, or with a target; an argument out of range.

    Example:
        >>> sae = e2e_sae((3, 8), latents=32)
        >>> sae.loss(Batch(torch.randn(5, 3, 8), condition={"tokens": torch.tensor([[1, 4, 2]] * 5)})).total.shape
        torch.Size([])

    Reference:
        Braun et al., Identifying Functionally Important Features with End-to-End Sparse Dictionary Learning,
        2024. arXiv:2405.12241
    """
    spec = without_target(spec, "e2e-sae")
    if len(spec.shape) != 2:
        raise RequestError(
            f"`e2e-sae` reads whole contexts, (positions, width), not {spec.shape}. Open a harvest with "
            "``layout='contexts'``."
        )
    positions, width = spec.shape
    latents = default_latents(latents, width)
    relu = choice("activation", activation, ("relu", "topk")) == "relu"
    bottleneck: SparseBottleneck = LayerReLU(latents, positions) if relu else LayerTopK(latents, k, positions)
    terms = penalty_terms("l1", l1, price_target, rows=positions) if relu else without_penalty(price_target)
    weights = {"kl": kl, "ce": ce, "downstream": downstream, "local": local}
    objective = Downstream(model=model, at=place, layers=layers, **weights, **terms)
    return sparse_autoencoder(
        spec, bottleneck, objective, unit_norm=True, normalise=normalise, row=(width,), conditions=("tokens",)
    )
