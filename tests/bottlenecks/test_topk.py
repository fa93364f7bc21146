"""TopK and its relatives: selection, idle counts, waking the dead, and the dictionary that decodes them."""

import pytest
import torch
from torch import nn

from narrows.bottlenecks.sparse.relu import ReLU
from narrows.bottlenecks.sparse.topk import TopK
from narrows.core import Batch, Code, Pass, Sparse
from narrows.core.check import RequestError
from narrows.kernels.sparse import LazyLinear
from narrows.nets.dictionaries.dictionary import AffineEncoder, Dictionary, geometric_median


def brute_topk(pre, k):
    """ReLU after top-k, one example at a time."""
    out = torch.zeros_like(pre)
    for row, result in zip(pre.tolist(), out):
        for n in sorted(range(len(row)), key=lambda n: -row[n])[:k]:
            result[n] = max(0.0, row[n])
    return out


@pytest.mark.parametrize(("rows", "width", "k"), [(5, 40, 3), (1, 40, 3), (4, 6, 6), (3, 200, 1)])
def test_topk_equals_a_loop(rows, width, k):
    pre = torch.randn(rows, width)
    code = TopK(width, k)(pre)
    assert isinstance(code.z, Sparse)
    assert code.z.values.shape == (rows, k)
    torch.testing.assert_close(code.z.dense(), brute_topk(pre, k))


def test_a_promise_and_its_tensor_give_the_same_code():
    encoder = AffineEncoder(40, (7,), centre=Dictionary(40, (7,))).double()
    nn.init.normal_(encoder.bias)
    promise = encoder(torch.randn(9, 7, dtype=torch.float64))
    bottleneck = TopK(40, 4)
    torch.testing.assert_close(
        bottleneck(promise).z.dense(), bottleneck(promise.dense()).z.dense(), atol=1e-12, rtol=0
    )


def test_negative_pre_activations_are_nothing():
    z = TopK(50, 5)(-torch.rand(3, 50) - 0.1).z
    assert not z.values.any()
    assert not Dictionary(50, (4,)).combine(z).any()


def test_gradient_reaches_the_winners_alone():
    pre = torch.tensor([[3.0, 1.0, 2.0, -4.0], [-1.0, -2.0, 5.0, -3.0]], requires_grad=True)
    TopK(4, 2)(pre).z.values.sum().backward()
    # The second row's second winner is negative: the ReLU stops its gradient.
    assert pre.grad.tolist() == [[1, 0, 1, 0], [0, 0, 1, 0]]


def test_samples_repeat_the_code():
    code = TopK(9, 2)(torch.randn(4, 9), samples=(3,))
    assert code.z.values.shape == (3, 4, 2)
    assert Dictionary(9, (5,))(code.z).shape == (3, 4, 5)
    assert ReLU(9)(torch.randn(4, 9), samples=(3,)).costs["l1"].shape == (3, 4)


@pytest.mark.parametrize("kind", [lambda: TopK(6, 2), lambda: ReLU(6)])
def test_idle_counts_follow_the_recurrence(kind):
    bottleneck = kind()
    counts, most = [0] * 6, 0
    for step in range(5):
        pre = torch.randn(step + 1, 6, generator=torch.Generator().manual_seed(step)) - 0.5
        code = bottleneck(pre)
        assert torch.equal(bottleneck.idle, torch.tensor(counts)), "the loss must not move the counts"
        bottleneck.after_step(Pass(None, code))
        z = code.z.dense() if isinstance(code.z, Sparse) else code.z
        for n in range(6):
            on = any(float(row[n]) > 0 for row in z)
            counts[n] = 0 if on else counts[n] + len(pre)
        assert bottleneck.idle.tolist() == counts
        most = max([most, *counts])
    assert most > 1


def test_waking_asks_the_dead_alone():
    bottleneck = TopK(6, 2)
    bottleneck.idle.copy_(torch.tensor([0, 11, 10, 99, 0, 12]))
    pre = torch.tensor([[9.0, 1.0, 8.0, 3.0, 7.0, -2.0], [9.0, -1.0, 8.0, -3.0, 7.0, 2.0]])
    woken = bottleneck.revive(pre, 2, dead_after=10)
    assert woken.dense().tolist() == [[0, 1, 0, 3, 0, 0], [0, 0, 0, 0, 0, 2]]
    assert bottleneck.revive(pre, 9, dead_after=10).values.shape == (2, 3)
    assert bottleneck.revive(pre, 2, dead_after=99) is None


