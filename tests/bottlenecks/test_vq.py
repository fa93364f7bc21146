"""Vector quantisation against loops written out in float64, and brute force."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from narrows.bottlenecks.discrete.dynamic import DynamicQuantizer
from narrows.bottlenecks.discrete.grouped import GroupedQuantizer
from narrows.bottlenecks.discrete.levels import LevelQuantizer
from narrows.bottlenecks.discrete.quantizer import rotation, straight_through
from narrows.bottlenecks.discrete.residual import ResidualQuantizer
from narrows.bottlenecks.discrete.scales import ScaleQuantizer
from narrows.bottlenecks.discrete.vq import VectorQuantizer
from narrows.core import Batch, Code, Pass
from narrows.core.check import RequestError
from narrows.core.evidence import Indices
from narrows.kernels.kmeans import kmeans, nearest, scatter_sum, spread


def batch_of(vq, tokens):
    """What the trainer hands to `after_step`."""
    return vq.train()(tokens)


@given(
    codes=st.integers(1, 200),
    rows=st.integers(1, 60),
    width=st.integers(1, 9),
    chunk=st.sampled_from([1, 300, 10**6]),
)
@settings(deadline=None, max_examples=60)
def test_nearest_is_brute_force(codes, rows, width, chunk):
    torch.manual_seed(codes * 1000 + rows)
    x, e = torch.randn(rows, width, dtype=torch.float64), torch.randn(codes, width, dtype=torch.float64)
    distances = torch.cdist(x, e, compute_mode="donot_use_mm_for_euclid_dist")
    assert torch.equal(nearest(x, e, chunk), distances.argmin(1))


def test_nearest_of_equals_is_the_first_and_axes_stay():
    e = torch.zeros(130, 2)
    assert nearest(torch.ones(2, 3, 2), e).tolist() == [[0] * 3] * 2


def test_float32_lookup_is_as_near_as_float64():
    torch.manual_seed(0)
    x, e = torch.randn(5000, 16), torch.randn(777, 16)
    found = nearest(x, e)
    distances = torch.cdist(x.double(), e.double())
    gap = distances.gather(1, found[:, None]).squeeze(1) - distances.amin(1)
    assert gap.max() < 1e-5


def test_scatter_sum_is_the_one_hot_product():
    torch.manual_seed(0)
    x, i = torch.randn(50, 3, dtype=torch.float64), torch.randint(7, (50,))
    one_hot = torch.nn.functional.one_hot(i, 7).double()
    counts, sums = scatter_sum(x, i, 7)
    assert torch.equal(counts, one_hot.sum(0))
    assert torch.allclose(sums, one_hot.T @ x)


def test_kmeans_finds_separated_clusters_among_duplicates():
    torch.manual_seed(0)
    truth = torch.tensor([[0.0, 0.0]] * 500 + [[10.0, 0.0]] * 3 + [[0.0, 10.0]] * 2)
    centres, counts = kmeans(truth, 3)
    assert sorted(counts.tolist()) == [2, 3, 500]
    assert {tuple(c) for c in centres.tolist()} == {(0.0, 0.0), (10.0, 0.0), (0.0, 10.0)}


def test_spread_follows_the_distance():
    torch.manual_seed(0)
    rows = torch.arange(3.0)[:, None]
    distance = torch.tensor([0.0, 1.0, 3.0])
    drawn = torch.cat([spread(rows, 1, distance) for _ in range(4000)]).flatten()
    share = torch.stack([(drawn == r).float().mean() for r in (0.0, 1.0, 2.0)])
    assert share[0] == 0
    assert torch.allclose(share[1:], torch.tensor([0.25, 0.75]), atol=0.03)


@pytest.mark.parametrize("decay", [0.8, 0.99])
def test_the_ema_codebook_follows_the_written_recurrence(decay):
    """n <- g n + (1-g) c, S <- g S + (1-g) s, e = S / (N (n + eps) / (N + K eps)), token by token in Python."""
    torch.manual_seed(0)
    codes, width, eps = 5, 3, 1e-5
    vq = VectorQuantizer(width, codes=codes, tokens=4, codebook=f"ema:decay={decay},restart=0").double()
    n = [1.0] * codes
    s = [[float(v) for v in row] for row in vq.book.codebook]
    e = [row[:] for row in s]
    for _ in range(6):
        x = torch.randn(7, 4, width, dtype=torch.float64)
        counts, sums = [0] * codes, [[0.0] * width for _ in range(codes)]
        for token in x.flatten(0, 1).tolist():
            distances = [sum((a - b) ** 2 for a, b in zip(token, code, strict=True)) for code in e]
            k = distances.index(min(distances))
            counts[k] += 1
            sums[k] = [a + b for a, b in zip(sums[k], token, strict=True)]
        n = [decay * a + (1 - decay) * c for a, c in zip(n, counts, strict=True)]
        s = [
            [decay * a + (1 - decay) * b for a, b in zip(p, q, strict=True)]
            for p, q in zip(s, sums, strict=True)
        ]
        total = sum(n)
        e = [[v / (total * (n[k] + eps) / (total + codes * eps)) for v in s[k]] for k in range(codes)]
        vq.after_step(Pass(None, batch_of(vq, x)))
        assert torch.allclose(vq.book.codebook, torch.tensor(e, dtype=torch.float64), rtol=1e-10, atol=1e-12)
        assert torch.allclose(vq.book.counts, torch.tensor(n, dtype=torch.float64), rtol=1e-12)


def test_a_lookup_moves_no_buffer():
    vq = VectorQuantizer(3, codes=5, tokens=4).train()
    before = {k: v.clone() for k, v in vq.state_dict().items()}
    vq(torch.randn(2, 4, 3))
    assert all(torch.equal(v, before[k]) for k, v in vq.state_dict().items())


@pytest.mark.parametrize("codebook", ["ema", "gradient"])
def test_dead_codes_are_replaced_whole_and_the_living_stay(codebook):
    torch.manual_seed(0)
    vq = VectorQuantizer(2, codes=3, tokens=50, codebook=f"{codebook}:decay=0.9,restart=0.1")
    with torch.no_grad():
        vq.book.codebook.copy_(torch.tensor([[0.0, 0.0], [9.0, 9.0], [99.0, 99.0]]))
    if codebook == "ema":
        vq.book.sums.copy_(vq.book.codebook)
    x = torch.randn(1, 50, 2) * 0.1
    x[:, 25:] += 9
    used, unused = 1.0, 1.0
    while True:  # until the share of the third code falls below a tenth of an even one
        used, unused = 0.9 * used + 0.1 * 25, 0.9 * unused
        least = 0.1 * (2 * used + unused) / 3
        vq.after_step(Pass(None, batch_of(vq, x)))
        if unused < least:
            break
        assert vq.book.codebook[2].min() > 90
    assert any(torch.allclose(vq.book.codebook[2], token) for token in x[0])
    assert torch.allclose(vq.book.counts, torch.tensor([used, used, 2 * least]), rtol=1e-5)
    if codebook == "ema":
        assert torch.allclose(vq.book.sums[2], vq.book.codebook[2] * vq.book.counts[2])
        assert (vq.book.codebook[:2] - torch.tensor([[0.0, 0.0], [9.0, 9.0]])).abs().max() < 0.5


def test_a_restarted_code_is_used():
    """The order matters: replaced before the EMA, a code would be overwritten at once, and stay dead."""
    torch.manual_seed(0)
    vq = VectorQuantizer(8, codes=64, tokens=256, codebook="ema:decay=0.9,restart=0.05")
    vq.book.codebook.mul_(0).add_(50)  # all on one spot far away: one code gets every token
    vq.book.sums.copy_(vq.book.codebook)
    x = torch.randn(4, 256, 8)
    for _ in range(60):
        vq.after_step(Pass(None, batch_of(vq, x)))
    assert len(vq(x)[Indices].indices.unique()) > 55


def test_no_restart_where_none_is_wanted():
    torch.manual_seed(0)
    vq = VectorQuantizer(2, codes=2, tokens=5, codebook="ema:decay=0.5,restart=0")
    vq.book.codebook.copy_(torch.tensor([[0.0, 0.0], [99.0, 99.0]]))
    vq.book.sums.copy_(vq.book.codebook)
    for _ in range(5):
        vq.after_step(Pass(None, batch_of(vq, torch.randn(3, 5, 2))))
    assert vq.book.codebook[1].min() > 90


def test_the_costs_put_beta_on_the_commitment():
    """||sg(z) - e||^2 moves codes alone, ||z - sg(e)||^2 tokens alone; each once."""
    torch.manual_seed(0)
    vq = VectorQuantizer(3, codes=4, tokens=2, codebook="gradient").double()
    x = torch.randn(5, 2, 3, dtype=torch.float64, requires_grad=True)
    code = vq(x)
    e = vq.book.codebook[code[Indices].indices]
    squares = ((x - e) ** 2).sum((1, 2))
    assert torch.allclose(code.costs["commitment"], squares)
    assert torch.allclose(code.costs["codebook"], squares)
    beta = 0.25
    (code.costs["codebook"] + beta * code.costs["commitment"]).sum().backward()
    assert torch.allclose(x.grad, beta * 2 * (x - e).detach())
    expected = torch.zeros_like(vq.book.codebook)
    for i, k in enumerate(code[Indices].indices.flatten().tolist()):
        expected[k] += 2 * (e - x).detach().flatten(0, 1)[i]
    assert torch.allclose(vq.book.codebook.grad, expected)


def test_straight_through_is_exact_both_ways():
    x = torch.tensor([[1e8, 0.1]], requires_grad=True)
    q = torch.tensor([[0.3, 0.7]])
    y = straight_through(x, q)
    assert torch.equal(y, q)
    y.backward(torch.tensor([[2.0, -3.0]]))
    assert torch.equal(x.grad, torch.tensor([[2.0, -3.0]]))


def test_the_rotation_takes_x_to_q_and_so_does_its_gradient():
    """The Jacobian is |q|/|x| times a rotation R with R x/|x| = q/|q|, found here by the plane's own angles."""
    torch.manual_seed(0)
    x, q = torch.randn(2, 6, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda t: rotation(t, q), x)
    turn = jacobian / (q.norm() / x.norm())
    assert torch.allclose(rotation(x, q), q)
    assert torch.allclose(turn @ turn.T, torch.eye(6, dtype=torch.float64))
    assert torch.allclose(turn @ (x / x.norm()), q / q.norm())
    assert torch.allclose(torch.linalg.det(turn), torch.tensor(1.0, dtype=torch.float64))
    u = x / x.norm()
    v = q / q.norm() - (q / q.norm() @ u) * u
    v = v / v.norm()
    cos = q @ x / (q.norm() * x.norm())
    sin = (1 - cos**2).sqrt()
    plane = torch.stack([u, v], 1)
    inside = torch.tensor([[cos, -sin], [sin, cos]], dtype=torch.float64)
    expected = torch.eye(6, dtype=torch.float64) - plane @ plane.T + plane @ inside @ plane.T
    assert torch.allclose(turn, expected)


