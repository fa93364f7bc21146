"""text-vae and vrnn: options, and what the matrix does not ask."""

from __future__ import annotations

import pytest
import torch

import narrows.data as nd
from narrows.core import Spec, seeded
from narrows.core.check import RequestError
from narrows.methods.structured.text_vae import text_vae
from narrows.methods.structured.vrnn import vrnn
from narrows.testing import check_method, examples

TEXTS = Spec((9,), "tokens", kind="tokens", vocabulary=("<pad>", "<start>", "<end>", "<unknown>", *"abcdef"))
HOLED = Spec((6, 2), kind="series", conditions={"observed": (6, 2), "times": (6,)})


@pytest.mark.parametrize("options", [{"inference": "filtered"}, {"inference": "smoothed"}])
def test_a_model_that_is_made_for_holes_and_times_holds_the_matrix(options):
    check_method(vrnn, HOLED, latent=2, width=8, **options)


@pytest.mark.parametrize("options", [{"rnn": "gru:width=8"}, {"word_dropout": 1.0, "free_bits": 0.5}])
def test_other_text_vaes_hold_the_matrix(options):
    check_method(text_vae, TEXTS, latent=3, **{"rnn": "lstm:width=8,layers=2", **options})


def test_the_distortion_is_the_likelihoods_nll_on_the_same_way():
    model, batch = vrnn(HOLED, latent=2, width=8), examples(HOLED, 5).all()
    for mode in (True, False):
        model.train(mode)
        with seeded(0), torch.no_grad():
            passed = model(batch, (3,))
        short = model.objective.distortion(model, passed)
        long = model.likelihood.nll(passed.output, passed.batch.target, passed.weight)
        assert torch.allclose(short, long, atol=1e-5)
        assert short.shape == (3, 5)


def test_reconstructions_depend_on_the_code_alone():
    for build, spec in ((text_vae, TEXTS), (vrnn, HOLED)):
        model, batch = build(spec, latent=2).eval(), examples(spec, 4).all()
        code = model.encode(batch)
        first = model.likelihood.mean(model.decode(code.z, batch.condition))
        assert torch.equal(first, model.reconstruct(batch))  # from the code, whatever the targets are
        other = examples(spec, 4, seed=1).all()
        nll = [
            model.likelihood.nll(model.decode(code.z, b.condition), b.target, b.weight)
            for b in (batch, other)
        ]
        assert not torch.allclose(*nll)


def test_samples_have_the_steps_and_times_that_are_asked_for():
    model = vrnn(HOLED, latent=2, width=8).eval()
    with seeded(0):
        assert model.sample(3).shape == (3, 6, 2)
        times = torch.arange(9.0).expand(3, 9)
        assert model.sample(3, {"times": times}).shape == (3, 9, 2)


def test_data_of_another_kind_are_refused_by_a_sentence():
    with pytest.raises(RequestError, match="reads texts; these are series"):
        text_vae(HOLED)
    with pytest.raises(RequestError, match="reads series; these are texts"):
        vrnn(TEXTS)


def test_equal_series_without_times_are_read_from_plain_arrays():
    source = nd.open("sines", n=20, tests=5, kinds=("series",))
    assert vrnn(source.spec, latent=2, width=8).reconstruct(source.test.all()).shape == (5, 24, 5)
