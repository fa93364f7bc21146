"""Index backpropagation quantisation."""

from narrows.bottlenecks.discrete.index import IndexQuantizer
from narrows.bottlenecks.discrete.quantizer import Quantizer
from narrows.core import Autoencoder, Likelihood, Objective, Prior, Spec, as_spec
from narrows.core.schedules import Schedule
from narrows.methods.quantised._assemble import token_autoencoder
from narrows.nets.kinds import Net
from narrows.objectives.diversity import CodeDiversity


def ibq(
    spec: Spec | tuple[int, ...],
    *,
    codes: int = 1024,
    width: int = 32,
    downsample: int = 4,
    beta: Schedule = 0.25,
    index: Schedule = 1.0,
    entropy: Schedule = 0.1,
    diversity: Schedule = 0.1,
    temperature: float = 1.0,
    prior: str | Prior = "autoregressive",
    net: str | Net = "auto",
    likelihood: str | Likelihood = "auto",
) -> Autoencoder:
    r"""A grid of tokens, each replaced by the code of largest inner product, whose gradient reaches all codes.

    .. math:: p = \mathrm{softmax}(E z),\qquad q = E^\top (\mathrm{onehot}(\arg\max p) + p - \mathrm{sg}(p))

    .. math:: -\log p(x \mid q) + \|\mathrm{sg}(z) - e\|^2 + \beta \|z - \mathrm{sg}(e)\|^2 + w \|q - z\|^2
              + w_1 \sum_l H(p_l) - w_2 L\, H(E[p])

    Beside the losses of a VQ-VAE, a term pulls the mean code, and two entropies reward tokens whose code is certain
    while all codes are in use. The paper also has a perceptual and an adversarial loss.

    Args:
        codes: size of the codebook, K.
        width: width of a code, d.
        index: w, weight of the distance of the mean code, a number or a schedule.
        entropy: weight of the entropy of the tokens' codes, a number or a schedule.
        diversity: weight of the entropy of their mean, a number or a schedule.
        temperature: of the probabilities in the two entropies; published code has 0.01.

    Raises:
        RequestError: an argument out of range, or a prior on labels that the data do not have.

    Example:
        >>> model = ibq((1, 8, 8), codes=16, width=4)
        >>> model.sample(3).shape, len(model.stages())
        (torch.Size([3, 1, 8, 8]), 2)

    Reference:
        Shi et al., Scalable Image Tokenization with Index Backpropagation Quantization, 2024. arXiv:2412.02692
    """

    def quantizer(tokens: int) -> Quantizer:
        return IndexQuantizer(width, codes=codes, tokens=tokens, temperature=temperature)

    objective = Objective(weights={"commitment": beta, "index": index, "entropy": entropy})
    objective.add(CodeDiversity(diversity))
    return token_autoencoder(
        as_spec(spec), quantizer, objective, width, downsample, prior=prior, net=net, likelihood=likelihood
    )
