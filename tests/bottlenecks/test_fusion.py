"""Products of experts against numerical integration."""

import itertools

import torch

from narrows.bottlenecks.fusion.experts import FusedGaussian
from narrows.bottlenecks.fusion.product import Product
from narrows.core.evidence import Experts


def by_integration(mean, deviation, prior):
    """Mean and deviation of the normalised product of densities of one number, on a grid."""
    grid = torch.linspace(-30, 30, 600_001, dtype=torch.double)
    log = -0.5 * grid**2 if prior else torch.zeros_like(grid)
    for m, s in zip(mean, deviation):
        log = log - 0.5 * ((grid - m) / s) ** 2
    density = (log - log.max()).exp()
    density = density / density.sum()
    centre = (density * grid).sum()
    return centre, (density * (grid - centre) ** 2).sum().sqrt()


def test_the_product_of_every_subset_equals_integration():
    mean = torch.tensor([1.0, -2.0, 0.5], dtype=torch.double)
    deviation = torch.tensor([0.5, 2.0, 1.0], dtype=torch.double)
    for prior, present in itertools.product((True, False), itertools.product((True, False), repeat=3)):
        if not prior and not any(present):
            continue
        q = Product(prior).posterior(
            mean.view(1, 3, 1), 2 * deviation.log().view(1, 3, 1), torch.tensor([present])
        )
        kept = torch.tensor(present)
        centre, scale = by_integration(mean[kept], deviation[kept], prior)
        assert torch.allclose(q.mean.squeeze(), centre, atol=1e-6)
        assert torch.allclose(q.stddev.squeeze(), scale, atol=1e-5)


def test_without_experts_the_posterior_is_the_prior():
    experts = torch.randn(4, 3, 10)
    code = FusedGaussian(5, Product()).eval()((experts, torch.zeros(4, 3, dtype=torch.bool)))
    assert torch.equal(code.q.mean, torch.zeros(4, 5))
    assert torch.equal(code.q.stddev, torch.ones(4, 5))
    assert torch.equal(code.costs["kl"], torch.zeros(4))


def test_an_expert_beyond_float_precision_stays_finite():
    mean, log_variance = torch.tensor([[[3.0], [-1.0]]]), torch.tensor([[[-20.0], [10.0]]])
    q = Product().posterior(mean, log_variance, torch.ones(1, 2, dtype=torch.bool))
    assert torch.allclose(q.mean, torch.tensor([[3.0]]))
    assert torch.allclose(q.stddev.log(), torch.tensor([[-10.0]]))


def test_what_an_absent_expert_says_changes_no_bit():
    present = torch.tensor([[True, False, True], [False, True, True]])
    results = []
    for garbage in (0.0, 1e30, torch.nan):
        experts = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
        experts = torch.where(present[..., None], experts, garbage).requires_grad_()
        code = FusedGaussian(2, Product()).eval()((experts, present))
        (code.z.sum() + code.costs["kl"].sum()).backward()
        results.append((code.z, code.costs["kl"], experts.grad))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other))
    assert not results[0][2][~present].any()


def test_an_absent_expert_equals_a_model_without_it():
    experts = torch.randn(6, 3, 8)
    present = torch.tensor([True, False, True]).expand(6, 3)
    bottleneck = FusedGaussian(4, Product()).eval()
    with_hole, without = (
        bottleneck((experts, present)),
        bottleneck((experts[:, [0, 2]], torch.ones(6, 2, dtype=torch.bool))),
    )
    assert torch.allclose(with_hole.z, without.z, atol=1e-6)
    assert torch.allclose(with_hole.costs["kl"], without.costs["kl"], atol=1e-5)


def test_subsets_come_as_leading_axes():
    experts, masks = torch.randn(5, 3, 4), torch.rand(7, 5, 3) > 0.4
    bottleneck = FusedGaussian(2, Product()).eval()
    together = bottleneck((experts, masks))
    for s in range(7):
        alone = bottleneck((experts, masks[s]))
        assert torch.equal(together.z[s], alone.z)
        assert torch.equal(together.costs["kl"][s], alone.costs["kl"])


def test_under_samples_the_cost_is_the_log_ratio_and_the_evidence_names_the_experts():
    experts, present = torch.randn(5, 3, 4), torch.ones(5, 3, dtype=torch.bool)
    code = FusedGaussian(2, Product()).train()((experts, present), samples=(11,))
    assert torch.equal(code.costs["kl"], code.q.log_prob(code.z) - code.p.log_prob(code.z))
    found = code.find(Experts)
    assert torch.equal(found.mean, experts[..., :2])
    assert torch.allclose(found.scale, (0.5 * experts[..., 2:]).exp())
