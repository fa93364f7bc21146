"""Index backpropagation against its definition with one-hot vectors."""

import torch
from torch.nn import functional as F

from narrows.bottlenecks.discrete import index
from narrows.bottlenecks.discrete.index import IndexQuantizer
from narrows.core import Batch
from narrows.core.evidence import Indices
from narrows.methods.quantised.ibq import ibq


def by_definition(tokens, codebook):
    """q = E^T (onehot + p - sg(p)), with the table of tokens times codes."""
    p = (tokens @ codebook.T).softmax(-1)
    indices = p.argmax(-1)
    return (F.one_hot(indices, len(codebook)) + p - p.detach()) @ codebook, indices


def test_value_and_gradients_are_those_of_the_definition(monkeypatch):
    monkeypatch.setattr(index, "_SCORES", 7 * 20)  # seven tokens at a time
    torch.manual_seed(0)
    ibq_ = IndexQuantizer(5, codes=20, tokens=6).double()
    tokens = torch.randn(4, 6, 5, dtype=torch.double, requires_grad=True)
    weight = torch.randn(4, 6, 5, dtype=torch.double)
    code = ibq_(tokens)
    q, indices = by_definition(tokens, ibq_.codebook)
    assert torch.equal(code[Indices].indices, indices)
    assert torch.allclose(code.z, q)
    inputs = (tokens, ibq_.codebook)
    found = torch.autograd.grad((code.z * weight).sum() + code.costs["index"].sum(), inputs)
    wanted = torch.autograd.grad((q * weight).sum() + (q - tokens).square().sum(), inputs)
    for a, b in zip(found, wanted, strict=True):
        assert torch.allclose(a, b)
    assert bool((found[1].norm(dim=-1) > 0).all()), "every code has a gradient"


def test_the_loss_is_the_double_quantisation_loss():
    torch.manual_seed(0)
    entropies = {"entropy": 0.2, "diversity": 0.1, "temperature": 0.5}
    weights = {"beta": 0.3, "follow": 0.9, "index": 0.7}
    model = ibq((6,), codes=8, width=4, prior="none", likelihood="squared", **weights, **entropies)
    batch = Batch(torch.randn(5, 6))
    z = model.encoder(batch.x)
    q, indices = by_definition(z, model.bottleneck.codebook)
    e = model.bottleneck.codebook[indices]
    expected = (model.decode(q) - batch.x).square().sum(1).mean()
    p = (z @ model.bottleneck.codebook.T / 0.5).softmax(-1)
    expected = expected + 0.2 * torch.special.entr(p).sum((1, 2)).mean()
    expected = expected - 0.1 * z.shape[1] * torch.special.entr(p.mean((0, 1))).sum()
    expected = (
        expected
        + (0.9 + 0.3) * (z - e).square().sum((1, 2)).mean()
        + 0.7 * (q - z).square().sum((1, 2)).mean()
    )
    assert torch.allclose(model.loss(batch).total, expected, rtol=1e-4)


def test_codes_start_where_the_gradient_passes_the_mean_code_whole():
    """At tokens of 0 the Jacobian of the mean code is the covariance of the codes, near to the identity."""
    torch.manual_seed(0)
    ibq_ = IndexQuantizer(8, codes=4096, tokens=1)
    jacobian = torch.autograd.functional.jacobian(
        lambda z: ibq_.quantize(z[None, None]).vectors[0, 0], torch.zeros(8)
    )
    assert torch.allclose(jacobian, ibq_.codebook.T.cov(correction=0), atol=1e-5)
    assert torch.allclose(jacobian, torch.eye(8), atol=0.15)


def test_entropies_of_sharp_probabilities_are_those_of_float64():
    torch.manual_seed(0)
    ibq_ = IndexQuantizer(5, codes=20, tokens=6)
    tokens = torch.randn(4, 6, 5)
    p = (tokens.double() @ ibq_.codebook.double().T / 0.01).softmax(-1)
    assert torch.allclose(
        ibq_(tokens).costs["entropy"].double(), torch.special.entr(p).sum((1, 2)), atol=1e-4
    )
    mean = torch.special.entr(p.mean((0, 1))).sum()
    assert torch.allclose(ibq_.diversity(tokens).double(), -6 * mean, atol=1e-4)
