"""JumpReLU's estimates against the kernel formulas by loops, against a smoothed expectation, and its penalties."""

import math

import pytest
import torch

from narrows.bottlenecks.sparse.jumprelu import JumpReLU, jump, step
from narrows.core import Pass
from narrows.core.check import RequestError
from narrows.nets.dictionaries.dictionary import Dictionary
from narrows.testing import check_method

EPS = 0.4


def draws(rows=7, width=5):
    torch.manual_seed(0)
    h = torch.randn(rows, width, dtype=torch.float64).requires_grad_()
    theta = (0.1 + torch.rand(width, dtype=torch.float64)).requires_grad_()
    return h, theta, torch.randn(rows, width, dtype=torch.float64)


def by_loop(h, theta, grad, factor):
    """The sum over examples of -factor(theta) / eps K((h - theta) / eps) times the incoming gradient."""
    out = [0.0] * len(theta)
    for row, g in zip(h.tolist(), grad.tolist(), strict=True):
        for n, t in enumerate(theta.tolist()):
            if abs((row[n] - t) / EPS) < 0.5:
                out[n] -= factor(t) / EPS * g[n]
    return torch.tensor(out, dtype=torch.float64)


@pytest.mark.parametrize(("function", "factor"), [(jump, lambda t: t), (step, lambda t: 1.0)])
def test_the_gradient_of_theta_is_the_kernels(function, factor):
    h, theta, grad = draws()
    function(h, theta, EPS).backward(grad)
    want = by_loop(h, theta, grad, factor)
    assert (want != 0).sum() >= 3
    torch.testing.assert_close(theta.grad, want)


def test_the_input_gets_the_passing_gradient_alone_or_the_kernel_too():
    h, theta, grad = draws()
    jump(h, theta, EPS).backward(grad)
    torch.testing.assert_close(h.grad, grad * (h > theta))
    h.grad = None
    jump(h, theta, EPS, to_input=True).backward(grad)
    window = ((h - theta) / EPS).abs() < 0.5
    torch.testing.assert_close(h.grad, grad * ((h > theta) + theta / EPS * window))
    h.grad = None
    step(h, theta, EPS).backward(grad)
    assert h.grad is None
    step(h, theta, EPS, to_input=True).backward(grad)
    torch.testing.assert_close(h.grad, grad * window / EPS)


def test_the_estimate_is_the_slope_of_the_expectation():
    # E[H(h - theta)] of a standard normal h falls with the density at theta; E[z] with theta times it.
    draw = torch.Generator().manual_seed(0)
    h = torch.randn(400_000, 1, generator=draw, dtype=torch.float64)
    at = torch.tensor([0.7], dtype=torch.float64, requires_grad=True)
    density = math.exp(-(0.7**2) / 2) / math.sqrt(2 * math.pi)
    step(h, at, 0.1).mean().backward()
    assert float(at.grad) == pytest.approx(-density, rel=0.02)
    at.grad = None
    jump(h, at, 0.1).mean().backward()
    assert float(at.grad) == pytest.approx(-0.7 * density, rel=0.02)


@pytest.mark.parametrize(("positive", "speed"), [("log", 1.0), ("log", 10.0), ("raw", 1.0), ("raw", 4.0)])
def test_what_is_learned_gets_the_chain_factor(positive, speed):
    h, _, _ = draws()
    net = JumpReLU(5, threshold=0.3, bandwidth=EPS, positive=positive, speed=speed).double()
    torch.testing.assert_close(net.theta, torch.full((5,), 0.3, dtype=torch.float64), rtol=1e-6, atol=0)
    net.activate(h)[1]["l0"].sum().backward()
    to_theta = by_loop(h, net.theta, torch.ones_like(h), lambda t: 1.0)
    factor = speed * (net.theta if positive == "log" else 1.0)
    torch.testing.assert_close(net.threshold.grad, to_theta * factor)


def test_the_penalties_equal_loops():
    h, _, _ = draws()
    atoms = Dictionary(5, (3,), unit_norm=False).double()
    with torch.no_grad():
        atoms.atoms.mul_(torch.arange(1.0, 6.0)[:, None])
    found = {}
    for penalty in ("l0", "tanh", "quadratic"):
        net = JumpReLU(5, penalty=penalty, threshold=0.3, l0=1.5).double()
        net.bind(atoms)
        net.unit.fill_(4.0)
        net.grain.fill_(2.0)
        found[penalty] = net.activate(h)[1][penalty].tolist()
    rows = h.tolist()
    on = [sum(v > 0.3 for v in row) for row in rows]
    assert found["l0"] == pytest.approx([4.0 * n for n in on])
    tanh = [4 * sum(math.tanh(4 * v / 2 * (n + 1)) for n, v in enumerate(row) if v > 0.3) for row in rows]
    assert found["tanh"] == pytest.approx(tanh)
    assert found["quadratic"] == pytest.approx([4 * (sum(on) / 7 / 1.5 - 1) ** 2] * 7)


def test_thresholds_start_again_and_stay_positive():
    net = JumpReLU(4, threshold=0.2, positive="raw")
    with torch.no_grad():
        net.threshold.copy_(torch.tensor([-1.0, 0.5, 0.6, -0.1]))
        net.after_step(Pass(None, net(torch.randn(3, 4))))
        assert net.threshold.tolist() == pytest.approx([0, 0.5, 0.6, 0])
        touched = net.reset(torch.tensor([1]))
    assert touched[0] is net.threshold
    assert net.threshold.tolist() == pytest.approx([0, 0.2, 0.6, 0])


@pytest.mark.parametrize(
    "options",
    [
        {"penalty": "l2"},
        {"positive": "square"},
        {"threshold": -0.1},
        {"bandwidth": -1.0},
        {"speed": 0.0},
        {"penalty": "quadratic"},
    ],
)
def test_bad_options_are_refused(options):
    with pytest.raises(RequestError):
        JumpReLU(4, **options)


def test_the_properties_hold_for_every_penalty():
    from narrows.methods.sparse.jumprelu_sae import jumprelu_sae

    check_method(jumprelu_sae, (8,), latents=24, penalty="tanh", positive="raw", dead="preact:dead_after=5")
    check_method(jumprelu_sae, (8,), latents=24, penalty="quadratic", price_target="l0=5")
