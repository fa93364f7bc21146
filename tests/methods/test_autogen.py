"""AutoGen: (1 + m) times a beta-VAE with beta = 1 / (1 + m), and what it refuses."""

import pytest
import torch

from narrows.core import Spec
from narrows.core.check import RequestError
from narrows.methods.structured.text_vae import text_vae
from narrows.methods.variational.autogen import autogen
from narrows.testing import examples

TEXTS = Spec((9,), "tokens", kind="tokens", vocabulary=("<pad>", "<start>", "<end>", "<unknown>", *"abcdef"))
SIZES = {"latent": 3, "rnn": "gru:width=8", "embedding": 5}


@pytest.mark.parametrize("m", [0, 1, 2.5])
def test_it_is_a_multiple_of_a_beta_vae(m):
    batch, losses = examples(TEXTS, 6).all(), []
    for build, options in ((autogen, {"m": m}), (text_vae, {"beta": 1 / (1 + m), "word_dropout": 0.0})):
        torch.manual_seed(0)
        model = build(TEXTS, **SIZES, **options).double().train()
        torch.manual_seed(1)
        total = model.loss(batch).total
        losses.append((total, torch.autograd.grad(total, list(model.parameters()), allow_unused=True)))
    (ours, mine), (theirs, other) = losses
    torch.testing.assert_close(ours, (1 + m) * theirs)
    for a, b in zip(mine, other, strict=True):
        torch.testing.assert_close(a, (1 + m) * b)


def test_terms_are_not_weighed():
    """So that metrics and audits read nats."""
    model, batch = autogen(TEXTS, m=3, **SIZES).eval(), examples(TEXTS, 4).all()
    with torch.no_grad():
        loss = model.loss(batch)
    expected = model.likelihood.pass_nll(loss.passed).mean()
    torch.testing.assert_close(loss.terms["distortion"], expected)
    torch.testing.assert_close(loss.total, 4 * expected + loss.terms["kl"])


@pytest.mark.parametrize("token", [10, -1])
def test_tokens_outside_the_vocabulary_are_refused(token):
    model, batch = autogen(TEXTS, **SIZES), examples(TEXTS, 4).all()
    batch.x[1, 0] = token
    with pytest.raises(RequestError, match=r"tokens.*from 0 to 9, the indices of the vocabulary"):
        model.loss(batch)


def test_m_is_not_negative():
    with pytest.raises(RequestError, match="`m`"):
        autogen(TEXTS, m=-1)
