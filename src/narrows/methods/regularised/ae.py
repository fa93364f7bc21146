"""The autoencoder."""

from narrows.core import Autoencoder, Likelihood, Spec, as_spec
from narrows.methods.regularised._assemble import deterministic_autoencoder
from narrows.nets.build import code_width
from narrows.nets.kinds import Net


def ae(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 0,
    net: str | Net = "auto",
    likelihood: str | Likelihood = "auto",
) -> Autoencoder:
    r"""An autoencoder held in check by the width of its code alone.

    .. math:: \min_{f, g} \; E_x \left[ -\log p(x \mid g(f(x))) \right],\qquad f(x) \in R^Z

    With linear nets and squared error the best reconstruction is the projection on the first Z principal
    components; a deep net bends that plane. For a table (vectors) that is how training begins: ``net="auto"`` is
    ``skip``, encoder and decoder each a linear map beside a perceptron,

    .. math:: f(x) = V^T (x - m) + \mathrm{mlp}(x),\qquad g(z) = V z + m + \mathrm{mlp}(z),

    with V and m the first Z principal components and the mean of the training rows, and both perceptrons at zero.
    All of it is learned further. With early stopping, which keeps the best weights, the fit is about as good as PCA
    where there are too few rows to bend the plane, and better where there are enough.

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
    return deterministic_autoencoder(spec, width, net=net, likelihood=likelihood, vectors="skip")
