"""The autoencoder."""

from narrows.core import Autoencoder, Likelihood, Penalty, Spec, as_spec
from narrows.methods.regularised._assemble import deterministic_autoencoder
from narrows.nets.build import code_width
from narrows.nets.kinds import Net
from narrows.objectives import with_penalty


def ae(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 0,
    penalty: str | Penalty = "none",
    net: str | Net = "auto",
    likelihood: str | Likelihood = "auto",
) -> Autoencoder:
    r"""An autoencoder regularised only by the width of its code.

    .. math:: \min_{f, g} \; E_x \left[ -\log p(x \mid g(f(x))) \right],\qquad f(x) \in R^Z

    With linear nets and squared error the optimal reconstruction is the projection on the first Z principal
    components; a deep net learns a curved manifold instead. Tables (vectors) are initialised by PCA:
    ``net="auto"`` is ``skip``, encoder and decoder each the sum of a linear map and an MLP,

    .. math:: f(x) = V^T (x - m) + \mathrm{mlp}(x),\qquad g(z) = V z + m + \mathrm{mlp}(z),

    with V and m initialised with the first Z principal components and the mean of the training rows, and both
    MLPs with zero. All parameters are trained further. With early stopping, which keeps the best weights, the
    fit is about as good as PCA if there are few rows, and better if there are enough.

    Args:
        penalty: further terms of the loss: ``vne``, the von Neumann entropy of the codes; ``cs-ib``, an information
            bottleneck by Cauchy-Schwarz divergences; or, for training rows with anomalies among them, ``trim``, the
            mean without the largest losses of a batch, or ``beta-divergence`` in place of the distortion.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> model = ae((1, 8, 8), latent=3)
        >>> model.features(Batch(torch.rand(5, 1, 8, 8))).shape
        torch.Size([5, 3])

    Reference:
        Hinton and Salakhutdinov, Reducing the Dimensionality of Data with Neural Networks, 2006.
        doi:10.1126/science.1127647
    """
    spec = as_spec(spec)
    width = code_width(latent, spec.shape)
    return with_penalty(
        deterministic_autoencoder(spec, width, net=net, likelihood=likelihood, vectors="skip"), penalty
    )