@pytest.mark.parametrize(
    ("x", "q"),
    [
        ((0.0, 0.0), (1.0, 0.0)),
        ((1e-6, 0.0), (1.0, 0.0)),
        ((1.0, 0.0), (-1.0, 0.0)),
        ((1.0, 0.0), (0.0, 0.0)),
    ],
)
def test_where_the_rotation_is_not_defined_the_gradient_is_straight_through(x, q):
    x = torch.tensor([x], requires_grad=True)
    y = rotation(x, torch.tensor([q]))
    assert torch.equal(y, torch.tensor([q]))
    y.sum().backward()
    assert torch.equal(x.grad, torch.ones(1, 2))


def test_codes_start_at_the_centres_of_the_data():
    torch.manual_seed(0)

    class Model:
        encoder = staticmethod(lambda x, given: x)

    vq = VectorQuantizer(2, codes=4, tokens=10)
    centres = torch.tensor([[5.0, 5.0], [5.0, -5.0], [-5.0, 5.0], [-5.0, -5.0]])
    x = centres[torch.arange(400) % 4].view(40, 10, 2) + 0.01 * torch.randn(40, 10, 2)
    vq.prepare(Model(), Batch(x))
    assert torch.cdist(centres, vq.book.codebook).amin(1).max() < 0.01
    assert torch.allclose(vq.book.sums, vq.book.codebook * vq.book.counts[:, None])
    plain = VectorQuantizer(2, codes=4, tokens=10, codebook="ema:start=normal")
    before = plain.book.codebook.clone()
    plain.prepare(Model(), Batch(x))
    assert torch.equal(plain.book.codebook, before)


