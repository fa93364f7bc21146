import pytest
import torch

from narrows.core.check import RequestError
from narrows.nets.graph import GCN, GRAPH_NETS, WithPresence

EDGES = torch.tensor([[[0, 1], [2, 1], [3, 4], [0, 4]], [[1, 5], [5, 2], [0, 0], [0, 0]]])
"""Two graphs, the second with two entries of padding."""


def dense(net, x, edges, there):
    """The same network by dense matrices, one graph at a time."""
    out = []
    for row, pairs, here in zip(x, edges, there):
        a = torch.eye(len(row), dtype=row.dtype)
        for i, j in pairs.tolist():
            if i != j and here[i] and here[j]:
                a[i, j] = a[j, i] = 1
        scale = torch.diag(a.sum(1) ** -0.5)
        spread, h = scale @ a @ scale, row
        for i, weight in enumerate([net.first, *net.others]):
            h = spread @ (h if i == 0 else h.relu()) @ weight
        out.append(h)
    return torch.stack(out)


def test_it_equals_the_dense_matrices():
    x, there = torch.randn(2, 6, 3, dtype=torch.float64), torch.ones(2, 6, dtype=torch.bool)
    there[1, 0] = there[0, 2] = False
    x[~there] = 0
    net = GCN((6, 3), 4, hidden=(8, 5)).double()
    features, said = net(x, {"edges": EDGES, "mask": there})
    assert torch.equal(said, there)
    torch.testing.assert_close(features[there], dense(net, x, EDGES, there)[there])


def test_relabelled_nodes_have_relabelled_features():
    net, x = GCN((6, 3), 4).double(), torch.randn(2, 6, 3, dtype=torch.float64)
    order = torch.tensor([4, 2, 0, 5, 1, 3])
    features, _ = net(x, {"edges": EDGES})
    moved, _ = net(x[:, order], {"edges": order.argsort()[EDGES].flip(1)})
    torch.testing.assert_close(moved, features[:, order])


def test_edges_that_are_masked_may_name_anything():
    net, x = GCN((6, 3), 4), torch.randn(2, 6, 3)
    mask = torch.ones(2, 4, dtype=torch.bool)
    mask[1, 2:] = False
    garbage = EDGES.clone()
    garbage[1, 2:] = torch.tensor([[99, -5], [3, 1]])
    one, other = (net(x, {"edges": e, "edges_mask": mask})[0] for e in (EDGES, garbage))
    assert torch.equal(one, other)


def test_nodes_without_data_are_told_apart_by_their_numbers():
    net = GCN((6, 0), 4, hidden=(8,)).double()
    features, _ = net(torch.zeros(2, 6, 0, dtype=torch.float64), {"edges": EDGES})
    unit = GCN((6, 6), 4, hidden=(8,)).double()  # the unit matrix as data
    with torch.no_grad():
        unit.first.copy_(net.numbers)
        unit.others[0].copy_(net.others[0])
    eye = torch.eye(6, dtype=torch.float64).expand(2, 6, 6)
    torch.testing.assert_close(features, unit(eye, {"edges": EDGES})[0])
    with pytest.raises(RequestError, match="have no features"):
        GCN((6, 0), 4, features="data")


def test_data_and_numbers_stand_side_by_side():
    net = GCN((6, 3), 4, features="both").double()
    side = GCN((6, 9), 4).double()
    with torch.no_grad():
        side.first.copy_(torch.cat([net.first, net.numbers]))
        side.others[0].copy_(net.others[0])
    x = torch.randn(2, 6, 3, dtype=torch.float64)
    eye = torch.eye(6, dtype=torch.float64).expand(2, 6, 6)
    wide, _ = side(torch.cat([x, eye], -1), {"edges": EDGES})
    torch.testing.assert_close(net(x, {"edges": EDGES})[0], wide)


def test_a_net_is_spelled():
    net = GRAPH_NETS.make("gcn:8,5,features=identity", shape=(6, 3), out=4)
    assert [tuple(p.shape) for p in net.parameters()] == [(6, 8), (8, 5), (5, 4)]
    with pytest.raises(RequestError, match="one of `gcn`"):
        GRAPH_NETS.make("mlp", shape=(6, 3), out=4)


def test_the_decoder_says_which_nodes_are_there():
    z, there = torch.randn(3, 2, 6, 4), torch.rand(2, 6) > 0.5
    out = WithPresence()(z, {"mask": there})
    assert torch.equal(out[..., :4], z)
    assert torch.equal(out[..., 4], there.float().expand(3, 2, 6))
    assert (WithPresence()(z, {})[..., 4] == 1).all()
