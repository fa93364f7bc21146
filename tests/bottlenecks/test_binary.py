"""Binary codes: signs, their indices, and both entropies against sums over all codes."""

import math

import pytest
import torch
from torch.nn import functional as F

from narrows.bottlenecks.discrete.binary import BinaryQuantizer
from narrows.core import Batch
from narrows.core.check import RequestError
from narrows.core.evidence import Indices
from narrows.methods.quantised.bsq import bsq
from narrows.methods.quantised.lfq import lfq


def all_codes(bits, size=1.0):
    """Every sign vector, the first channel fastest, by hand."""
    return torch.tensor([[size * (1 if k >> i & 1 else -1) for i in range(bits)] for k in range(2**bits)])


@pytest.mark.parametrize("spherical", [False, True])
def test_indices_number_all_sign_vectors(spherical):
    binary = BinaryQuantizer(5, bits=5, tokens=32, spherical=spherical)
    codes = all_codes(5, 5**-0.5 if spherical else 1.0)
    assert torch.allclose(binary.vectors(torch.arange(32)), codes)
    scaled = codes * torch.rand(32, 1).add(0.1)
    code = binary(scaled[None])
    assert torch.equal(code[Indices].indices[0], torch.arange(32))
    assert torch.allclose(code.z[0], codes)


@pytest.mark.parametrize("spherical", [False, True])
def test_the_code_is_the_nearest_of_all(spherical):
    torch.manual_seed(0)
    binary = BinaryQuantizer(8, bits=8, tokens=100, spherical=spherical)
    tokens = torch.randn(1, 100, 8)
    codes = all_codes(8, 8**-0.5 if spherical else 1.0)
    found = torch.cdist(tokens[0], codes).argmin(-1)
    assert torch.equal(binary(tokens)[Indices].indices[0], found)


@pytest.mark.parametrize(("bits", "spherical"), [(1, False), (7, False), (12, False), (12, True)])
@pytest.mark.parametrize("temperature", [0.1, 2.0])
def test_entropies_are_those_of_all_codes(bits, spherical, temperature):
    torch.manual_seed(0)
    binary = BinaryQuantizer(bits, bits=bits, tokens=6, spherical=spherical, temperature=temperature)
    tokens = 0.3 * torch.randn(9, 6, bits)
    x = F.normalize(tokens, dim=-1) if spherical else tokens
    codes = all_codes(bits, bits**-0.5 if spherical else 1.0)
    p = (2 * x.double() @ codes.double().T / temperature).softmax(-1)
    each = torch.special.entr(p).sum((-2, -1))
    assert torch.allclose(binary(tokens).costs["entropy"].double(), each, rtol=1e-4, atol=1e-6)
    mean = torch.special.entr(p.mean((0, 1))).sum()
    assert float(binary.diversity(tokens)) == pytest.approx(-6 * float(mean), rel=1e-4)


def test_groups_of_channels_bound_the_entropy_of_the_mean():
    torch.manual_seed(0)
    tokens = 0.3 * torch.randn(40, 1, 1) + 0.1 * torch.randn(40, 1, 6)  # dependent channels
    exact, pairs, alone = (
        -float(BinaryQuantizer(6, bits=6, tokens=1, joint=joint).diversity(tokens)) for joint in (6, 2, 1)
    )
    assert exact < pairs < alone < 6 * math.log(2)
    p = torch.sigmoid(40 * tokens.double()).flatten(0, 1).mean(0)
    assert alone == pytest.approx(float((torch.special.entr(p) + torch.special.entr(1 - p)).sum()), rel=1e-4)


def test_the_distribution_of_one_bit_is_a_softmax_over_two_codes():
    binary = BinaryQuantizer(1, bits=1, tokens=1, temperature=0.5)
    for z in (-0.2, 0.0, 0.1):
        a, b = math.exp(2 * z / 0.5), math.exp(-2 * z / 0.5)
        p = a / (a + b)
        expected = -p * math.log(p) - (1 - p) * math.log(1 - p)
        assert float(binary(torch.tensor([[[z]]])).costs["entropy"]) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("bits", [1, 4, 12])
