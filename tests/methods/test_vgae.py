import numpy as np
import pytest
import torch

from narrows import fit, load
from narrows.core import Batch, Spec, seeded
from narrows.core.check import RequestError
from narrows.data.graphs import held_out, many
from narrows.data.synthetic.sbm import draw
from narrows.methods.structured.gae import gae
from narrows.methods.structured.vgae import vgae
from narrows.train import Plan, optimise


@pytest.fixture(scope="module")
def source():
    graph, truth = draw(nodes=90, blocks=3, inside=0.3, between=0.02, width=6, noise=1.0, seed=1)
    return held_out(graph, "sbm", truth=truth)


def trained(builder, source, **options):
    with seeded(0):
        model = builder(source.spec, **options)
        optimise(model, source.train, steps=100, lr=0.01)
    return model


def test_the_published_loss_is_that_of_dense_matrices(source):
    """As the paper's programs have it: A_norm X W, weighted cross-entropy of A + I, KL over N squared."""
    model = vgae(source.spec, latent=4).double().eval()
    batch = source.train.all().map(lambda t: t.double() if t.is_floating_point() else t)
    a = torch.zeros(90, 90, dtype=torch.float64)
    for i, j in batch.target[0].tolist():
        a[i, j] = a[j, i] = 1
    label = a + torch.eye(90, dtype=torch.float64)
    scale = label.sum(1).rsqrt()
    norm_a = scale[:, None] * label * scale
    hidden = torch.relu(norm_a @ batch.x[0] @ model.encoder.first)
    mean, log_variance = (norm_a @ hidden @ model.encoder.others[0]).chunk(2, 1)
    pos_weight = (90**2 - a.sum()) / a.sum()
    norm = 90**2 / (2 * (90**2 - a.sum()))
    cross = torch.nn.functional.binary_cross_entropy_with_logits(mean @ mean.T, label, pos_weight=pos_weight)
    kl = -0.5 / 90 * (1 + log_variance - mean**2 - log_variance.exp()).sum(1).mean()
    torch.testing.assert_close(model.loss(batch).total, 90**2 * (norm * cross + kl))


def test_held_out_edges_never_reach_the_encoder(source):
    model = vgae(source.spec, latent=4).eval()
    batch = source.test.all()
    hidden = {tuple(pair) for pair in source.test.columns["test_edges"][0].tolist()}
    hidden |= {tuple(pair) for pair in source.test.columns["validation_edges"][0].tolist()}
    produced = {tuple(pair) for pair in batch.target[0].tolist()}
    assert hidden <= produced
    for part in (source.train, source.test):
        seen = {tuple(pair) for pair in part.all().condition["edges"][0].tolist()}
        assert seen == produced - hidden
    assert {tuple(pair) for pair in source.train.all().target[0].tolist()} == produced - hidden
    # The codes depend on the edges that are seen, and on no others.
    code = model.encode(batch).z
    other = Batch(batch.x, batch.target[:, :3], batch.condition)
    assert torch.equal(model.encode(other).z, code)
    leaked = Batch(batch.x, batch.target, {"edges": batch.target})
    assert not torch.allclose(model.encode(leaked).z, code)


@pytest.mark.parametrize("builder", [vgae, gae])
@pytest.mark.parametrize("form", ["paper", "bound"])
def test_relabelled_nodes_have_the_same_codes_and_loss(source, builder, form):
    model = builder(source.spec, latent=4, form=form).double().eval()
    batch = source.train.all().map(lambda t: t.double() if t.is_floating_point() else t)
    order = torch.randperm(90)
    number = order.argsort()
    moved = Batch(batch.x[:, order], number[batch.target], {"edges": number[batch.condition["edges"]]})
    torch.testing.assert_close(model.encode(moved).z, model.encode(batch).z[:, order])
    torch.testing.assert_close(model.loss(moved).total, model.loss(batch).total)


@pytest.mark.parametrize("builder", [vgae, gae])
def test_blocks_are_recovered(source, builder):
    model = trained(builder, source)
    z = model.encode(source.test.all()).z[0].detach()
    blocks = torch.from_numpy(source.truth.blocks)
    unit = z / z.norm(dim=1, keepdim=True)
    centres = torch.stack([unit[blocks == b].mean(0) for b in range(3)])
    assert float(((unit @ centres.T).argmax(1) == blocks).float().mean()) > 0.9


def test_the_bound_is_one(source):
    """The divergence and the expected cross-entropy come to no less than the importance-weighted estimate."""
    from narrows.audit.evidence.likelihood import importance_nll

    model = trained(vgae, source, form="bound")
    batch = source.train.all()
    with seeded(0), torch.no_grad():
        one = torch.stack([importance_nll(model, batch, samples=1, seed=s) for s in range(40)]).mean()
        many_draws = importance_nll(model, batch, samples=200)
    assert float(one) > float(many_draws)
    exact = -source.truth.log_likelihood(batch.target[0].numpy())
    assert float(many_draws) > exact  # no model beats the one that made the graph, in expectation and here


