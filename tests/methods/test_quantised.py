"""VQ-VAE and FSQ, whole: two stages, vectors and images, round trips."""

import inspect

import numpy as np
import pytest
import torch

from narrows.core import Batch, Spec
from narrows.core.check import RequestError
from narrows.methods.quantised.cvq_vae import cvq_vae
from narrows.methods.quantised.dq_vae import dq_vae
from narrows.methods.quantised.fsq import fsq
from narrows.methods.quantised.movq import movq
from narrows.methods.quantised.product_vq import product_vq
from narrows.methods.quantised.qg_vae import qg_vae
from narrows.methods.quantised.rotation_trick import rotation_trick
from narrows.methods.quantised.rq_vae import rq_vae
from narrows.methods.quantised.simvq import simvq
from narrows.methods.quantised.var_tokenizer import var_tokenizer
from narrows.methods.quantised.vq_vae import vq_vae
from narrows.methods.quantised.vq_vae_2 import vq_vae_2
from narrows.methods.quantised.vq_wae import vq_wae
from narrows.runs.codes import unpack

SMALL = {"width": 4, "prior": "ar:width=8,depth=1"}


@pytest.mark.parametrize("builder", [vq_vae, fsq, rq_vae])
@pytest.mark.parametrize("shape", [(12,), (1, 8, 8), (3, 9, 7), (10, 2)])
def test_codes_come_back_from_their_indices(builder, shape):
    torch.manual_seed(0)
    model = builder(shape, codes=25).eval()
    x = torch.rand(5, *shape)
    code = model.encode(Batch(x))
    indices = model.bottleneck.to_symbols(code)
    assert indices.shape == (5, *model.bottleneck.symbols.shape)
    assert model.symbols_of(Batch(x)) == model.bottleneck.symbols
    assert torch.allclose(model.bottleneck.from_symbols(indices).z, code.z)
    assert torch.allclose(
        model.decode(model.bottleneck.from_symbols(indices).z), model.decode(code.z), atol=1e-6
    )
    assert model.reconstruct(Batch(x)).shape == x.shape
    assert model.sample(3).shape == (3, *shape)


def test_the_loss_is_distortion_and_beta_times_commitment():
    torch.manual_seed(0)
    model = vq_vae((6,), codes=8, beta=0.3, codebook="gradient", likelihood="squared", **SMALL)
    batch = Batch(torch.randn(5, 6))
    loss = model.loss(batch)
    h = model.encoder(batch.x)
    e = model.bottleneck.book.codebook
    q = e[torch.cdist(h, e).argmin(-1)]
    distance = (h - q).square().sum((1, 2)).mean()
    distortion = (model.decode(q) - batch.x).square().sum(1).mean()
    assert torch.allclose(loss.total, distortion + 0.3 * distance + distance, rtol=1e-4)


@pytest.mark.parametrize(
    ("builder", "own"), [(simvq, {}), (cvq_vae, {}), (rotation_trick, {"codebook": "gradient"})]
)
def test_other_codebooks_and_gradients_have_the_loss_of_a_vq_vae(builder, own):
    torch.manual_seed(0)
    model = builder((6,), codes=8, beta=0.3, likelihood="squared", net="mlp:8", **SMALL, **own)
    batch = Batch(torch.randn(5, 6))
    h, e = model.encoder(batch.x), model.bottleneck.book.codebook
    q = e[torch.cdist(h, e).argmin(-1)]
    distance = (h - q).square().sum((1, 2)).mean()
    distortion = (model.decode(q) - batch.x).square().sum(1).mean()
    assert torch.allclose(model.loss(batch).total, distortion + 1.3 * distance, rtol=1e-4)


@pytest.mark.parametrize("builder", [simvq, cvq_vae, vq_wae, rotation_trick])
def test_vectors_that_are_looked_up_are_those_of_their_indices(builder):
    torch.manual_seed(0)
    model = builder((1, 8, 8), codes=25, net="mlp:8", **SMALL).eval()
    batch = Batch(torch.rand(5, 1, 8, 8))
    code = model.encode(batch)
    indices = model.bottleneck.to_symbols(code)
    assert torch.equal(model.bottleneck.from_symbols(indices).z, code.z)
    assert torch.equal(model.bottleneck.book.codebook[indices], code.z)