def test_waking_through_a_promise_is_the_same():
    bottleneck = TopK(30, 2)
    bottleneck.idle[7:15] = 100
    promise = LazyLinear(*(torch.randn(*s, dtype=torch.float64) for s in ((5, 4), (30, 4), (30,), (4,))))
    one, two = (bottleneck.revive(h, 3, dead_after=10).dense() for h in (promise, promise.dense()))
    torch.testing.assert_close(one, two, atol=1e-12, rtol=0)


def test_symbols_can_be_read_again():
    bottleneck = TopK(9, 2)
    for h in (torch.randn(4, 9), (torch.randn(4, 9), torch.randn(4, 3))):
        code = bottleneck(h)
        again = bottleneck.from_symbols(bottleneck.to_symbols(code)).z
        if isinstance(h, tuple):
            assert torch.equal(again[1], h[1])
            again = again[0]
        assert torch.equal(again, bottleneck.features(code))
        assert (again > 0).sum(1).max() <= 2


@pytest.mark.parametrize("k", [0, 5])
def test_a_wrong_k_is_refused(k):
    with pytest.raises(RequestError, match="`k` must be a whole number from 1 to 4"):
        TopK(4, k)


class Plain(nn.Module):
    """As much of a model as a part's `prepare` looks at."""

    def __init__(self, decoder):
        super().__init__()
        self.decoder = decoder


def test_atoms_keep_length_one_and_gradients_are_orthogonal_to_them():
    dictionary = Dictionary(20, (6,))
    optimizer = torch.optim.Adam(dictionary.parameters(), lr=0.1)
    for _ in range(5):
        code = Code(Sparse(torch.randint(20, (8, 3)), torch.rand(8, 3), 20))
        (dictionary(code.z) - torch.randn(8, 6)).square().sum().backward()
        before = dictionary.atoms.grad.clone()
        dictionary.before_update()
        grad, atoms = dictionary.atoms.grad, dictionary.atoms.detach()
        assert (grad * atoms).sum(1).abs().max() < 1e-4
        along = (before * atoms).sum(1, keepdim=True) * atoms
        torch.testing.assert_close(grad, before - along, atol=1e-5, rtol=1e-4)
        optimizer.step()
        optimizer.zero_grad()
        with torch.no_grad():
            dictionary.after_step(Pass(None, code))
        torch.testing.assert_close(dictionary.atoms.norm(dim=1), torch.ones(20))


def test_free_atoms_are_left_alone():
    dictionary = Dictionary(5, (3,), unit_norm=False)
    with torch.no_grad():
        dictionary.atoms.mul_(3)
        dictionary.after_step(Pass(None, Code(None)))
    torch.testing.assert_close(dictionary.atoms.norm(dim=1), torch.full((5,), 3.0))


def test_geometric_median_has_balanced_pulls():
    torch.manual_seed(0)
    x = torch.randn(400, 3, dtype=torch.float64).exp()
    centre = geometric_median(x, 1000, 1e-12)
    pulls = (x - centre) / (x - centre).norm(dim=1, keepdim=True)
    assert pulls.mean(0).norm() < 1e-6  # the gradient of the sum of distances
    assert (x.mean(0) - centre).norm() > 0.1


def test_preparing_centres_and_scales_both_sides():
    x = 7 * torch.randn(500, 6) + 3
    dictionary = Dictionary(20, (6,), normalise=True)
    encoder = AffineEncoder(20, (6,), centre=dictionary, normalise=True)
    with torch.no_grad():
        for part in (dictionary, encoder):
            part.prepare(Plain(dictionary), Batch(x))
    promise = encoder(x)
    inside = promise.x - promise.shift
    assert abs(float(inside.detach().square().mean()) - 1) < 1e-3
    nothing = Sparse(torch.zeros(1, 1, dtype=torch.long), torch.zeros(1, 1), 20)
    torch.testing.assert_close(dictionary(nothing)[0], geometric_median(x), atol=1e-3, rtol=1e-3)
    assert torch.equal(encoder.weight, dictionary.atoms)
    assert len(list(encoder.parameters())) == 2  # the shared centre is the dictionary's
