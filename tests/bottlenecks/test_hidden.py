"""Hidden coordinates: what is hidden, what the code may see, and what the loss counts."""

import pytest
import torch

from narrows.bottlenecks.masked.masked_coordinates import HiddenCoordinates
from narrows.core import Batch
from narrows.core.check import RequestError
from narrows.kernels.pursuit import orthogonal_pursuit
from narrows.methods.sparse.masked_sae import masked_sae


def made(coder, hide=0.3, shape=(10,)):
    torch.manual_seed(0)
    model = masked_sae(shape, latents=24, k=3, hide=hide, coder=coder).double()
    with torch.no_grad():
        model.decoder.bias.normal_()
    return model, Batch(torch.randn(6, *shape, dtype=torch.float64) + 1)


@pytest.mark.parametrize("coder", ["omp", "topk"])
def test_the_loss_counts_the_hidden_and_the_code_saw_the_rest(coder):
    model, batch = made(coder)
    loss = model.loss(batch)
    code, hidden = loss.passed.code, loss.passed.code.weight
    assert hidden.sum(1).tolist() == [3] * 6
    assert len({tuple(row) for row in hidden.tolist()}) > 1, "each example has a mask of its own"
    error = ((batch.x - model.decode(code.z)) * hidden).square().sum(1).mean()
    torch.testing.assert_close(loss.total, error)
    model.bottleneck.mask = lambda x: hidden
    changed = Batch(torch.where(hidden > 0, torch.full_like(batch.x, 99.0), batch.x))
    torch.testing.assert_close(model.encode(changed).z.dense(), model.encode(batch).z.dense())


def test_one_mask_may_hide_the_same_of_all_examples_of_a_batch():
    torch.manual_seed(0)
    model = masked_sae((10,), latents=24, k=3, hide=0.1, masks="batch")
    batch = Batch(torch.randn(6, 10))
    drawn = [model.encode(batch).weight for _ in range(20)]
    for hidden in drawn:
        assert hidden.shape == (6, 10)
        assert hidden.sum(1).tolist() == [1] * 6
        assert torch.equal(hidden, hidden[:1].expand(6, 10))
    assert len({int(hidden[0].argmax()) for hidden in drawn}) > 1, "another one at each step"


def test_the_visible_part_is_coded_with_the_visible_part_of_the_atoms():
    model, batch = made("omp")
    code = model.encode(batch)
    centred, atoms = (batch.x - model.decoder.bias).detach(), model.decoder.atoms.detach()
    for n in range(6):
        keep = code.weight[n] == 0
        alone = orthogonal_pursuit(centred[n : n + 1, keep], atoms[:, keep], 3)
        torch.testing.assert_close(code.z.dense()[n : n + 1], alone.dense())


def test_the_dictionary_moves_along_the_gradient_with_the_code_held_fixed():
    model, batch = made("omp")
    loss = model.loss(batch)
    loss.total.backward()
    hidden, z = loss.passed.code.weight, loss.passed.code.z.dense()
    rest = hidden * (z @ model.decoder.atoms.detach() + model.decoder.bias.detach() - batch.x)
    torch.testing.assert_close(model.decoder.atoms.grad, 2 * z.T @ rest / 6)


@pytest.mark.parametrize("coder", ["omp", "topk"])
def test_nothing_is_hidden_in_use(coder):
    model, batch = made(coder)
    model.eval()
    code = model.encode(batch)
    assert code.weight is None
    x = batch.x - model.decoder.bias
    if coder == "omp":
        wanted = orthogonal_pursuit(x, model.decoder.atoms, 3).dense()
    else:
        pre = x @ model.encoder.weight.T + model.encoder.bias
        kept = torch.zeros_like(pre).scatter(1, pre.topk(3).indices, 1.0)
        wanted = pre.relu() * kept
    torch.testing.assert_close(code.z.dense(), wanted)


def test_images_are_hidden_pixel_by_pixel():
    model, batch = made("omp", shape=(1, 4, 4))
    assert torch.isfinite(model.loss(batch).total)


def test_wrong_options_are_refused():
    with pytest.raises(RequestError, match="hide"):
        HiddenCoordinates(4, 2, hide=1.0)
    with pytest.raises(RequestError, match="coder"):
        HiddenCoordinates(4, 2, coder="lasso")
    with pytest.raises(RequestError, match="masks"):
        HiddenCoordinates(4, 2, masks="none")
