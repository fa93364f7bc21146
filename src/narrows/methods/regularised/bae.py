"""The Bayesian autoencoder, whose prior of weights is chosen by what it makes of the data."""

from narrows.bottlenecks.deterministic.ensemble import EnsembleAutoencoder
from narrows.bottlenecks.deterministic.identity import Identity
from narrows.core import Autoencoder, Likelihood, Prior, Spec, as_spec
from narrows.core.check import refuse
from narrows.methods.regularised._assemble import deterministic_autoencoder
from narrows.nets.build import code_width
from narrows.nets.kinds import Net
from narrows.objectives.posterior import Posterior
from narrows.objectives.weight_prior import WeightPrior


def bae(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 0,
    prior_scale: float = 0.0,
    iterations: int = 400,
    friction: float = 0.05,
    sets: int = 32,
    thin: int = 100,
    burn_in: int = 2000,
    prior: str | Prior = "gmm:components=20,concentration=0.05",
    net: str | Net = "auto",
    likelihood: str | Likelihood = "auto",
) -> Autoencoder:
    r"""A Bayesian autoencoder: draws of the posterior of all weights, under a prior that is chosen on the data.

    .. math:: p(w \mid x_{1:N}) \propto p(w) \prod_{n=1}^N p\big(x_n \mid f(g(x_n; w); w)\big),\qquad
              p(w) = \prod_l N(w_l;\, m_l, s_l^2 I)

    First mean and scale of every layer's prior are optimised, so that outputs under weights of the prior are near the
    data in the distributional sliced Wasserstein distance. Then stochastic gradient Hamiltonian Monte Carlo draws
    weights of the posterior, of which the newest sets are kept: one after every `thin` steps beyond the first
    `burn_in`. Reconstructions and likelihoods are means over the sets, -log p(x) = -log mean_k p(x | w_k); the code is
    the mean over the encoders. A Dirichlet-process mixture of the codes draws samples. The last step is the last
    draw: there is no early stopping, and by default there are 6,000 steps.

    Args:
        prior_scale: scale of the prior of all weights, with mean 0; with 0 it is optimised on the data.
        iterations: steps of that optimisation.
        friction: of the chain, above 0 and at most 1; the momentum is 1 - friction.
        sets: largest number of weight sets that are kept, each as large as the model.
        thin: steps between two sets.
        burn_in: first steps, in which no weights are kept and step sizes are adapted.
        prior: the density that is fitted to the codes.

    Raises:
        RequestError: an argument out of range, or a likelihood that is no density.

    Example:
        >>> model = bae((8,), latent=2, prior="none")
        >>> model.features(Batch(torch.zeros(5, 8))).shape, model.players()[0].optimizer[:12]
        (torch.Size([5, 2]), 'sghmc:rows=1')

    Reference:
        Tran et al., Model Selection for Bayesian Autoencoders, 2021. arXiv:2106.06245
    """
    spec = as_spec(spec)
    model = deterministic_autoencoder(
        spec,
        code_width(latent, spec.shape),
        net=net,
        likelihood=likelihood,
        bottleneck=Identity(),
        prior=prior,
    )
    if model.likelihood.unit != "nats":
        expected = "a density: a posterior of weights needs -log p(x | z) in nats"
        raise refuse("likelihood", likelihood, expected, "Try bernoulli or gaussian.")
    parts = (model.encoder, model.decoder, model.likelihood)
    objective = Posterior(WeightPrior(parts, prior_scale, iterations), friction, burn_in)
    return EnsembleAutoencoder(model, objective, sets=sets, thin=thin, burn_in=burn_in)
