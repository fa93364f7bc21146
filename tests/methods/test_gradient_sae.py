"""Selection by influence against a loop, and what happens without gradients."""

import pytest
import torch

from narrows.core import Batch, Spec
from narrows.core.check import RequestError
from narrows.data.dataset import Dataset
from narrows.data.scaling import Scaling
from narrows.methods.sparse.gradient_sae import gradient_sae
from narrows.methods.sparse.topk_sae import topk_sae
from narrows.testing import check_method
from narrows.train import optimise

N, K, BETA = 14, 3, 5.0


def prepared():
    torch.manual_seed(0)
    model = gradient_sae((5,), latents=N, k=K, beta=BETA, dead="none").double()
    x, g = (2 * torch.randn(64, 5, dtype=torch.float64) + 1 for _ in range(2))
    with torch.no_grad():
        for part in (model.encoder, model.decoder, model.bottleneck):
            part.prepare(model, Batch(x, condition={"gradients": g}))
        model.encoder.bias.normal_()
    return model, x, g


@torch.no_grad()
def by_hand(model, x, g):
    """Code and loss, one example and latent at a time."""
    enc, dec = model.encoder, model.decoder
    s, loss, codes = dec.scale, 0.0, torch.zeros(len(x), N, dtype=x.dtype)
    u = sum(abs(float(dec.atoms[n] @ row)) for n in range(N) for row in prepared()[2]) / (N * 64)
    for t in range(len(x)):
        h = [enc.weight[n] @ (s * x[t] - dec.bias) + enc.bias[n] for n in range(N)]
        score = [float(h[n]) * (1 + BETA * abs(float(dec.atoms[n] @ g[t])) / u) for n in range(N)]
        x_hat = dec.bias / s
        for n in sorted(range(N), key=lambda n: -score[n])[:K]:
            codes[t, n] = h[n].relu()
            x_hat = x_hat + h[n].relu() * dec.atoms[n] / s
        loss = loss + (x[t] - x_hat).square().sum() / len(x)
    return codes, loss


def test_the_most_influential_latents_pass_with_their_own_values():
    model, x, g = prepared()
    codes, loss = by_hand(model, x[:10], g[:10])
    batch = Batch(x[:10], condition={"gradients": g[:10]})
    torch.testing.assert_close(model.encode(batch).z.dense(), codes)
    torch.testing.assert_close(model.loss(batch).total.detach(), loss, atol=1e-9, rtol=1e-9)
    plain = model.encode(Batch(x[:10])).z.dense()
    assert not torch.equal(plain > 0, codes > 0)


def test_the_gradients_size_does_not_matter_and_zero_means_size_alone():
    model, x, g = prepared()
    code = model.encode(Batch(x, condition={"gradients": g})).z.dense()
    plain = model.encode(Batch(x)).z.dense()
    torch.testing.assert_close(model.encode(Batch(x, condition={"gradients": 0 * g})).z.dense(), plain)
    with torch.no_grad():
        model.bottleneck.prepare(model, Batch(x, condition={"gradients": 1e-6 * g}))
    torch.testing.assert_close(model.encode(Batch(x, condition={"gradients": 1e-6 * g})).z.dense(), code)
    other = topk_sae((5,), latents=N, k=K).double()
    own = other.state_dict()
    other.load_state_dict({**own, **{name: v for name, v in model.state_dict().items() if name in own}})
    torch.testing.assert_close(plain, other.encode(Batch(x)).z.dense())


def test_the_ranking_trains_no_atom():
    """The gradient of the code's sum reaches the encoder alone."""
    model, x, g = prepared()
    model.encode(Batch(x, condition={"gradients": g})).z.values.sum().backward()
    assert model.encoder.weight.grad.any()
    assert model.decoder.atoms.grad is None


def test_training_reads_the_column_and_data_without_it_are_refused():
    x = torch.randn(200, 5)
    model = gradient_sae((5,), latents=N, k=K)
    optimise(model, Dataset(x, Scaling(), (5,), columns={"gradients": x.flip(0)}), steps=3, batch_size=32)
    with pytest.raises(RequestError, match="needs the column `gradients`"):
        optimise(model, Dataset(x, Scaling(), (5,)), steps=3, batch_size=32)
    with pytest.raises(RequestError):
        gradient_sae(Spec((5,), target=(3,)))


def test_the_properties_hold_while_latents_are_dead():
    check_method(gradient_sae, (12,), latents=40, k=5, dead="auxk:dead_after=3")