def test_more_codes_than_tokens_stay_finite():
    class Model:
        encoder = staticmethod(lambda x, given: x)

    vq = VectorQuantizer(2, codes=50, tokens=3)
    x = torch.randn(1, 3, 2)
    vq.prepare(Model(), Batch(x))
    for _ in range(3):
        vq.after_step(Pass(None, batch_of(vq, x)))
    assert torch.isfinite(vq.book.codebook).all()
    assert vq(x).costs["commitment"].max() < 1e-6


def test_more_codes_than_the_first_batch_has_tokens_are_refused():
    """Where k-means starts them: 4096 examples at most, and of a part of a codebook, or of a place, fewer tokens."""
    VectorQuantizer(2, codes=30, tokens=3).check_rows(10)
    for quantizer, rows, most in (
        (VectorQuantizer(2, codes=31, tokens=3), 10, 30),
        (VectorQuantizer(2, codes=5000, tokens=1), 10_000, 4096),
        (ResidualQuantizer(2, codes=61, tokens=3, depth=2), 10, 59),
        (ResidualQuantizer(2, codes=31, tokens=3, depth=2, shared=False), 10, 30),
        (GroupedQuantizer(2, codes=11, tokens=3, groups=1, books="token"), 10, 10),
        (LevelQuantizer(2, codes=11, grids=((1, 1), (2, 2))), 10, 10),
        (ScaleQuantizer(2, codes=21, grids=((1, 1), (2, 2))), 10, 19),
        (DynamicQuantizer(2, codes=51, grids=((1, 1), (2, 2))), 10, 50),
    ):
        with pytest.raises(RequestError, match=f"`codes` must be at most {most}: k-means"):
            quantizer.check_rows(rows)
    for codebook in ("ema:start=normal", "linear", "clustered"):
        VectorQuantizer(2, codes=31, tokens=3, codebook=codebook).check_rows(10)


