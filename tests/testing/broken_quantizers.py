"""Quantisers with one fault each, written as other libraries have it."""

import torch
from torch import nn
from torch.nn import functional as F


def straight_through(x, q):
    return x + (q - x).detach()


class Residual(nn.Module):
    """Nearest codes of residuals; `summed` passes a gradient for every layer, `open` residuals depend on the codes."""

    def __init__(self, layers=4, codes=32, width=8, summed=False, attached=False):
        super().__init__()
        self.books = nn.ParameterList(torch.randn(codes, width) * 0.7**i for i in range(layers))
        self.summed, self.attached = summed, attached

    def sums(self, indices):
        return torch.stack([F.embedding(k, e) for k, e in zip(indices.unbind(-1), self.books)]).cumsum(0)

    def forward(self, x):
        left, total, indices, loss = x, torch.zeros_like(x), [], 0.0
        for book in self.books:
            indices.append(torch.cdist(left.detach(), book).argmin(-1))
            q = F.embedding(indices[-1], book)
            loss = loss + F.mse_loss(left, q.detach())
            passed = straight_through(left, q)
            total = total + (passed if self.summed else q)
            left = left - (passed if self.attached else q.detach())
        vectors = total if self.summed else straight_through(x, total)
        return vectors, torch.stack(indices, -1), loss


class SimVQ(nn.Module):
    """The authors' class as it is published: beta on the codebook's term, and entries without the linear map."""

    def __init__(self, n_e, e_dim, beta=0.25):
        super().__init__()
        self.beta, self.embedding, self.embedding_proj = (
            beta,
            nn.Embedding(n_e, e_dim),
            nn.Linear(e_dim, e_dim),
        )
        nn.init.normal_(self.embedding.weight, std=e_dim**-0.5)
        self.embedding.weight.requires_grad_(False)

    def forward(self, z):
        tokens = z.movedim(1, -1)
        codes = self.embedding_proj(self.embedding.weight)
        indices = torch.cdist(tokens.flatten(0, -2), codes).argmin(-1)
        q = codes[indices].view(tokens.shape)
        loss = F.mse_loss(q.detach(), tokens) + self.beta * F.mse_loss(q, tokens.detach())
        return (straight_through(tokens, q).movedim(-1, 1), torch.tensor(0.0), indices), loss

    def get_codebook_entry(self, indices, shape):
        return self.embedding(indices).view(shape)


class Averages(nn.Module):
    """EMA codes under the names that EnCodec, RAVE and vector-quantize-pytorch give them."""

    def __init__(self, codes=32, width=8, faults=()):
        super().__init__()
        self.codes, self.faults = codes, faults
        self.register_buffer("embed", torch.randn(codes, width))
        self.register_buffer("embed_avg", self.embed.clone())
        self.register_buffer("cluster_size", torch.ones(codes))
        self.register_buffer("started", torch.tensor(False))

    @torch.no_grad()
    def begin(self, rows):
        self.embed.copy_(rows[torch.randperm(len(rows))[: self.codes]])
        self.cluster_size.fill_(len(rows) / self.codes)
        self.embed_avg.copy_(self.embed * (1 if "start" in self.faults else self.cluster_size[:, None]))
        self.started.fill_(True)

    @torch.no_grad()
    def restart(self, rows):
        dead = self.cluster_size < 0.1 * self.cluster_size.mean()
        self.embed[dead] = rows[torch.randint(len(rows), (int(dead.sum()),))]
        if "restart" not in self.faults:
            self.cluster_size[dead] = 0.2 * self.cluster_size.mean()
            self.embed_avg[dead] = self.embed[dead] * self.cluster_size[dead, None]

    @torch.no_grad()
    def learn(self, rows, indices):
        if "restart" in self.faults:
            self.restart(rows)  # what follows overwrites it
        hot = F.one_hot(indices, self.codes).float()
        counts, sums = hot.sum(0), hot.t() @ rows
        if "processes" not in self.faults and torch.distributed.is_initialized():
            torch.distributed.all_reduce(counts)
            torch.distributed.all_reduce(sums)
        self.cluster_size.lerp_(counts, 0.2)
        self.embed_avg.lerp_(sums, 0.2)
        self.embed.copy_(self.embed_avg / self.cluster_size.clamp_min(1e-4)[:, None])
        if "restart" not in self.faults:
            self.restart(rows)

    def forward(self, x):
        rows = x.detach().flatten(0, 1)
        if not self.started:
            self.begin(rows)
        indices = torch.cdist(rows, self.embed).argmin(-1)
        q = self.embed[indices].view(x.shape)
        if self.training:
            self.learn(rows, indices)
        return straight_through(x, q), indices.view(x.shape[:-1]), F.mse_loss(x, q)


class Masked(nn.Module):
    """Unit vectors with a mask, whose masked loss compares with the tokens of any length."""

    def __init__(self, codes=32, width=8, faults=()):
        super().__init__()
        self.faults = faults
        self.register_buffer("codebook", F.normalize(torch.randn(codes, width), dim=-1))

    def forward(self, x, mask=None):
        unit = F.normalize(x, dim=-1)
        indices = torch.cdist(unit, self.codebook).argmin(-1)
        q = self.codebook[indices]
        away = (q - (x if "loss" in self.faults and mask is not None else unit)).square().mean(-1)
        loss = away.mean() if mask is None or "padding" in self.faults else away[mask].mean()
        return straight_through(unit, q), indices, loss
