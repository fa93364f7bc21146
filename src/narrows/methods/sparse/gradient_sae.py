"""The gradient sparse autoencoder: TopK by influence on a model's loss."""

from narrows.bottlenecks.sparse.influence import InfluenceTopK, SlopedEncoder
from narrows.core import Autoencoder, Spec
from narrows.methods.sparse._assemble import assemble, dead_latents, spec_and_latents
from narrows.nets.dictionaries.dictionary import Dictionary
from narrows.objectives.dead_latents import DeadLatents
from narrows.objectives.sparse import SparseObjective


def gradient_sae(
    spec: Spec | tuple[int, ...],
    *,
    latents: int = 0,
    k: int = 16,
    beta: float = 0.3,
    dead: str | DeadLatents = "auxk",
    unit_norm: bool = True,
    normalise: bool = True,
) -> Autoencoder:
    r"""A TopK autoencoder whose k latents have the largest effect on the model's loss.

    .. math:: \hat x = A^\top z + b_d, \qquad z_j = \mathrm{ReLU}(h_j)\, 1[j \in \mathrm{top}_k], \qquad
        \text{ranked by } h_j + \beta\, h_j\, | a_j \cdot \nabla_x \mathcal{L} | / u

    Latents are ranked, not weighted: values and loss are those of `topk_sae`, so that capacity goes to
    directions that influence the output. The data have a column ``gradients`` of the model's loss with
    respect to each activation (harvest it with the activations). The ranking needs gradients at inference
    too, and with them the tokens that follow; without gradients, the model is a plain TopK autoencoder with
    the learned weights.

    The activation itself in the sum, and beta, are additions: the paper ranks by the product of activation
    and alignment alone. With beta = 0.3 the order is close to that by activation; the larger beta, the closer
    to the paper's.

    Args:
        beta: weight of a latent's effect on the loss in the ranking; 0 is `topk_sae`.

    Raises:
        RequestError: an argument out of range; k larger than the number of latents; data with a target.

    Example:
        >>> model = gradient_sae((8,), latents=32, k=4)
        >>> model.encode(Batch(torch.randn(5, 8), condition={"gradients": torch.randn(5, 8)})).z.values.shape
        torch.Size([5, 4])

    Reference:
        Olmo et al., Features that Make a Difference, 2024. arXiv:2411.10397
    """
    spec, latents = spec_and_latents(spec, "gradient-sae", latents)
    bottleneck = InfluenceTopK(latents, k, beta)
    objective = SparseObjective(dead=dead_latents(dead, latents, k, spec.size))
    dictionary = Dictionary(latents, spec.output_shape, unit_norm=unit_norm, normalise=normalise)
    bottleneck.bind(dictionary)
    encoder = SlopedEncoder(latents, spec.shape, centre=dictionary, normalise=normalise)
    return assemble(spec, encoder, bottleneck, dictionary, objective, conditions=("gradients",))
