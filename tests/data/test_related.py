"""Retrieval against a ranking by loops."""

import pytest
import torch

from narrows.core.check import RequestError
from narrows.data.dataset import Dataset
from narrows.data.related import related
from narrows.data.scaling import Scaling


def test_the_nearest_to_any_seed_come_first(monkeypatch):
    monkeypatch.setattr("narrows.data.related._CHUNK", 7)
    x, seeds = torch.randn(40, 3, 2) + 5, torch.randn(3, 3, 2) + 5
    dataset, mean = Dataset(x, Scaling(), (3, 2)), x.mean(0).flatten()
    score = []
    for row in x.flatten(1) - mean:
        score.append(max(float(torch.cosine_similarity(row, s.flatten() - mean, dim=0)) for s in seeds))
    order = sorted(range(40), key=lambda i: -score[i])[:9]
    torch.testing.assert_close(related(dataset, seeds, 9).all().x, x[order])


@pytest.mark.parametrize(
    ("seeds", "n"),
    [(torch.ones(2, 3), 3), (torch.ones(0, 2), 3), (torch.ones(1, 2), 0), (torch.ones(1, 2), 41)],
)
def test_bad_requests_are_refused(seeds, n):
    with pytest.raises(RequestError):
        related(Dataset(torch.randn(40, 2), Scaling(), (2,)), seeds, n)
