"""What priors over masked places share: the loss of several processes."""

from copy import deepcopy

import pytest
import torch

from narrows.core import Batch, Symbols
from narrows.priors.masked_givt import MaskedGIVT
from narrows.priors.maskgit import MaskGIT
from narrows.testing.quantizers.processes import two_processes


def stepped(prior, codes, masked):
    """The loss of a batch whose masked places are given; the gradients are kept."""
    prior.masks = lambda symbols: masked
    loss = prior.loss(Batch(codes))
    loss.total.backward()
    return loss


@pytest.mark.parametrize("kind", [MaskGIT, MaskedGIVT])
def test_two_processes_with_unequal_masks_have_loss_and_gradient_of_one(kind):
    torch.manual_seed(0)
    real = kind is MaskedGIVT
    prior = kind(Symbols((5, 2)) if real else Symbols((5,), codes=4), width=8, depth=1, heads=2).double()
    for p in prior.parameters():
        torch.nn.init.normal_(p, std=0.5)
    codes = torch.randn(6, 5, 2, dtype=torch.double) if real else torch.randint(4, (6, 5))
    masked = torch.arange(5) < torch.tensor([1, 1, 2, 5, 4, 5])[:, None]
    whole, parts = stepped(prior, codes, masked), [deepcopy(prior) for _ in range(2)]
    losses = [None, None]

    def work(rank):
        half = slice(3 * rank, 3 * rank + 3)
        parts[rank].zero_grad()
        losses[rank] = stepped(parts[rank], codes[half], masked[half])

    two_processes([lambda: work(0), lambda: work(1)])
    for found in (lambda loss: loss.total, lambda loss: loss.terms["nll_of_masked"]):
        assert float(sum(map(found, losses)) / 2) == pytest.approx(float(found(whole)), rel=1e-6)
    pairs = [p.named_parameters() for p in (prior, *parts)]
    for (name, p), (_, a), (_, b) in zip(*pairs, strict=True):
        if p.grad is not None:
            torch.testing.assert_close((a.grad + b.grad) / 2, p.grad, rtol=1e-6, atol=1e-9, msg=name)
