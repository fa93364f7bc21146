"""Coarse to fine: probabilities by enumeration and by a loop, clusters of the codebook, cached draws, refusals."""

import itertools

import pytest
import torch

import narrows as nr
from narrows.bottlenecks.discrete.latent import LatentQuantizer
from narrows.bottlenecks.discrete.vq import VectorQuantizer
from narrows.core import Batch, Symbols, TokenLayout
from narrows.core.check import RequestError
from narrows.kernels.partition import partition
from narrows.priors.ctf import CTF
from narrows.priors.samplers.ancestral import draw


def tiny(tokens=3, codes=4, clusters=2, **options):
    torch.manual_seed(0)
    prior = CTF(Symbols((tokens,), codes), width=8, depth=2, heads=2, clusters=clusters, **options)
    for p in prior.parameters():  # far from the near-uniform start
        torch.nn.init.normal_(p, std=0.7)
    prior.cluster.copy_(torch.tensor([0, 1, 1, 0])[:codes] if clusters == 2 else prior.cluster)
    return prior.double().eval()


def everything(codes=4, tokens=3):
    return torch.tensor(list(itertools.product(range(codes), repeat=tokens)))


def test_the_probabilities_of_all_rows_sum_to_one_and_are_those_of_a_loop():
    prior, rows = tiny(), everything()
    nll = prior.nll(rows).detach()
    assert float(nll.neg().exp().sum()) == pytest.approx(1, abs=1e-10)
    for row, wanted in zip(rows[::7], nll[::7], strict=True):
        clusters = prior.cluster[row][None]
        logits = prior.head(prior.net(clusters))[0].log_softmax(-1)
        fine = prior.refined(clusters, None)[0]
        total = 0.0
        for place, k in enumerate(row):
            members = (prior.cluster == prior.cluster[k]).nonzero().flatten()
            total -= float(logits[place, prior.cluster[k]])
            total -= float(fine[place, k] - fine[place, members].logsumexp(0))
        assert total == pytest.approx(float(wanted))


def test_a_code_sees_the_clusters_of_all_positions_and_no_other_code():
    prior, row = tiny(), torch.tensor([[0, 1, 2]])
    same, other = torch.tensor([[3, 2, 2]]), torch.tensor([[1, 1, 2]])
    fine = [prior.coarse_nll(rows)[1][0, 2] for rows in (row, same, other)]
    assert fine[0] == fine[1]
    assert fine[0] != fine[2]


@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_cached_draws_are_those_of_full_passes(guidance):
    prior = tiny(labels=True, classes=2)
    labels = torch.eye(2, dtype=torch.double)[[0, 1, 1, 0]]
    torch.manual_seed(5)
    found = prior.sample(4, {"labels": labels}, guidance=guidance)
    torch.manual_seed(5)
    clusters = torch.zeros(4, 3, dtype=torch.long)

    def mixed(call):
        told, untold = call(labels), call(0 * labels)
        return untold + guidance * (told - untold)

    for place in range(3):
        clusters[:, place] = draw(mixed(lambda who: prior.head(prior.net(clusters, who)))[:, place])
    wanted = draw(prior.within(mixed(lambda who: prior.refined(clusters, who)), clusters))
    assert torch.equal(found, wanted)
    assert torch.equal(prior.cluster[found], clusters)


def test_clusters_are_those_of_the_codebook_and_none_is_empty():
    torch.manual_seed(0)
    x = torch.cat([torch.randn(20, 2) * 0.1 + c for c in (torch.zeros(2), torch.tensor([5.0, 0.0]))])
    found = partition(x, 2)
    assert found[:20].unique().numel() == found[20:].unique().numel() == 1
    assert found[0] != found[20]
    assert partition(torch.zeros(7, 3), 5).bincount(minlength=5).min() == 1
    # no row is nearer to the centre of another cluster than to its own
    x = torch.randn(60, 3)
    found = partition(x, 6, iterations=100)
    centres = torch.stack([x[found == c].mean(0) for c in range(6)])
    assert torch.equal(torch.cdist(x, centres).argmin(1), found)

    model = type("Model", (), {"bottleneck": VectorQuantizer(2, codes=40, tokens=3)})
    prior = CTF(Symbols((3,), 40), clusters=4, width=8, heads=2)
    prior.prepare(model, Batch(torch.zeros(5, 3, dtype=torch.long)))
    vectors = model.bottleneck.code_vectors()
    assert vectors.shape == (40, 2)
    inside = sum(float(vectors[prior.cluster == c].var(0, correction=0).sum()) for c in range(4)) / 4
    assert inside < 0.7 * float(vectors.var(0).sum())


def test_what_has_no_common_codebook_is_refused():
    grids = Symbols((5,), 3, TokenLayout(((1, 1), (2, 2))))
    with pytest.raises(RequestError, match="next-scale"):
        CTF(grids)
    with pytest.raises(RequestError, match="clusters"):
        CTF(Symbols((4,), 3), clusters=4)
    model = type("Model", (), {"bottleneck": LatentQuantizer(3, values=4)})
    with pytest.raises(RequestError, match="codebook"):
        CTF(Symbols((3,), 4)).prepare(model, Batch(torch.zeros(5, 3, dtype=torch.long)))


def test_a_run_keeps_its_clusters(tmp_path):
    plan = {"steps": 2, "progress": False}
    base = nr.fit(
        "digits", "vq-vae", tmp_path / "r", prior="none", codes=16, downsample=4, net="conv:width=4", **plan
    )
    run = nr.fit(base, prior="ctf:width=8,heads=2,depth=1,clusters=4", out=tmp_path / "c", **plan)
    again = nr.load(tmp_path / "c")
    assert torch.equal(again.model.prior.cluster, run.model.prior.cluster)
    assert run.model.prior.cluster.bincount(minlength=4).min() > 0
    assert (run.sample(3, seed=1) == again.sample(3, seed=1)).all()