def test_the_error_on_the_sphere_is_bounded(bits):
    torch.manual_seed(0)
    binary = BinaryQuantizer(bits, bits=bits, tokens=1000, spherical=True)
    u = F.normalize(torch.randn(1, 1000, bits), dim=-1)
    corner = torch.eye(bits)[:1].expand(1, 1000, bits)  # the worst case, one channel alone
    bound = 2 - 2 / math.sqrt(bits)
    for tokens in (u, corner):
        errors = (tokens - binary(tokens).z).square().sum(-1)
        assert float(errors.max()) <= bound + 1e-6
    assert float(errors.max()) == pytest.approx(bound, abs=1e-6)


def test_gradients_of_certain_codes_are_finite():
    binary = BinaryQuantizer(4, bits=4, tokens=2)
    tokens = torch.tensor([[[50.0, -50, 50, 50], [50, -50, 0.01, 50]]], requires_grad=True)
    (gradient,) = torch.autograd.grad(
        binary.diversity(tokens) + binary(tokens).costs["entropy"].sum(), tokens
    )
    assert bool(gradient.isfinite().all())


def test_memory_does_not_grow_with_tokens_times_codes():
    """12 bits would be a table of 500 x 4096 numbers; the largest tensor here has 500 x 64."""
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            nonlocal largest
            found = function(*args, **(kwargs or {}))
            if isinstance(found, torch.Tensor):
                largest = max(largest, found.numel())
            return found

    binary = BinaryQuantizer(12, bits=12, tokens=500)
    tokens = torch.randn(1, 500, 12, requires_grad=True)
    with Watch():
        (binary(tokens).costs["entropy"].sum() + binary.diversity(tokens)).backward()
    assert largest <= 500 * 64


@pytest.mark.parametrize(
    "bad", [{"bits": 0}, {"bits": 32}, {"bits": 3, "temperature": 0.0}, {"bits": 3, "joint": 0}]
)
def test_refusals(bad):
    with pytest.raises(RequestError):
        BinaryQuantizer(3, tokens=1, **bad)


@pytest.mark.parametrize("bits", [0, 2.5, 32])
def test_bsq_refuses_bits_before_it_makes_networks(bits):
    with pytest.raises(RequestError, match="`bits` must be a whole number from 1 to 31"):
        bsq((1, 8, 8), bits=bits)


def test_the_loss_of_bsq_is_the_sum_of_its_terms():
    torch.manual_seed(0)
    model = bsq((1, 8, 8), bits=4, entropy=0.3, diversity=0.2, prior="none", likelihood="squared")
    batch = Batch(torch.rand(5, 1, 8, 8))
    u = F.normalize(model.encoder(batch.x), dim=-1)
    p = (2 * u @ all_codes(4, 0.5).T / 0.1).softmax(-1)
    entropy, mean = torch.special.entr(p).sum((1, 2)).mean(), torch.special.entr(p.mean((0, 1))).sum()
    expected = (model.decode(u.sign() / 2) - batch.x).square().sum((1, 2, 3)).mean()
    expected = expected + 0.3 * entropy - 0.2 * u.shape[1] * mean
    assert torch.allclose(model.loss(batch).total, expected, rtol=1e-4)


def test_the_loss_of_lfq_is_the_sum_of_its_terms():
    torch.manual_seed(0)
    options = {"entropy": 0.3, "diversity": 0.2, "prior": "none", "likelihood": "squared"}
    model = lfq((1, 8, 8), bits=4, beta=0.5, **options)
    batch = Batch(torch.rand(5, 1, 8, 8))
    z = model.encoder(batch.x)
    q = z.sign()
    p = (2 * z @ all_codes(4).T / 0.1).softmax(-1)
    entropy, mean = torch.special.entr(p).sum((1, 2)).mean(), torch.special.entr(p.mean((0, 1))).sum()
    expected = (model.decode(q) - batch.x).square().sum((1, 2, 3)).mean()
    expected = expected + 0.5 * (z - q).square().sum((1, 2)).mean() + 0.3 * entropy - 0.2 * z.shape[1] * mean
    assert torch.allclose(model.loss(batch).total, expected, rtol=1e-4)
    spherical = bsq((1, 8, 8), bits=4, **options).loss(batch)
    assert spherical.terms.keys() == {"distortion", "entropy", "diversity"}