def test_narrow_codes_are_joined_to_wide_tokens():
    vq = VectorQuantizer(8, codes=16, tokens=5, width=3)
    code = vq(torch.randn(4, 5, 8), samples=(2,))
    assert code.z.shape == (2, 4, 5, 8)
    assert code.costs["commitment"].shape == (2, 4)
    assert torch.equal(vq.from_symbols(vq.to_symbols(code)).z, code.z[0])
    assert vq.sample(6).z.shape == (6, 5, 8)


def test_without_a_prior_every_code_is_as_likely():
    torch.manual_seed(0)
    indices = VectorQuantizer(2, codes=4, tokens=100).sample(200)[Indices].indices
    assert torch.allclose(indices.flatten().bincount() / 20000, torch.full((4,), 0.25), atol=0.02)


@pytest.mark.parametrize(
    "wrong",
    [
        {"codes": 0},
        {"codebook": "mean"},
        {"gradient": "none"},
        {"codebook": "ema:decay=1"},
        {"codebook": "ema:restart=0.9"},
        {"codebook": "gradient:start=zero"},
    ],
)
def test_bad_arguments_are_refused(wrong):
    name = next(iter(wrong))
    with pytest.raises(RequestError, match=name):
        VectorQuantizer(4, **{"codes": 8, "tokens": 3, **wrong})


