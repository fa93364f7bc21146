import math

import numpy as np
import pytest
import torch

from narrows.core.check import RequestError
from narrows.kernels.quadrature import trapezium
from narrows.nets.coordinates import CoordinateNet, Fourier
from narrows.nets.field import FieldEncoder, LinearDecoder, NonlinearDecoder
from narrows.nets.field_start import principal_start

DECODERS = (
    LinearDecoder(6, (30, 2), 2),
    NonlinearDecoder(6, (30, 2), 2),
    NonlinearDecoder(6, (30, 2), 2, split=True),
    NonlinearDecoder(6, (30, 2), 2, split=True, coordinates="siren"),
)


def seen(n=5, p=30, k=2, channels=2):
    torch.manual_seed(0)
    y, x = torch.rand(n, p, k), torch.randn(n, p, channels)
    return x, {"positions": y, "quadrature": torch.rand(n, p)}


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    net = FieldEncoder((30, 2), 2, 8)
    torch.nn.init.normal_(net.head.layers[-1].weight)  # the perceptron begins at zero
    return net


def test_fourier_features_of_a_position():
    net, y = Fourier(2, frequencies=3), torch.rand(4, 2)
    angle = 2 * math.pi * y.numpy() @ net.matrix.numpy()
    expected = np.concatenate([y.numpy(), np.cos(angle), np.sin(angle)], 1)
    assert np.allclose(net(y).numpy(), expected, atol=1e-5)


def test_the_integrals_of_the_encoder_by_hand(encoder):
    x, condition = seen()
    weights = condition["quadrature"] / condition["quadrature"].sum(1, keepdim=True)
    kernel = encoder.kernel(condition["positions"]).reshape(5, 30, 4, encoder.width)
    pooled = torch.zeros(5, encoder.width)
    for b in range(5):
        for p in range(30):
            for c in range(2):
                pooled[b] += weights[b, p] * (x[b, p, c] * kernel[b, p, c] + kernel[b, p, 2 + c])
    assert torch.allclose(encoder(x, condition), encoder.head(pooled), atol=1e-5)


def test_the_order_of_the_points_changes_nothing(encoder):
    x, condition = seen()
    order = torch.randperm(30)
    turned = {name: value[:, order] for name, value in condition.items()}
    assert torch.allclose(encoder(x, condition), encoder(x[:, order], turned), atol=1e-5)


def test_a_point_twice_with_half_the_weight_is_one_point(encoder):
    x, condition = seen()
    twice = {
        "positions": condition["positions"].repeat(1, 2, 1),
        "quadrature": condition["quadrature"].repeat(1, 2) / 2,
    }
    assert torch.allclose(encoder(x, condition), encoder(x.repeat(1, 2, 1), twice), atol=1e-5)


@pytest.mark.parametrize("quadrature", [True, False])
def test_points_that_are_not_there_change_no_bit_and_equal_their_removal(encoder, quadrature):
    x, condition = seen()
    if not quadrature:
        del condition["quadrature"]
    condition["mask"] = (torch.arange(30) < 20).expand(5, 30)
    alone = {name: value[:, :20] for name, value in condition.items() if name != "mask"}
    results = []
    for garbage in (1.0, float("nan")):
        hole = {name: value.clone() for name, value in condition.items()}
        for name in set(hole) - {"mask"}:
            hole[name][:, 20:] = garbage
        tried = x.clone()
        tried[:, 20:] = garbage
        encoder.zero_grad()
        out = encoder(tried, hole)
        out.sum().backward()
        results.append((out.detach(), [p.grad.clone() for p in encoder.parameters()]))
    assert torch.equal(results[0][0], results[1][0])
    assert all(torch.equal(a, b) for a, b in zip(results[0][1], results[1][1], strict=True))
    assert torch.allclose(results[0][0], encoder(x[:, :20], alone), atol=1e-5)


@pytest.mark.parametrize("decoder", DECODERS)
def test_points_that_all_examples_share_are_computed_once_and_the_same(encoder, decoder):
    y, x = torch.rand(1, 30, 2), torch.randn(5, 30, 2)
    together, apart = y.expand(5, 30, 2), y.repeat(5, 1, 1)
    assert torch.allclose(encoder(x, {"positions": together}), encoder(x, {"positions": apart}), atol=1e-5)
    z = torch.randn(3, 5, 6)
    found = decoder(z, {"positions": together})
    assert found.shape == (3, 5, 30, 2)
    assert torch.allclose(found, decoder(z, {"positions": apart}), atol=1e-5)


@pytest.mark.parametrize("decoder", DECODERS)
def test_the_value_at_a_point_does_not_depend_on_the_others(decoder):
    z, y = torch.randn(5, 6), torch.rand(5, 30, 2)
    everywhere = decoder(z, {"positions": y})
    here = decoder(z, {"positions": torch.rand(5, 3, 2), "queries": y[:, 7:9]})
    assert torch.allclose(everywhere[:, 7:9], here, atol=1e-5)


def test_the_linear_decoder_is_the_sum_of_its_modes():
    decoder, z, y = LinearDecoder(3, (9, 2), 1), torch.randn(4, 3), torch.rand(4, 9, 1)
    mean, modes = decoder.modes(y)
    expected = mean + sum(z[:, k, None, None] * modes[:, :, k] for k in range(3))
    assert torch.allclose(decoder(z, {"positions": y}), expected, atol=1e-5)


