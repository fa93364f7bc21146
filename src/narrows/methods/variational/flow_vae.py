"""The VAE with a normalising flow as its posterior."""

from narrows.bottlenecks.flows import FLOWS
from narrows.bottlenecks.flows.posterior import Amortised, Flow
from narrows.core import Autoencoder, Likelihood, Spec, as_spec
from narrows.core.schedules import Schedule
from narrows.methods.variational._assemble import variational_autoencoder
from narrows.nets.build import code_width
from narrows.nets.kinds import Net
from narrows.objectives.elbo import Elbo


def flow_vae(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 0,
    flow: str | Amortised = "planar",
    beta: Schedule = 1.0,
    free_bits: float = 0.0,
    net: str | Net = "auto",
    likelihood: str | Likelihood = "auto",
) -> Autoencoder:
    r"""A VAE whose posterior is a flow of a Gaussian, with parameters from the encoder.

    .. math:: \log q(z_K|x) = \log N(z_0; \mu(x), \sigma(x)^2)
              - \sum_k \log\left|\det \frac{\partial f_k(z_{k-1}; x)}{\partial z_{k-1}}\right|

    Planar and radial maps need many, one after another; the autoregressive ones need zuko.

    Args:
        flow: the maps, such as ``planar:length=10``; of ``maf`` a draw takes Z passes.
        beta: weight of log q(z|x) - log p(z), a number or a schedule; the paper warms it up from 0.01 to 1.

    Raises:
        RequestError: an argument out of range, or an autoregressive flow of one latent.
        WorkError: the flow needs zuko, which is not installed.

    Example:
        >>> model = flow_vae((8,), latent=2, flow="planar:length=3")
        >>> model.encode(Batch(torch.zeros(5, 8))).z.shape
        torch.Size([5, 2])

    Reference:
        Rezende and Mohamed, Variational Inference with Normalizing Flows, 2015. arXiv:1505.05770
    """
    spec = as_spec(spec)
    latent = code_width(latent, spec.shape)
    bottleneck = Flow(latent, FLOWS.make(flow, latent=latent))
    objective, widths = Elbo(beta=beta, free_bits=free_bits), (bottleneck.inputs, latent)
    return variational_autoencoder(spec, bottleneck, objective, widths=widths, net=net, likelihood=likelihood)
