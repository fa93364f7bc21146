import numpy as np
import pytest

from narrows.core.check import RequestError
from narrows.data.graphs import Graph, divide
from narrows.data.readers.graph import from_arrays, from_edge_list, several
from narrows.data.synthetic.sbm import draw


def as_set(pairs):
    return set(map(tuple, np.sort(pairs, axis=1).tolist()))


@pytest.fixture(scope="module")
def graph():
    return draw(120, 4, 0.1, 0.02, seed=3)[0]


def test_edges_are_parted_and_non_edges_are_none(graph):
    split = divide(graph, seed=1)
    every = as_set(graph.edges)
    parts = [as_set(part) for part in (split.train, split.validation, split.test)]
    assert set.union(*parts) == every
    assert sum(map(len, parts)) == len(every)
    assert len(split.test) == len(graph.edges) // 10
    assert len(split.validation) == len(graph.edges) // 20
    apart = [as_set(part) for part in (split.validation_non_edges, split.test_non_edges)]
    assert [len(part) for part in apart] == [len(split.validation), len(split.test)]
    assert not set.union(*apart) & every
    assert not apart[0] & apart[1]
    assert all(i < j for i, j in set.union(*apart))


def test_seeds_decide_what_is_held_out(graph):
    one, same, other = (divide(graph, seed=s) for s in (0, 0, 1))
    for name in ("train", "test", "test_non_edges"):
        assert np.array_equal(getattr(one, name), getattr(same, name))
        assert as_set(getattr(one, name)) != as_set(getattr(other, name))


def test_non_edges_are_drawn_evenly():
    ring = Graph.of(np.array([[0, 1], [1, 2], [2, 3], [3, 4], [4, 5], [5, 0], [1, 4], [0, 3]]))
    counts: dict[tuple[int, int], int] = {}
    for seed in range(900):
        for pair in as_set(divide(ring, test=0.25, validation=0, seed=seed).test_non_edges):
            counts[pair] = counts.get(pair, 0) + 1
    assert len(counts) == 7  # of 15 pairs 8 are joined
    assert max(counts.values()) - min(counts.values()) < 0.35 * 1800 / 7


@pytest.mark.parametrize(
    ("edges", "options", "said"),
    [
        (np.zeros((3, 3), int), {}, "pairs of nodes"),
        (np.array([[0, -1]]), {}, "integers from 0"),
        (np.array([[0.5, 1]]), {}, "integers"),
        (np.array([[1, 1]]), {}, "no edge between different nodes"),
        (np.array([[0, 9]]), {"x": np.zeros((4, 2))}, "Number the nodes from 0"),
        (np.array([[0, 1]]), {"x": np.full((2, 1), np.nan)}, "finite"),
        (np.array([[0, 1]]), {"x": np.zeros((2, 1)), "labels": np.zeros(3)}, "data of 2 and 3 nodes"),
    ],
)
def test_what_is_no_graph_is_refused(edges, options, said):
    with pytest.raises(RequestError, match=said):
        Graph.of(edges, **options)


def test_shares_that_leave_nothing_are_refused():
    ring = Graph.of(np.array([[0, 1], [1, 2]]))
    with pytest.raises(RequestError, match="at least one of the graph's 2 edges"):
        divide(ring)
    full = Graph.of(np.argwhere(np.triu(np.ones((8, 8)), 1)))
    with pytest.raises(RequestError, match="too few for 3 held-out edges"):
        divide(full)


EDGES = np.array([[0, 1], [1, 2], [3, 0]])
WANTED = {(0, 1), (1, 2), (0, 3)}


@pytest.mark.parametrize("form", ["edges", "edge_index", "matrix", "csr"])
def test_edges_are_read_in_each_form(form):
    matrix = np.zeros((4, 4), np.float32)
    matrix[EDGES[:, 0], EDGES[:, 1]] = matrix[EDGES[:, 1], EDGES[:, 0]] = 1
    rows, columns = matrix.nonzero()
    ends = np.r_[0, np.bincount(rows, minlength=4).cumsum()]
    arrays = {
        "edges": {"edges": EDGES},
        "edge_index": {"edge_index": np.concatenate([EDGES, EDGES[:, ::-1]]).T},
        "matrix": {"adj": matrix},
        "csr": {
            "adj_indices": columns,
            "adj_indptr": ends,
            "adj_data": np.ones(6),
            "adj_shape": np.array([4, 4]),
        },
    }[form]
    assert as_set(from_arrays(arrays, "g.npz").edges) == WANTED


