"""The uniform distribution of a Riemannian metric that the posteriors of a VAE define."""

from __future__ import annotations

import torch
from torch import Tensor

from narrows.core import NO_CONDITION, Autoencoder, Batch, Code, Condition, Symbols
from narrows.core.check import number, refuse, whole
from narrows.kernels.hmc import hmc
from narrows.kernels.medoids import k_medoids
from narrows.priors import require
from narrows.priors.drawn import DrawnCodes

__all__ = ["Riemannian"]

_LEAST = 1e-8
"""Smallest variance of a posterior."""


class Riemannian(DrawnCodes):
    r"""Draws from the intrinsic uniform distribution of a metric of the latent space.

    .. math:: G(z) = \sum_{i=1}^N \Sigma_i^{-1} \exp\Big(-\frac{\|z - c_i\|^2_{\Sigma_i^{-1}}}{\rho^2}\Big)
              + \lambda e^{-\tau \|z\|^2} I,\qquad p(z) \propto \sqrt{\det G(z)},\qquad
              \rho = \max_i \min_{j \ne i} \|c_i - c_j\|

    c_i and the diagonal Sigma_i are means and variances of N posteriors, the medoids of the means of the training data.
    The metric is large where the codes are, so that draws lie there. The integral of its volume is not known, so that
    this prior has no likelihood. It has no training steps; draws are made by Hamiltonian Monte Carlo, from chains that
    begin at the centroids.

    Args:
        centroids: number of medoids, N.
        regularisation: lambda, the metric far from all centroids.
        decay: tau, how fast that part of the metric decreases.

    Raises:
        RequestError: the symbols are not real numbers, or an option is out of range.

    Example:
        >>> prior = Riemannian(Symbols((2,)), centroids=5)
        >>> codes = Batch(torch.randn(50, 2), condition={"deviation": 0.1 * torch.ones(50, 2)})
        >>> prior.prepare(None, codes)
        >>> prior.sample(4, steps=10).shape
        torch.Size([4, 2])

    Reference:
        Chadebec and Allassonniere, A Geometric Perspective on Variational Autoencoders, 2022. arXiv:2209.07370
    """

    fitted = True
    rows = 10_000

    centres: Tensor
    variances: Tensor
    rho: Tensor

    def __init__(
        self,
        symbols: Symbols,
        *,
        centroids: int = 100,
        regularisation: float = 1e-2,
        decay: float = 1.0,
    ) -> None:
        super().__init__()
        require(symbols, type(self))
        self.symbols = symbols
        for name, value in (("regularisation", regularisation), ("decay", decay)):
            if not number(name, value) > 0:
                raise refuse(name, value, "more than 0", "Otherwise the density has no finite integral.")
        self.regularisation, self.decay = regularisation, decay
        shape = whole("centroids", centroids), self.size
        self.register_buffer("centres", torch.zeros(shape))
        self.register_buffer("variances", torch.ones(shape))
        self.register_buffer("rho", torch.ones(()))

    def check(self, model: Autoencoder, code: Code, rows: int) -> None:
        """Raise if the codes have no Gaussian posterior, or if there are fewer of them than centroids.

        Raises:
            RequestError: they have none, or there are fewer.
        """
        self._check(self.normal(code) is not None, rows)

    def _check(self, posterior: bool, rows: int) -> None:
        if not posterior:
            fix = "Use gmm, or fit a method with a Gaussian posterior, such as `vae`."
            raise refuse("prior", "riemannian", "one for codes without a Gaussian posterior", fix)
        if len(self.centres) > rows:
            fix = f"Use riemannian:centroids={max(1, rows // 10)}."
            raise refuse("centroids", len(self.centres), f"at most the number of codes, {rows}", fix)

    @torch.no_grad()
    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Choose the centroids among the posteriors of a batch."""
        means, deviation = batch.x.flatten(1), batch.condition.get("deviation")
        self._check(deviation is not None, len(means))
        assert deviation is not None
        chosen = k_medoids(means, len(self.centres))
        self.centres.copy_(means[chosen])
        self.variances.copy_(deviation.flatten(1)[chosen].square().clamp_min(_LEAST))
        apart = torch.cdist(self.centres, self.centres)
        apart.fill_diagonal_(torch.inf)
        nearest = apart.min(1).values
        self.rho.copy_(nearest.max() if len(self.centres) > 1 else self.variances.mean().sqrt())

    def metric(self, z: Tensor) -> Tensor:
        """The diagonal of log G at points (n, Z): (n, Z)."""
        precision = 1 / self.variances
        away = z.square() @ precision.T - 2 * z @ (precision * self.centres).T
        away = away + (precision * self.centres.square()).sum(1)
        logs = precision.log() - (away / self.rho.square())[:, :, None]
        far = torch.log(z.new_tensor(self.regularisation)) - self.decay * z.square().sum(1)
        return torch.cat([logs, far.view(-1, 1, 1).expand(-1, 1, z.shape[1])], 1).logsumexp(1)

    def log_volume(self, z: Tensor) -> Tensor:
        """log sqrt det G at points (n, Z): the log density up to a constant, (n,)."""
        return 0.5 * self.metric(z).sum(1)

    @torch.no_grad()
    def sample(
        self, n: int, condition: Condition = NO_CONDITION, *, steps: int = 100, leapfrog: int = 10
    ) -> Tensor:
        """n codes (n, *shape).

        Args:
            n: how many.
            condition: not used.
            steps: transitions of each chain; in the first half the step size is adapted.
            leapfrog: leapfrog steps of a transition.
        """
        whole("leapfrog", leapfrog)
        start = torch.randint(len(self.centres), (n,), device=self.centres.device)
        scale = float(self.rho * self.variances.mean().sqrt() / self.size**0.5)
        chains = hmc(
            self.log_volume,
            self.centres[start],
            steps=whole("steps", steps),
            leapfrog=leapfrog,
            step_size=0.5 * scale,
        )
        return chains.states.view(n, *self.symbols.shape)
