import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

from narrows.audit.metrics import links
from narrows.audit.metrics.links import expected_degrees, logit_blocks, rank_links


@pytest.mark.parametrize("ties", [False, True])
def test_areas_equal_those_of_scikit_learn(ties):
    draw = torch.Generator().manual_seed(0)
    joined = torch.randn(40, generator=draw) + 0.5
    others = torch.randn(3, 100, generator=draw)
    if ties:
        joined, others = joined.round(), others.round()
    found = rank_links(joined, [others[0], others[1:]])
    truth = np.r_[np.ones(40), np.zeros(300)]
    scores = torch.cat([joined, others.flatten()]).numpy()
    assert found.auc == pytest.approx(roc_auc_score(truth, scores))
    assert found.average_precision == pytest.approx(average_precision_score(truth, scores))
    assert found.negatives == 300


def test_others_that_stand_for_more_weigh_more():
    joined, others = torch.randn(30), torch.randn(200)
    every = rank_links(joined, [others] * 4)
    few = rank_links(joined, [others], share=0.25)
    assert few.auc == pytest.approx(every.auc)
    assert few.average_precision == pytest.approx(every.average_precision)
    assert few.negatives == every.negatives


def test_blocks_hold_every_pair_once(monkeypatch):
    z = torch.randn(30, 3, dtype=torch.float64)
    monkeypatch.setattr(links, "_BLOCK", 100)
    out = torch.tensor([[3, 1], [0, 29], [17, 18]])
    blocks = list(logit_blocks(z, out))
    assert len(blocks) > 5
    matrix = torch.cat([logits for _, logits in blocks])
    kept = torch.ones(30, 30).triu(1).bool()
    kept[1, 3] = kept[0, 29] = kept[17, 18] = False
    assert torch.equal(matrix > -torch.inf, kept)
    torch.testing.assert_close(matrix[kept], (z @ z.T)[kept])
    p = torch.sigmoid(z @ z.T - 0.7).fill_diagonal_(0)
    torch.testing.assert_close(expected_degrees(z, -0.7), p.sum(1))
