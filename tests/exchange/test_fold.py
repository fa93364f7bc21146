"""Folding moves factors into the weights and leaves the results."""

from dataclasses import replace

import pytest
import torch

from narrows.core import Batch, dense
from narrows.exchange.description import Description
from narrows.exchange.fold import folded, with_centre
from narrows.exchange.model import build

D, N = 7, 19


def description(activation="relu", **changed):
    g = torch.Generator().manual_seed(0)
    shapes = {"encoder": (N, D), "encoder_bias": (N,), "decoder": (N, D), "decoder_bias": (D,)}
    if activation == "gated":
        shapes |= {"log_gain": (N,), "magnitude_bias": (N,)}
    tensors = {name: torch.randn(*shape, generator=g) for name, shape in shapes.items()}
    if activation == "jumprelu":
        tensors["threshold"] = torch.rand(N, generator=g)
    return Description(activation, tensors, k=3 if activation == "topk" else 0, **changed)


def results(known):
    x = torch.randn(40, D, generator=torch.Generator().manual_seed(1))
    model = build(known)
    return dense(model.encode(Batch(x)).z), model.reconstruct(Batch(x))


CASES = [
    description(),
    description("jumprelu", centre=False),
    description("gated"),
    description("topk", by_norm=True),
    description("topk", scale=(0.3, 0.3)),
    description("relu", scale=(0.3, 2.0)),
    description("jumprelu", scale=(0.3, 2.0)),
    description("gated", scale=(3.0, 0.5)),
    description("topk", scale=(0.3, 2.0), by_norm=True),
]


@pytest.mark.parametrize("known", CASES, ids=lambda d: f"{d.activation}-{d.scale}-{d.by_norm}")
def test_folding_keeps_supports_and_reconstructions(known):
    (code, before), (other, after) = results(known), results(folded(known))
    assert torch.equal(code != 0, other != 0)
    assert torch.allclose(before, after, atol=1e-4)
    done = folded(known)
    assert (done.scale, done.by_norm) == ((1.0, 1.0), False)
    if known.activation in ("relu", "jumprelu", "gated"):
        assert torch.allclose(done.tensors["decoder"].norm(dim=1), torch.ones(N))


@pytest.mark.parametrize("known", CASES[:4], ids=lambda d: d.activation)
def test_the_subtracted_bias_moves_into_the_encoder_and_back(known):
    changed = with_centre(known, not known.centre)
    assert changed.centre != known.centre
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(results(known), results(changed), strict=True))
    assert torch.allclose(
        with_centre(changed, known.centre).tensors["encoder_bias"], known.tensors["encoder_bias"], atol=1e-5
    )


def test_the_model_computes_the_equation_of_a_description():
    known = description("relu", scale=(0.3, 2.0), by_norm=True)
    t = known.tensors
    x = torch.randn(40, D, generator=torch.Generator().manual_seed(1))
    norms = t["decoder"].norm(dim=1)
    h = ((0.3 * x - t["decoder_bias"]) @ t["encoder"].T + t["encoder_bias"]) * norms
    code = h.relu()
    out = ((code / norms) @ t["decoder"] + t["decoder_bias"]) / 2.0
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(results(known), (code, out), strict=True))


def test_a_skip_connection_is_folded():
    known = description("relu", kind="transcoder", centre=False)
    skip = torch.randn(D, D, generator=torch.Generator().manual_seed(2))
    known = replace(known, tensors={**known.tensors, "skip": skip}, scale=(0.3, 2.0))
    x = torch.randn(40, D, generator=torch.Generator().manual_seed(1))
    one, two = (build(k).reconstruct(Batch(x, x)) for k in (known, folded(known)))
    t = known.tensors
    h = (0.3 * x @ t["encoder"].T + t["encoder_bias"]).relu()
    assert torch.allclose(one, (h @ t["decoder"] + t["decoder_bias"] + 0.3 * x @ skip) / 2.0, atol=1e-5)
    assert torch.allclose(one, two, atol=1e-4)
