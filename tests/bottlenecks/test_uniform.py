"""Uniform bins against NumPy's percentiles and rounding."""

import numpy as np
import pytest
import torch

from narrows.bottlenecks.discrete.uniform import UniformQuantizer
from narrows.core import Batch
from narrows.core.check import RequestError
from narrows.data.dataset import Dataset
from narrows.data.scaling import Scaling
from narrows.methods.quantised.beast import beast
from narrows.train import optimise


def test_bins_lie_between_the_percentiles_of_the_control_points():
    torch.manual_seed(0)
    x = torch.randn(300, 20, 2).cumsum(1)
    model = beast((20, 2), points=6, codes=16, tail=0.05, prior="none")
    optimise(model, Dataset(x, Scaling(), (20, 2)), steps=1)
    c = model.encoder(x)[..., 0].numpy()
    low, high = np.percentile(c, [5, 95], axis=0)
    indices = np.clip(np.round((c - low) / (high - low) * 15), 0, 15).astype(int)
    code = model.encode(Batch(x))
    assert (model.bottleneck.to_symbols(code).numpy() == indices).mean() > 0.999  # float32 at the edges
    np.testing.assert_allclose(
        code.z[..., 0], low + indices / 15 * (high - low), atol=0.2 * (high - low).max() / 15
    )
    assert torch.equal(model.bottleneck.from_symbols(model.bottleneck.to_symbols(code)).z, code.z)


def test_a_number_without_a_range_is_its_only_value():
    bins = UniformQuantizer(1, codes=4)
    bins.low.fill_(3.0)
    bins.high.fill_(3.0)
    assert bins(torch.tensor([[[2.0]], [[3.0]], [[9.0]]])).z.unique().tolist() == [3.0]


@pytest.mark.parametrize("options", [{"codes": 1}, {"tail": 0.5}, {"tail": -0.1}])
def test_impossible_bins_are_refused(options):
    with pytest.raises(RequestError, match=next(iter(options))):
        UniformQuantizer(3, **options)