def test_a_split_decoder_gives_each_layer_its_share():
    decoder = NonlinearDecoder(5, (4, 1), 1, split=True, hidden=(8, 8))
    net, z, y = decoder.net, torch.randn(1, 5), torch.rand(1, 4, 1)
    h = net.features(y)
    for i, (layer, part) in enumerate(zip(net.layers, (z[:, :2], z[:, 2:4], z[:, 4:]), strict=True)):
        h = layer(net.activation(h) if i else h) + part @ net.told[i].weight.T
    assert torch.allclose(decoder(z, {"positions": y}), h, atol=1e-5)
    with pytest.raises(RequestError, match="at least 3"):
        NonlinearDecoder(2, (4, 1), 1, split=True, hidden=(8, 8))


def test_a_siren_begins_with_phases_of_unit_variance():
    torch.manual_seed(0)
    net = CoordinateNet(2, 1, (256, 256, 256), "siren:w0=30")
    h = net.features(torch.rand(1, 2000, 2))
    for layer in net.layers[:-1]:
        phase = net.activation.w0 * (h @ layer.weight.T)  # without the biases, which only move it
        h = torch.sin(net.activation.w0 * layer(h))
    assert 0.9 < float(phase.detach().std()) < 1.1


def brownian(n, p, noise_free_modes=64):
    """Paths whose sample covariance is that of Brownian motion cut off after so many modes, exactly."""
    rng = np.random.default_rng(0)
    draws = rng.standard_normal((n, noise_free_modes))
    draws -= draws.mean(0)
    draws = np.sqrt(n) * np.linalg.svd(draws, full_matrices=False)[0]
    k = np.arange(1, noise_free_modes + 1) - 0.5
    y = np.linspace(0, 1, p)
    paths = draws / (np.pi * k) @ (np.sqrt(2) * np.sin(np.pi * k * y[:, None])).T
    return torch.from_numpy(paths).float()[..., None], torch.from_numpy(y).float()


def test_a_linear_autoencoder_begins_at_the_principal_functions_of_brownian_motion():
    """Loadings squared are 1 / (pi^2 (k - 1/2)^2) - s^2, and 0 below; the posterior is that of the closed form."""
    torch.manual_seed(0)
    noise, latent, (x, y) = 0.1, 6, brownian(500, 257)
    condition = {"positions": y[None, :, None].expand(500, -1, 1), "quadrature": trapezium(y).expand(500, -1)}
    encoder, decoder = FieldEncoder((257, 1), 1, 2 * latent), LinearDecoder(latent, (257, 1), 1)
    principal_start(encoder, decoder, x, condition, noise)
    with torch.no_grad():
        fine = torch.linspace(0, 1, 1001)
        mean, modes = decoder.modes(fine[:, None])
        weighed = modes[..., 0] * trapezium(fine).sqrt()[:, None]
        loadings = torch.linalg.svdvals(weighed).square()
        features = encoder(x, condition)
    k = np.arange(1, latent + 1)
    eigenvalues = 1 / (np.pi * (k - 0.5)) ** 2
    exact = np.maximum(eigenvalues - noise**2, 0)
    assert (exact > 0).tolist() == [True] * 3 + [False] * 3
    assert np.allclose(loadings, exact, rtol=0.01, atol=1e-5)
    assert float(mean.abs().max()) < 0.01
    functions = np.sqrt(2) * np.sin(np.pi * (k - 0.5) * y.numpy()[:, None])
    scores = np.trapezoid(x.numpy() * functions, y.numpy(), axis=1)
    means, variances = np.sqrt(exact) / np.maximum(eigenvalues, noise**2) * scores, features[0, latent:].exp()
    assert np.allclose(features[:, :latent].abs(), np.abs(means), atol=0.03)
    assert np.allclose(variances, noise**2 / np.maximum(eigenvalues, noise**2), rtol=0.02)


def test_principal_functions_of_points_that_differ_by_example():
    """The same field at random points begins at nearly the same loadings."""
    torch.manual_seed(0)
    rng = np.random.default_rng(1)
    y = torch.from_numpy(rng.uniform(0, 1, (600, 200))).float()
    draws = torch.from_numpy(rng.standard_normal((600, 2))).float()
    x = draws[:, :1] * math.sqrt(2) * torch.sin(2 * math.pi * y) + 0.5 * draws[:, 1:] * math.sqrt(
        2
    ) * torch.cos(2 * math.pi * y)
    condition = {"positions": y[..., None], "quadrature": trapezium(y)}
    encoder, decoder = FieldEncoder((200, 1), 1, 6), LinearDecoder(3, (200, 1), 1)
    principal_start(encoder, decoder, x[..., None], condition, 0.05)
    with torch.no_grad():
        fine = torch.linspace(0, 1, 1001)
        weighed = decoder.modes(fine[:, None])[1][..., 0] * trapezium(fine).sqrt()[:, None]
        loadings = torch.linalg.svdvals(weighed).square().numpy()
    sample = np.linalg.eigvalsh(np.cov(draws.numpy().T) * np.outer([1, 0.5], [1, 0.5]))[::-1]
    assert np.allclose(loadings[:2], sample - 0.05**2, rtol=0.03)
    assert loadings[2] < 1e-3