def test_the_second_stage_sees_indices_and_leaves_the_first_alone():
    torch.manual_seed(0)
    model = vq_vae((1, 8, 8), codes=16, downsample=2, **SMALL)
    first, second = model.stages()
    batch = second.view(Batch(torch.rand(4, 1, 8, 8)))
    assert batch.x.shape == (4, 16)
    assert batch.x.dtype == torch.long
    (player,) = second.part.players()
    player.loss(batch, 0).total.backward()
    assert all(p.grad is not None for p in model.prior.parameters())
    others = {id(p) for p in model.prior.parameters()}
    assert all(p.grad is None for p in model.parameters() if id(p) not in others)
    assert not others & {id(p) for player in first.part.players() for p in player.parameters}


def test_a_prior_told_labels_draws_the_class_asked_for():
    torch.manual_seed(0)
    spec = Spec((1, 8, 8), "unit", classes=3)
    model = vq_vae(spec, codes=16, width=4, prior="ar:width=8,depth=1,labels=yes")
    assert (model.conditions, model.all_conditions) == ((), ("labels",))
    assert model.sample(4, {"labels": torch.eye(3)[[0, 1, 2, 0]]}).shape == (4, 1, 8, 8)
    assert model.sample(4).shape == (4, 1, 8, 8)
    with pytest.raises(RequestError, match="labels"):
        vq_vae((1, 8, 8), codes=16, prior="ar:labels=yes")


@pytest.mark.parametrize("builder", [vq_vae, fsq, rq_vae])
def test_no_prior_no_second_stage(builder):
    model = builder((1, 8, 8), codes=25, prior="none")
    assert len(model.stages()) == 1
    assert model.sample(2).shape == (2, 1, 8, 8)
    with pytest.raises(RequestError, match="prior"):
        builder((1, 8, 8), prior="flow")


def test_the_loss_of_an_rq_vae_is_distortion_and_beta_times_the_commitment_of_every_partial_sum():
    torch.manual_seed(0)
    model = rq_vae((6,), codes=8, depth=3, beta=0.3, likelihood="squared", width=4, prior="none")
    batch = Batch(torch.randn(5, 6))
    h, e = model.encoder(batch.x), model.bottleneck.books[0].codebook
    total, commitment = torch.zeros_like(h), 0.0
    for _ in range(3):
        total = total + e[torch.cdist(h - total, e).argmin(-1)]
        commitment = commitment + (h - total).square().sum((1, 2)).mean()
    distortion = (model.decode(total) - batch.x).square().sum(1).mean()
    assert torch.allclose(model.loss(batch).total, distortion + 0.3 * commitment, rtol=1e-4)


def test_levels_are_what_was_asked():
    assert fsq((1, 8, 8), levels=(8, 5, 5, 5)).bottleneck.codes == 1000
    assert fsq((1, 8, 8), codes=240).bottleneck.codes == 240


def test_training_a_vq_vae_uses_its_codes_and_learns_a_prior():
    """On four distinct examples, four codes suffice: exact reconstruction, and a prior that draws only these."""
    from narrows.data import open as open_data
    from narrows.train import optimise

    torch.manual_seed(0)
    patterns = (torch.rand(4, 6) > 0.5).float()
    source = open_data(patterns[torch.arange(400) % 4].numpy())
    model = vq_vae(source.spec, codes=8, downsample=3, likelihood="squared", **SMALL)
    optimise(model, source.train, steps=250, batch_size=64, lr=1e-2, seed=0)
    x = source.train.all(100).x
    assert (model.reconstruct(Batch(x)) - x).square().mean() < 0.02 * x.var()
    drawn = model.sample(50)
    nearest = torch.cdist(drawn, x.unique(dim=0)).amin(1)
    assert (nearest < 0.3 * x.std() * 6**0.5).float().mean() > 0.8


@pytest.mark.parametrize("option", ["width", "downsample"])
@pytest.mark.parametrize(
    "method", [vq_vae, rq_vae, simvq, vq_vae_2, dq_vae, product_vq, movq, qg_vae, var_tokenizer]
)
def test_a_size_of_zero_is_refused(method, option):
    if option in inspect.signature(method).parameters:
        with pytest.raises(RequestError, match=f"`{option}` must be a whole number of at least 1"):
            method((1, 8, 8), **{option: 0})


def test_product_quantisation_of_one_group_is_refused():
    with pytest.raises(RequestError, match="the method vq-vae"):
        product_vq((1, 8, 8), groups=1)


def test_indices_between_two_codes_are_refused():
    model = vq_vae((1, 8, 8), codes=4, prior="none")
    whole = np.ones((3, 4), dtype=np.float32)
    assert len(list(unpack(model, {"indices": whole}))) == 1
    with pytest.raises(RequestError, match="`indices` of the codes must hold whole numbers"):
        list(unpack(model, {"indices": whole + 0.5}))
