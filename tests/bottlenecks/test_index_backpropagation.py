"""Index backpropagation against its definition with one-hot vectors."""

import torch
from torch.nn import functional as F

from narrows.bottlenecks.discrete import index
from narrows.bottlenecks.discrete.index import IndexQuantizer
from narrows.core.evidence import Indices


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
