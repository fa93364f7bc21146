"""A mixture of Gaussians over codes."""

from __future__ import annotations

import warnings
from types import ModuleType

import torch
from torch import Tensor

from narrows.core import NO_CONDITION, Autoencoder, Batch, Code, Condition, Symbols
from narrows.core.check import choice, number, optional, refuse, whole
from narrows.kernels.kmeans import kmeans, nearest
from narrows.kernels.mixture import Mixture, fit_mixture
from narrows.priors import require
from narrows.priors.drawn import DrawnCodes

__all__ = ["GaussianMixture"]

_MOST = 1024
"""The largest number of latents with full covariances, whose size grows with its square."""
_ITERATIONS = 200
"""The maximum number of iterations of variational inference."""
_LEAST = 1e-6
"""What is added to each variance, relative to the mean variance of the codes."""


class GaussianMixture(DrawnCodes):
    r"""A mixture of K Gaussians, fitted to the codes of the training data by expectation-maximisation.

    .. math:: p(z) = \sum_{k=1}^K \pi_k\, N(z \mid m_k, S_k)

    It has no training steps. It is initialised by k-means. With one component it is the Gaussian with mean and
    covariance of the codes. With a `concentration` it is a Dirichlet-process mixture, fitted by variational inference
    in scikit-learn: the data decide how many of the K components have weight.

    Args:
        components: number of Gaussians, K.
        covariance: ``full`` or ``diagonal``.
        draws: of a code with a posterior, fit it to draws from it instead of means.
        concentration: of the Dirichlet process; small values leave fewer components. With 0 there is none.

    Raises:
        RequestError: the symbols are not real numbers, or an option is out of range.
        WorkError: a concentration is given and scikit-learn is not installed.

    Example:
        >>> prior = GaussianMixture(Symbols((2,)), components=3)
        >>> prior.prepare(None, Batch(torch.randn(50, 2)))
        >>> prior.sample(4).shape, prior.nll(torch.zeros(5, 2)).shape
        (torch.Size([4, 2]), torch.Size([5]))

    Reference:
        Ghosh et al., From Variational to Deterministic Autoencoders, 2020, section 4. arXiv:1903.12436;
        Blei and Jordan, Variational Inference for Dirichlet Process Mixtures, 2006. doi:10.1214/06-BA104
    """

    fitted = True
    rows = 20_000

    weights: Tensor
    means: Tensor
    factors: Tensor

    def __init__(
        self,
        symbols: Symbols,
        *,
        components: int = 10,
        covariance: str = "full",
        draws: bool = True,
        concentration: float = 0.0,
    ) -> None:
        super().__init__()
        require(symbols, type(self))
        self.symbols, self.draws = symbols, draws
        count, size = whole("components", components), self.size
        self.diagonal = choice("covariance", covariance, ("full", "diagonal")) == "diagonal"
        if size > _MOST and not self.diagonal:
            fix = "Use gmm:covariance=diagonal."
            raise refuse("covariance", covariance, f"diagonal for codes of more than {_MOST} numbers", fix)
        self.concentration = number("concentration", concentration, low=0)
        if self.concentration:
            _scikit_learn()
        self.register_buffer("weights", torch.full((count,), 1 / count))
        self.register_buffer("means", torch.zeros(count, size))
        scales = torch.ones(count, size) if self.diagonal else torch.eye(size).repeat(count, 1, 1)
        self.register_buffer("factors", scales)

    @property
    def mixture(self) -> Mixture:
        """The mixture, in float64."""
        factors = torch.diag_embed(self.factors) if self.diagonal else self.factors
        return Mixture(self.weights.double(), self.means.double(), factors.double())

    def check(self, model: Autoencoder, code: Code, rows: int) -> None:
        """Raise if there are fewer codes than components; a Dirichlet process has no more of them than codes.

        Raises:
            RequestError: there are.
        """
        if self.concentration and rows < 2:
            raise refuse("concentration", self.concentration, "0 for a single code", "Give more examples.")
        if len(self.weights) > rows and not self.concentration:
            fix = f"Use gmm:components={max(1, rows // 10)}."
            raise refuse("components", len(self.weights), f"at most the number of codes, {rows}", fix)

    @torch.no_grad()
    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Fit the mixture to the codes of a batch."""
        codes = self.drawn(batch)
        self.check(model, Code(codes), len(codes))
        least = max(_LEAST * float(codes.var(0, correction=0).mean()), 1e-12)
        found = self._process(codes, least) if self.concentration else self._likeliest(codes, least)
        count = len(found.weights)
        self.weights.zero_()[:count] = found.weights
        self.means[:count] = found.means
        self.factors[:count] = found.factors.diagonal(dim1=1, dim2=2) if self.diagonal else found.factors

    def _likeliest(self, codes: Tensor, least: float) -> Mixture:
        """The mixture of maximum likelihood."""
        centres, _ = kmeans(codes, len(self.weights))
        chances = torch.nn.functional.one_hot(nearest(codes, centres), len(self.weights))
        return fit_mixture(codes, chances, diagonal=self.diagonal, least=least)

    def _process(self, codes: Tensor, least: float) -> Mixture:
        """The posterior means of a Dirichlet-process mixture."""
        peer = _scikit_learn().BayesianGaussianMixture(
            n_components=min(len(self.weights), len(codes)),
            covariance_type="diag" if self.diagonal else "full",
            weight_concentration_prior=self.concentration,
            reg_covar=least,
            max_iter=_ITERATIONS,
            random_state=int(torch.randint(1 << 31, ())),
        )
        with warnings.catch_warnings():  # a fit that still improves a little after the last iteration
            warnings.simplefilter("ignore")
            peer.fit(codes.double().cpu().numpy())
        covariances = torch.from_numpy(peer.covariances_).to(codes.device)
        return Mixture(
            torch.from_numpy(peer.weights_).to(codes.device),
            torch.from_numpy(peer.means_).to(codes.device),
            torch.diag_embed(covariances.sqrt()) if self.diagonal else torch.linalg.cholesky(covariances),
        )

    def nll(self, symbols: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """-log p of codes (n, *shape), in nats, (n,)."""
        return -self.mixture.log_prob(symbols.flatten(1).double()).to(symbols.dtype)

    @torch.no_grad()
    def sample(self, n: int, condition: Condition = NO_CONDITION) -> Tensor:
        """n codes (n, *shape)."""
        return self.mixture.sample(n).to(self.means.dtype).view(n, *self.symbols.shape)


def _scikit_learn() -> ModuleType:
    return optional("sklearn.mixture", "sklearn", "fit a Dirichlet-process mixture")