@pytest.mark.parametrize("symbols", [torch.tensor([[8]]), torch.tensor([[-1]]), torch.tensor([[0.5]])])
def test_no_code_has_a_wrong_index(symbols):
    with pytest.raises(RequestError, match="0 to 7"):
        VectorQuantizer(4, codes=8, tokens=1).from_symbols(symbols)


def test_mixed_precision_looks_up_in_full():
    torch.manual_seed(0)
    vq = VectorQuantizer(4, codes=512, tokens=64)
    x = torch.randn(8, 64, 4)
    with torch.autocast("cpu", torch.bfloat16):
        code: Code = vq(x)
    assert torch.equal(code[Indices].indices, vq(x)[Indices].indices)


@pytest.mark.parametrize("codebook", ["ema", "gradient"])
def test_two_processes_move_the_codebook_as_one_does(codebook, monkeypatch):
    """The counts and sums of the halves of a batch, added where processes are, give the step of the whole."""
    torch.manual_seed(0)
    whole = VectorQuantizer(3, codes=8, tokens=5, codebook=f"{codebook}:restart=0")
    half = VectorQuantizer(3, codes=8, tokens=5, codebook=f"{codebook}:restart=0")
    half.load_state_dict(whole.state_dict())
    x = torch.randn(6, 5, 3)
    rest = torch.cat([x[3:].flatten(0, 1), torch.ones(15, 1)], 1)
    table = torch.zeros(8, 4).index_add_(0, half(x[3:])[Indices].indices.flatten(), rest)
    whole.after_step(Pass(None, batch_of(whole, x)))
    monkeypatch.setattr("narrows.kernels.kmeans.all_sum", lambda mine: mine + table)
    half.after_step(Pass(None, batch_of(half, x[:3])))
    for name, value in whole.state_dict().items():
        assert torch.allclose(value, half.state_dict()[name], atol=1e-6)


def explicit_rotation(x, q):
    """sg[|q| / |x| R] x with R written as a matrix, for each row; sg[q - x] + x where that is not defined."""
    rows = []
    for token, code in zip(x, q, strict=True):
        with torch.no_grad():
            ratio = code.norm() / token.norm()
            start, end = token / token.norm(), code / code.norm()
            middle = (start + end) / (start + end).norm()
            r = torch.eye(len(token)).to(token) - 2 * middle[:, None] * middle + 2 * end[:, None] * start
        rows.append((ratio * r) @ token if ratio <= 100 else token + (code - token).detach())
    return torch.stack(rows)


def test_the_gradient_of_a_rotation_is_that_of_the_explicit_matrix():
    """Through a loss that is no linear function, for rows at all angles, one of them stretched too far."""
    torch.manual_seed(0)
    start, q = torch.randn(6, 4, dtype=torch.float64), torch.randn(6, 4, dtype=torch.float64)
    start[0] *= 1e-3  # stretched more than a hundredfold
    start[1] = q[1] * 3  # the same direction
    gradients = []
    for passes in (rotation, explicit_rotation):
        x = start.clone().requires_grad_()
        y = passes(x, q)
        assert torch.allclose(y, q)
        (y.sin() * torch.arange(4)).square().sum().backward()
        gradients.append(x.grad)
    assert torch.allclose(gradients[0], gradients[1])
    assert torch.allclose(gradients[0][1].norm(), _slope(q)[1].norm() / 3)  # scaled by |q| / |x|
    assert torch.allclose(gradients[0][0], _slope(q)[0])  # copied


def _slope(q):
    y = q.clone().requires_grad_()
    (y.sin() * torch.arange(4)).square().sum().backward()
    return y.grad