def test_data_of_the_nodes_are_read_dense_and_sparse():
    x = np.array([[0, 2, 0], [1, 0, 0], [0, 0, 0], [0, 3, 4]], np.float32)
    rows, columns = x.nonzero()
    parts = {
        "feat_indices": columns.astype(np.int16),
        "feat_indptr": np.r_[0, np.bincount(rows, minlength=4).cumsum()],
        "feat_data": x[rows, columns],
        "feat_shape": np.array([4, 3]),
    }
    for arrays in ({"x": x}, parts):
        graph = from_arrays({"edges": EDGES, **arrays, "label": np.array([0, 1, 0, 1])}, "g.npz")
        assert np.array_equal(graph.x, x)
        assert graph.labels.tolist() == [0, 1, 0, 1]
    assert from_arrays({"edges": EDGES}, "g.npz").x.shape == (4, 0)
    with pytest.raises(RequestError, match="not a CSR matrix"):
        from_arrays({"edges": EDGES, **parts, "feat_indices": columns + 2}, "g.npz")
    with pytest.raises(RequestError, match="has no edges"):
        from_arrays({"x": x}, "g.npz")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("source,target\n0,1\n1,2\n3,0\n", ()),
        ("0,1\n1,2\n3,0\n", ()),
        ("from,to,weight\na,b,1\nb,c,1\n\nd,a,2\n", ("a", "b", "c", "d")),
    ],
)
def test_lists_of_edges_are_read(tmp_path, text, names):
    path = tmp_path / "edges.csv"
    path.write_text(text)
    graph = from_edge_list(path)
    assert as_set(graph.edges) == WANTED
    assert graph.names == names


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("source\n1\n", "a column for each end"),
        ("a,b\n1,\n", "Line 2"),
        ("a,b\n1\n", "Line 2"),
        ("", "column"),
    ],
)
def test_lists_that_are_none_are_refused(tmp_path, text, said):
    path = tmp_path / "edges.csv"
    path.write_text(text)
    with pytest.raises(RequestError, match=said):
        from_edge_list(path)
    path.write_text("a,b\n1,2\n")
    with pytest.raises(RequestError, match="columns"):
        from_edge_list(path, columns=("a", "c"))


def test_a_first_row_that_names_a_node_is_an_edge(tmp_path):
    path = tmp_path / "friends.csv"
    path.write_text("anna,bert\nbert,carla\ncarla,dora\n")
    graph = from_edge_list(path)
    assert (graph.names, len(graph.edges)) == (("anna", "bert", "carla", "dora"), 3)
    path.write_text("who,whom\nbert,carla\ncarla,dora\n")
    assert from_edge_list(path).names == ("bert", "carla", "dora")


def test_edges_both_ways_twice_and_to_themselves_count_as_documented(tmp_path):
    path = tmp_path / "edges.csv"
    path.write_text("from,to\na,b\nb,a\na,b\nc,c\nb,d\n")
    graph = from_edge_list(path)
    assert graph.names == ("a", "b", "c", "d")  # c is alone
    assert as_set(graph.edges) == {(0, 1), (1, 3)}
    assert len(graph.edges) == 2


def test_many_graphs_are_read_from_one_file():
    arrays = {
        "edges": np.array([[0, 1], [1, 2], [1, 0], [2, 3], [0, 3]]),
        "edge_ends": np.array([2, 3, 5]),
        "node_ends": np.array([3, 5, 9]),
        "x": np.arange(18.0).reshape(9, 2),
    }
    graphs = several(arrays, "g.npz")
    assert [as_set(one.edges) for one in graphs] == [{(0, 1), (1, 2)}, {(0, 1)}, {(2, 3), (0, 3)}]
    assert [one.x[0, 0] for one in graphs] == [0, 6, 10]
    del arrays["x"]
    assert [one.x.shape for one in several(arrays, "g.npz")] == [(3, 0), (2, 0), (4, 0)]
    for change, said in [
        ({"edge_ends": np.array([2, 4])}, "end at 5"),
        ({"node_ends": np.array([3, 5])}, "as many as"),
        ({"node_ends": np.array([3, 2, 9])}, "ascending"),
    ]:
        with pytest.raises(RequestError, match=said):
            several({**arrays, **change}, "g.npz")


def test_the_block_model_has_the_probabilities_that_were_asked_for():
    graph, truth = draw(600, 3, 0.2, 0.02)
    same = truth.blocks[:, None] == truth.blocks[None]
    a = np.zeros((600, 600), bool)
    a[graph.edges[:, 0], graph.edges[:, 1]] = True
    upper = np.triu(np.ones((600, 600), bool), 1)
    for part, p in ((same, 0.2), (~same, 0.02)):
        cells = a[part & upper]
        assert abs(cells.mean() - p) < 4 * np.sqrt(p * (1 - p) / len(cells))
    p = np.where(same, 0.2, 0.02)[upper]
    wanted = np.where(a[upper], np.log(p), np.log1p(-p)).sum()
    assert truth.log_likelihood(graph.edges) == pytest.approx(wanted)