def test_a_graph_that_is_padded_has_the_same_loss_and_codes():
    graphs = [draw(nodes=n, blocks=2, inside=0.5, between=0.1, width=3, seed=n)[0] for n in (12, 17, 9, 15)]
    source = many(graphs, "small")
    assert source.spec.shape == (17, 3)
    for builder in (vgae, gae):
        model = builder(source.spec, latent=2).double().eval()
        batch = source.train.all().map(lambda t: t.double() if t.is_floating_point() else t)
        together = model(batch)
        losses = [model.objective.distortion(model, together)[i] for i in range(3)]
        for i in range(3):
            nodes = int(batch.condition["mask"][i].sum())
            edges = batch.condition["edges"][i, batch.condition["edges_mask"][i]]
            alone = model(
                Batch(batch.x[i : i + 1, :nodes], edges.unsqueeze(0), {"edges": edges.unsqueeze(0)})
            )
            torch.testing.assert_close(alone.code.z[0], together.code.z[i, :nodes])
            torch.testing.assert_close(model.objective.distortion(model, alone)[0], losses[i])
            assert not together.code.z[i, nodes:].any()


def test_what_is_no_graph_is_refused():
    with pytest.raises(RequestError, match="reads a graph"):
        vgae(Spec((12,)))
    with pytest.raises(RequestError, match="form"):
        vgae(Spec((12, 3), kind="graph"), form="balanced")
    with pytest.raises(RequestError, match="latent"):
        gae(Spec((12, 3), kind="graph"), latent=0)


def test_graphs_are_drawn_from_the_prior(source):
    model = vgae(source.spec, latent=4, form="bound").eval()
    with seeded(0):
        drawn = model.sample(3, draw=True).detach().numpy()
    assert drawn.shape == (3, 90, 90)
    assert set(np.unique(drawn)) <= {0.0, 1.0}
    with pytest.raises(RequestError, match="no prior"):
        gae(source.spec).sample(1)


def test_one_graph_is_trained_as_published_where_nobody_says_otherwise(source):
    default_plan = vgae(source.spec).default_plan
    for said, expected in (({}, (200, 0.01)), ({"steps": 7}, (7, 0.01)), ({"lr": 1e-3}, (200, 1e-3))):
        plan = Plan.of(1, default_plan, said)
        assert (plan.steps, plan.lr) == expected
    several = Plan.of(100, default_plan, {})  # held-out graphs say when to stop
    assert (several.steps, several.patience, several.lr) == (None, 10, 1e-3)


def test_a_run_reads_other_graphs(tmp_path):
    """A run from a file, and what the verbs give for another one, whose edges the encoder may all see."""
    one, other = (draw(n, 2, 0.4, 0.05, width=3, seed=n)[0] for n in (40, 30))
    for name, graph in (("one", one), ("other", other)):
        np.savez(tmp_path / f"{name}.npz", edges=graph.edges, x=graph.x, labels=graph.labels)
    run = fit(tmp_path / "one.npz", "vgae", tmp_path / "run", steps=5, latent=2, progress=False)
    assert run.data.spec.shape == (40, 3)
    seen = run.data.train.all().condition["edges"]
    assert seen.shape[1] == run.data.train.all().target.shape[1] < len(one.edges)
    again = load(tmp_path / "run")
    assert torch.equal(again.data.train.all().condition["edges"], seen)
    codes = again.encode(tmp_path / "other.npz")
    assert codes["z"].shape == (1, 30, 2)
    batch = held_out(other, "other").train.all()
    edges = torch.from_numpy(other.edges).unsqueeze(0)
    wanted = again.model.encode(Batch(batch.x, edges, {"edges": edges})).q.mean
    np.testing.assert_allclose(codes["z"], wanted.detach().numpy(), atol=1e-5)
    assert again.reconstruct(tmp_path / "other.npz").shape == (1, 30, 30)
    assert np.isfinite(again.score(tmp_path / "other.npz")).all()
    np.savez(tmp_path / "wide.npz", edges=other.edges, x=np.zeros((30, 5)))
    with pytest.raises(RequestError, match="30 nodes with 5 features each"):
        again.encode(tmp_path / "wide.npz")


def test_a_list_of_edges_alone_makes_a_run(tmp_path):
    graph, _ = draw(30, 2, 0.4, 0.05, width=0, seed=1)
    rows = "\n".join(f"n{i:02},n{j:02}" for i, j in graph.edges)
    (tmp_path / "edges.csv").write_text(f"source,target\n{rows}\n")
    fit(tmp_path / "edges.csv", "gae", tmp_path / "run", steps=3, latent=2, progress=False)
    run = load(tmp_path / "run")
    assert run.data.spec.shape == (30, 0)
    assert run.encode(tmp_path / "edges.csv")["z"].shape == (1, 30, 2)
    with pytest.raises(RequestError, match="reads arrays; these are a graph"):
        fit("sbm", "vae", tmp_path / "other")
