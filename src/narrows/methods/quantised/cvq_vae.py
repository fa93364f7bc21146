"""The clustering vector-quantised autoencoder."""

from narrows.bottlenecks.discrete.codebooks.clustered import ClusteredCodebook
from narrows.core import Autoencoder, Likelihood, Objective, Prior, Spec
from narrows.core.schedules import Schedule
from narrows.methods.quantised._assemble import vq_autoencoder
from narrows.nets.kinds import Net


def cvq_vae(
    spec: Spec | tuple[int, ...],
    *,
    codes: int = 1024,
    width: int = 32,
    downsample: int = 4,
    anchor: str = "probabilistic",
    decay: float = 0.99,
    beta: Schedule = 0.25,
    gradient: str = "straight-through",
    prior: str | Prior = "autoregressive",
    net: str | Net = "auto",
    likelihood: str | Likelihood = "auto",
) -> Autoencoder:
    r"""A CVQ-VAE: a VQ-VAE whose unused codes move to tokens of the batch after every step.

    .. math:: p_k \leftarrow \gamma p_k + (1 - \gamma) \frac{c_k}{N},\qquad
              \alpha_k = \exp\Big(-\frac{10 K p_k}{1 - \gamma} - 10^{-3}\Big),\qquad
              e_k \leftarrow (1 - \alpha_k) e_k + \alpha_k a_k

    c_k of the N tokens of a batch are assigned to code k, and the token a_k is its anchor. Codes in use are learned by
    gradient descent, as a VQ-VAE's with ``codebook="gradient"``. The paper's optional contrastive loss is left out.

    Args:
        codes: size of the codebook, K.
        width: width of a code, d.
        anchor: the token that an unused code moves to: ``probabilistic``, drawn by the softmax of the negative
            squared distances, ``nearest`` or ``random``.
        decay: gamma, of the averages of the codes' use.

    Raises:
        RequestError: an argument out of range, or a prior on labels that the data do not have.

    Example:
        >>> model = cvq_vae((1, 8, 8), codes=16, width=4, anchor="nearest")
        >>> model.sample(3).shape, len(model.stages())
        (torch.Size([3, 1, 8, 8]), 2)

    Reference:
        Zheng and Vedaldi, Online Clustered Codebook, 2023. arXiv:2307.15139
    """
    return vq_autoencoder(
        spec,
        Objective(weights={"commitment": beta}),
        codes=codes,
        width=width,
        downsample=downsample,
        codebook=ClusteredCodebook(codes, width, decay=decay, anchor=anchor),
        gradient=gradient,
        prior=prior,
        net=net,
        likelihood=likelihood,
    )
