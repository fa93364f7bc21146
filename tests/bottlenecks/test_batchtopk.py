"""BatchTopK: the budget of the batch, the threshold that replaces it, and what training keeps of both."""

import pytest
import torch

from narrows import train
from narrows.bottlenecks.sparse.batchtopk import BatchTopK
from narrows.core import Batch, Code, Pass, Spec
from narrows.core.check import RequestError
from narrows.core.evidence import Latents
from narrows.data import open as open_data
from narrows.methods.sparse.batchtopk_sae import batchtopk_sae
from narrows.testing import check_method


def test_the_budget_belongs_to_the_batch():
    pre = torch.tensor([[9.0, 8.0, 7.0], [1.0, 0.5, -3.0]])
    z = BatchTopK(3, 2)(pre).z.dense()
    torch.testing.assert_close(z, torch.tensor([[9.0, 8.0, 7.0], [1.0, 0.0, 0.0]]))


def test_the_threshold_is_the_running_mean_of_the_smallest_that_passed():
    bottleneck, expected = BatchTopK(20, 3, decay=0.9), None
    for step in range(6):
        pre = torch.randn(8, 20, generator=torch.Generator().manual_seed(step)) + step
        code = bottleneck(pre)
        smallest = float(pre.flatten().sort(descending=True).values[23])
        expected = smallest if expected is None else 0.9 * expected + 0.1 * smallest
        bottleneck.after_step(Pass(None, code))
    assert float(bottleneck.threshold) == pytest.approx(expected, rel=1e-5)


def test_a_batch_without_anything_positive_leaves_the_threshold():
    bottleneck = BatchTopK(4, 1)
    bottleneck.threshold.fill_(0.3)
    code = bottleneck(-torch.ones(2, 4))
    assert not code.z.dense().any()
    bottleneck.after_step(Pass(None, code))
    assert float(bottleneck.threshold) == pytest.approx(0.3)


def test_in_eval_an_example_does_not_know_its_batch():
    bottleneck = BatchTopK(5, 1).eval()
    bottleneck.threshold.fill_(0.5)
    pre = torch.randn(30, 5)
    want = torch.where(pre > 0.5, pre, 0)
    torch.testing.assert_close(bottleneck(pre).z.dense(), want)
    torch.testing.assert_close(bottleneck(pre[:1]).z.dense(), want[:1])


def test_the_loss_equals_the_equations():
    torch.manual_seed(0)
    model = batchtopk_sae((6,), latents=30, k=3, dead="none").double()
    x = torch.randn(40, 6, dtype=torch.float64)
    with torch.no_grad():
        model.encoder.bias.normal_()
        model.decoder.bias.normal_()
        pre = (x - model.decoder.bias) @ model.encoder.weight.T + model.encoder.bias
        cut = pre.relu().flatten().sort(descending=True).values[119]
        x_hat = torch.where(pre >= cut, pre, 0) @ model.decoder.atoms + model.decoder.bias
        want = (x - x_hat).square().sum(1).mean()
    torch.testing.assert_close(model.loss(Batch(x)).total, want)


def trained(steps=300):
    source = open_data("dictionary", n=4000, d=16, atoms=32, l0=3, tests=1000)
    torch.manual_seed(0)
    model = batchtopk_sae(source.spec, latents=64, k=3)
    train.optimise(model, source.train, steps=steps, batch_size=128, lr=3e-3, seed=0)
    return model.eval(), source.test.all()


def test_after_training_the_threshold_gives_the_budget_and_it_was_folded_with_the_weights():
    model, batch = trained()
    z = model.encode(batch)[Latents].z
    assert 2.6 < float((z.values != 0).sum()) / len(batch) < 3.4
    other = batchtopk_sae((16,), latents=64, k=3)
    other.load_state_dict(model.state_dict())
    torch.testing.assert_close(other.eval().reconstruct(batch), model.reconstruct(batch))
    assert float(model.bottleneck.threshold) < float(z.values[z.values > 0].min())


def test_examples_that_need_more_get_more():
    model, batch = trained()
    source = open_data("dictionary", n=4000, d=16, atoms=32, l0=3, tests=1000)
    true = torch.tensor((source.truth.test_codes != 0).sum(1)).double()
    chosen = (model.encode(batch).z.values != 0).sum(1).double()
    assert float(torch.corrcoef(torch.stack([true, chosen]))[0, 1]) > 0.6


def test_rescaling_scales_the_threshold():
    bottleneck = BatchTopK(4, 1)
    bottleneck.threshold.fill_(2.0)
    bottleneck.rescale(torch.tensor(3.0))
    assert float(bottleneck.threshold) == 6.0


def test_the_threshold_of_latents_that_never_passed_is_zero_and_codes_stay_sparse():
    code = BatchTopK(1000, 2)(torch.randn(64, 1000))
    assert isinstance(code, Code)
    assert code.z.values.shape[1] < 20


@pytest.mark.parametrize("options", [{"k": 0}, {"k": 65}, {"threshold_decay": 1.5}])
def test_bad_numbers_are_refused(options):
    with pytest.raises(RequestError):
        batchtopk_sae((16,), latents=64, **options)


def test_the_properties_hold_without_the_auxiliary_loss_too():
    check_method(batchtopk_sae, Spec((12,)), latents=40, k=4, dead="none")
