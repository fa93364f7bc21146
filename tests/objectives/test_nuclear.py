"""The nuclear norm of a map against singular values and the subgradient U V', and what it makes of a code."""

import pytest
import torch

from narrows.audit.metrics.geometry import effective_rank, nearest
from narrows.bottlenecks.deterministic.low_rank import LowRank
from narrows.core import Batch
from narrows.core.check import RequestError
from narrows.methods.regularised.lorae import lorae


def test_the_loss_and_its_gradient_are_those_of_the_singular_values():
    torch.manual_seed(0)
    model = lorae((6,), latent=4, weight=0.3, prior="none").double().train()
    batch = Batch(torch.randn(5, 6).double())
    matrix = model.bottleneck.matrices[0]
    u, s, v = torch.linalg.svd(matrix.detach())
    plain = (model.reconstruct(batch) - batch.x).square().sum(1).mean()
    loss = model.loss(batch).total
    assert float(loss) == pytest.approx(float(plain + 0.3 * s.sum()))
    (grad,) = torch.autograd.grad(loss - (model.reconstruct(batch) - batch.x).square().sum(1).mean(), matrix)
    assert torch.allclose(grad, 0.3 * u @ v)


def test_factors_are_multiplied_in_order_and_are_not_penalised():
    torch.manual_seed(0)
    model = lorae((6,), latent=4, factors=3, prior="none")
    first, second, third = model.bottleneck.matrices
    h = torch.randn(2, 4)
    assert torch.allclose(model.bottleneck(h).z, h @ first.T @ second.T @ third.T, atol=1e-6)
    assert set(model.loss(Batch(torch.randn(5, 6))).terms) == {"distortion"}
    assert LowRank(3)(h[:, :3], samples=(5,)).z.shape == (5, 2, 3)
    with pytest.raises(RequestError, match="factors"):
        lorae((6,), factors=0)


def test_the_penalty_leaves_a_code_fewer_directions():
    """Data on a plane in six dimensions, a code of four numbers."""
    torch.manual_seed(0)
    x = torch.randn(400, 2) @ torch.randn(2, 6)
    ranks = {}
    for weight in (0.0, 1.0):
        torch.manual_seed(1)
        model = lorae((6,), latent=4, weight=weight, net="mlp:16", prior="none").train()
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
        for _ in range(400):
            optimizer.zero_grad()
            model.loss(Batch(x)).total.backward()
            optimizer.step()
        ranks[weight] = effective_rank(model.encode(Batch(x)).z)
    assert ranks[1.0] < ranks[0.0] - 0.3


def test_the_effective_rank_in_closed_form():
    torch.manual_seed(0)
    white = torch.linalg.qr(torch.randn(50, 4) - 0)[0]
    white = white - white.mean(0)
    white = torch.linalg.svd(white, full_matrices=False)[0]
    assert effective_rank(7 + 3 * white) == pytest.approx(4, rel=1e-5)
    assert effective_rank(torch.outer(torch.arange(9.0), torch.ones(5))) == pytest.approx(1)
    assert effective_rank(torch.ones(9, 5)) == pytest.approx(1)


def test_nearest_rows():
    torch.manual_seed(0)
    a, b = torch.randn(1500, 3), torch.randn(40, 3)
    assert torch.allclose(nearest(a, b), (a[:, None] - b).norm(dim=-1).min(1).values)
    own = (a[:, None] - a).norm(dim=-1).fill_diagonal_(torch.inf).min(1).values
    assert torch.allclose(nearest(a, a, same=True), own)
