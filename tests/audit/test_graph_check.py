import networkx
import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

from narrows.audit import audit
from narrows.core import seeded
from narrows.data.graphs import held_out, many
from narrows.data.synthetic.sbm import draw
from narrows.methods.structured.gae import gae
from narrows.methods.structured.vgae import vgae


@pytest.fixture(scope="module")
def source():
    graph, truth = draw(80, 2, 0.3, 0.05, width=4, seed=2)
    return held_out(graph, "sbm", truth=truth)


def numbers(report):
    return {check.name: check.value for check in report.checks}


@pytest.mark.parametrize("form", ["paper", "bound"])
def test_links_and_degrees_equal_those_of_the_whole_matrix(source, form):
    with seeded(1):
        model = vgae(source.spec, latent=3, form=form).eval()
    found = numbers(audit(model, source.test))
    with torch.no_grad():
        z = model.encode(source.test.all()).z[0].double()
    logits = (z @ z.T + model.likelihood.bias.double()).detach().numpy()
    joined = np.zeros((80, 80), bool)
    whole = networkx.Graph(source.test.all().target[0].tolist())
    for i, j in whole.edges:
        joined[i, j] = joined[j, i] = True
    test, beside = (source.test.columns[f"test_{n}"][0].numpy() for n in ("edges", "non_edges"))
    free = logits[np.triu(~joined, 1)]
    scores = [logits[p[:, 0], p[:, 1]] for p in (test, beside)]
    for name, others in (("", scores[1]), ("-all", free)):
        truth = np.r_[np.ones(len(test)), np.zeros(len(others))]
        both = np.r_[scores[0], others]
        assert found[f"links/auc{name}"] == pytest.approx(roc_auc_score(truth, both))
        wanted = average_precision_score(truth, both)
        assert found[f"links/average-precision{name}"] == pytest.approx(wanted)
    p = 1 / (1 + np.exp(-logits))
    np.fill_diagonal(p, 0)
    assert found["degree/expected"] == pytest.approx(p.sum(1).mean())
    degrees = [whole.degree(i) if i in whole else 0 for i in range(80)]
    assert found["degree/correlation"] == pytest.approx(np.corrcoef(p.sum(1), degrees)[0, 1])


def test_units_are_those_of_the_nodes(source):
    with seeded(1):
        model = vgae(source.spec, latent=3).eval()
    found = numbers(audit(model, source.test))
    with torch.no_grad():
        mean = model.encode(source.test.all()).q.mean[0]
    assert found["active-units"] == int((mean.var(0) > 0.01).sum())
    assert found["bits-per-edge"] == pytest.approx(
        found["bound"] / np.log(2) / len(source.test.all().target[0])
    )


@pytest.mark.parametrize("builder", [vgae, gae])
def test_many_graphs_are_examined(builder):
    graphs = [draw(n, 2, 0.5, 0.1, width=3, seed=n)[0] for n in range(10, 40)]
    source = many(graphs, "small", 0.5)
    with seeded(0):
        model = builder(source.spec, latent=2).eval()
    found = numbers(audit(model, source.test))
    assert 0 < found["links/auc"] < 1
    edges = source.test.all().weight.sum() / len(source.test)
    if builder is vgae:
        assert found["bits-per-edge"] == pytest.approx(found["bound"] / np.log(2) / float(edges))
