"""Feature Choice: budgets by Zipf's law, thresholds for each latent; the auxiliary loss of the underused."""

import pytest
import torch

from narrows import train
from narrows.bottlenecks.sparse.choice import FeatureChoice, zipf_density
from narrows.core import Batch, Code, Pass, Sparse
from narrows.core.check import RequestError
from narrows.core.evidence import Latents
from narrows.data import open as open_data
from narrows.methods.sparse.feature_choice_sae import feature_choice_sae
from narrows.methods.sparse.mutual_choice_sae import mutual_choice_sae
from narrows.objectives.dead_latents import unexplained
from narrows.objectives.zipf import AuxZipf


@pytest.mark.parametrize(
    ("n", "k", "s", "q"), [(100, 5, 1.0, 0.0), (100, 5, 0.0, 0.0), (64, 20, 1.5, 2.0), (8, 8, 1.0, 0)]
)
def test_densities_follow_the_law_and_sum_to_the_budget(n, k, s, q):
    density = zipf_density(n, k, s, q)
    assert float(density.sum()) == pytest.approx(k)
    assert float(density.max()) <= 1
    free = density < 1
    law = (torch.arange(1, n + 1, dtype=torch.double) + q).pow(-s)
    ratio = (density / law)[free]
    assert not len(ratio) or float(ratio.max() - ratio.min()) < 1e-9


def test_budgets_are_whole_sum_to_k_examples_and_give_each_its_share_over_time():
    bottleneck = FeatureChoice(50, 2, exponent=1.2)
    total = torch.zeros(50, dtype=torch.double)
    for step in range(500):
        bottleneck.before_step(step)
        budgets = bottleneck.budgets(16)
        assert int(budgets.sum()) == 32
        assert int(budgets.max()) <= 16
        total += budgets
    torch.testing.assert_close(total / 8000, bottleneck.density, atol=2e-4, rtol=0)
    assert float(16 * bottleneck.density.min()) < 0.2  # far less than an example a batch, and yet never dead


def test_each_latent_keeps_its_best_examples():
    bottleneck = FeatureChoice(12, 3, exponent=0.7)
    pre = torch.randn(20, 12)
    z, budgets = bottleneck(pre).z.dense(), bottleneck.budgets(20)
    for n in range(12):
        best = pre[:, n].sort(descending=True).values[: budgets[n]]
        assert sorted(z[z[:, n] != 0, n].tolist()) == sorted(best[best > 0].tolist())


def test_every_latent_has_a_threshold_of_its_own():
    bottleneck, want = FeatureChoice(6, 2, exponent=0.0, decay=0.8), None
    for step in range(4):
        pre = torch.randn(12, 6, generator=torch.Generator().manual_seed(step)) + torch.arange(6)
        least = pre.sort(0, descending=True).values[3]
        want = least if want is None else 0.8 * want + 0.2 * least
        bottleneck.after_step(Pass(None, bottleneck(pre)))
    torch.testing.assert_close(bottleneck.threshold, want)
    bottleneck.eval()
    pre = 4 * torch.randn(30, 6)
    torch.testing.assert_close(bottleneck(pre).z.dense(), pre * (pre > want))
    bottleneck.rescale(torch.arange(6.0))
    torch.testing.assert_close(bottleneck.threshold, want * torch.arange(6.0))
    bottleneck.reset(torch.tensor([2, 4]))
    assert bottleneck.threshold[[2, 4]].tolist() == [0, 0]


def rates(share=0.5):
    aux = AuxZipf(k=2, latents=4, budget=1.0, share=share, window=100)
    aux.rate.copy_(torch.tensor([0.10, 0.50, 0.23, 0.05]))
    return aux


def test_the_underused_are_found_by_rank():
    # Expected by rank: .48 .24 .16 .12; the rates by rank: .50 .23 .10 .05.
    assert rates().underused().tolist() == [3]
    assert rates(share=0.7).underused().tolist() == [0, 3]
    assert rates(share=1.0).underused().tolist() == [0, 2, 3]
    assert rates(share=0.0).underused().tolist() == []


@pytest.mark.parametrize("kind", ["sparse", "dense"])
def test_rates_are_running_means_over_examples(kind):
    aux, z = rates(), torch.tensor([[1.0, 0, 0, 2.0], [3.0, 0, 0, 0]])
    code = Sparse(torch.tensor([[0, 3], [0, 1]]), torch.tensor([[1.0, 2.0], [3.0, 0.0]]), 4)
    before = aux.rate.clone()
    aux.after_step(Pass(None, Code(None, evidence=(Latents(code if kind == "sparse" else z),))))
    keep = torch.exp(torch.tensor(-2 / 100))
    torch.testing.assert_close(aux.rate, keep * before + (1 - keep) * torch.tensor([1.0, 0.0, 0.0, 0.5]))


def test_the_auxiliary_loss_equals_its_equation():
    torch.manual_seed(0)
    model = mutual_choice_sae((6,), latents=30, k=3, dead="zipf:k=2").double()
    aux, x = model.objective.dead, torch.randn(20, 6, dtype=torch.float64)
    aux.rate[5:9] = 0
    few = aux.underused()
    assert set(range(5, 9)) <= set(few.tolist())
    batch = Batch(x)
    with torch.no_grad():
        residual = x - model.reconstruct(batch)
        pre = model.encoder(x).dense()
        z = torch.zeros_like(pre)
        for row, into in zip(pre, z, strict=True):
            best = few[row[few].argsort(descending=True)[:2]]
            into[best] = row[best].relu()
        want = aux.variance * unexplained(residual, z @ model.decoder.atoms)
        torch.testing.assert_close(aux(model, model(batch), residual), want)


def test_after_training_thresholds_give_about_the_budget_and_no_latent_is_silent():
    source = open_data("dictionary", n=4000, d=16, atoms=32, l0=3, tests=1000)
    torch.manual_seed(0)
    model = feature_choice_sae(source.spec, latents=64, k=3, zipf=0.3)
    train.optimise(model, source.train, steps=300, batch_size=128, lr=3e-3, seed=0)
    z = model.eval().encode(source.test.all())[Latents].z.dense()
    assert 2.4 < float((z != 0).sum(1).double().mean()) < 3.6
    assert bool((z != 0).any(0).all())


@pytest.mark.parametrize(
    ("builder", "options"),
    [
        (feature_choice_sae, {"zipf": -1.0}),
        (feature_choice_sae, {"zipf_offset": -0.1}),
        (mutual_choice_sae, {"dead": "zipf:exponent=-1"}),
        (mutual_choice_sae, {"dead": "zipf:share=2"}),
        (mutual_choice_sae, {"k": 65}),
        (feature_choice_sae, {"k": 65}),
    ],
)
def test_bad_numbers_are_refused(builder, options):
    with pytest.raises(RequestError):
        builder((16,), latents=64, **options)
