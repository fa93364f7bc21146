"""Small models put together from the core by hand: the audit must not know any method."""

import math

import torch
from torch import nn
from torch.distributions import Independent, Normal, kl_divergence

from narrows.core import Autoencoder, Batch, Bottleneck, Code, Likelihood, Objective, Sparse
from narrows.core.evidence import Indices, Latents


class Identity(nn.Module):
    """A net that passes its input on."""

    def forward(self, x, condition=()):
        return x


class Plain(Bottleneck):
    """A code without a cost."""

    def forward(self, h, samples=()):
        return Code(h)


class Flat(nn.Module):
    """A linear map of the flattened input; told classes are ignored."""

    def __init__(self, into, shape_out):
        super().__init__()
        self.shape_out, self.linear = tuple(shape_out), nn.Linear(into, math.prod(shape_out))

    def forward(self, x, condition=()):
        lead = x.shape[: x.ndim - 1] if x.shape[-1] == self.linear.in_features else x.shape[:1]
        flat = x.reshape(*lead, self.linear.in_features)
        return self.linear(flat).reshape(*lead, *self.shape_out)


class UnitGaussian(Likelihood):
    """N(mean, variance) with a fixed variance and its constants."""

    def __init__(self, shape, variance=1.0):
        super().__init__(shape)
        self.variance = variance

    def nll(self, parameters, x, weight=None):
        squared = (parameters - x).square() / self.variance
        return self.sum(0.5 * (squared + math.log(2 * math.pi * self.variance)), weight)

    def mean(self, parameters):
        return parameters

    def sample(self, parameters):
        return parameters + self.variance**0.5 * torch.randn_like(parameters)


class StandInGaussian(Bottleneck):
    """q(z | x) = N(mean, exp(log variance)), p(z) = N(0, I)."""

    def __init__(self, latent):
        super().__init__()
        self.latent = latent

    def forward(self, h, samples=()):
        mean, log_variance = h.chunk(2, -1)
        q = Independent(Normal(mean, (0.5 * log_variance).exp()), 1)
        p = Independent(Normal(torch.zeros_like(mean), torch.ones_like(mean)), 1)
        if not samples and not self.training:
            return Code(mean, {"kl": kl_divergence(q, p)}, q, p)
        z = q.rsample(samples)
        cost = q.log_prob(z) - p.log_prob(z) if samples else kl_divergence(q, p)
        return Code(z, {"kl": cost}, q, p)

    def sample(self, n, condition=()):
        return Code(torch.randn(n, self.latent))


class StandInPlain(Bottleneck):
    """The features themselves."""

    def forward(self, h, samples=()):
        return Code(h.expand(*samples, *h.shape))


class StandInTopK(Bottleneck):
    """The k largest features that are positive, kept sparse."""

    def __init__(self, latents, k):
        super().__init__()
        self.latents, self.k = latents, k

    def forward(self, h, samples=()):
        values, indices = h.relu().topk(self.k, -1)
        z = Sparse(indices, values, self.latents)
        return Code(z, evidence=(Latents(z),))


class DenseRead(nn.Module):
    """A dictionary that reads sparse codes."""

    def __init__(self, latents, shape_out):
        super().__init__()
        self.inner = Flat(latents, shape_out)

    def forward(self, z, condition=()):
        return self.inner(z.dense() if isinstance(z, Sparse) else z)


class StandInCodebook(Bottleneck):
    """The nearest of N entries for each of the places, straight through."""

    def __init__(self, codes, width):
        super().__init__()
        self.codes, self.codebook = codes, nn.Parameter(torch.randn(codes, width))

    def forward(self, h, samples=()):
        indices = torch.cdist(h, self.codebook.expand(len(h), -1, -1)).argmin(-1)
        z = h + (self.codebook[indices] - h).detach()
        return Code(
            z, {"commitment": (z - h).square().sum((-1, -2))}, evidence=(Indices(indices, self.codes),)
        )

    def to_symbols(self, code):
        return code[Indices].indices

    def from_symbols(self, symbols):
        return Code(self.codebook[symbols])


class Tokens(Flat):
    """Reads (B, L, C) tokens as one vector."""

    def forward(self, x, condition=()):
        return super().forward(x.flatten(1))


def gaussian_model(shape=(6,), latent=3, variance=0.1, seed=0):
    torch.manual_seed(seed)
    size = math.prod(shape)
    encoder, decoder = Flat(size, (2 * latent,)), Flat(latent, shape)
    likelihood = UnitGaussian(shape, variance)
    return Autoencoder(encoder, StandInGaussian(latent), decoder, likelihood, Objective())


def plain_model(shape=(6,), latent=3, seed=0):
    torch.manual_seed(seed)
    size = math.prod(shape)
    return Autoencoder(
        Flat(size, (latent,)), StandInPlain(), Flat(latent, shape), UnitGaussian(shape), Objective()
    )


def sparse_model(shape=(6,), latents=20, k=4, seed=0):
    torch.manual_seed(seed)
    bottleneck = StandInTopK(latents, k)
    encoder, decoder = Flat(math.prod(shape), (latents,)), DenseRead(latents, shape)
    return Autoencoder(encoder, bottleneck, decoder, UnitGaussian(shape), Objective())


def codebook_model(shape=(6,), codes=8, places=2, width=3, seed=0):
    torch.manual_seed(seed)
    encoder, decoder = Flat(math.prod(shape), (places, width)), Tokens(places * width, shape)
    return Autoencoder(encoder, StandInCodebook(codes, width), decoder, UnitGaussian(shape), Objective())


def trained(model, x, steps=200, lr=1e-2):
    """A short fit, so that numbers mean something."""
    torch.manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    for step in range(steps):
        rows = torch.randint(len(x), (64,))
        optimizer.zero_grad()
        model.loss(Batch(x[rows]), step).total.backward()
        optimizer.step()
    return model.eval()
