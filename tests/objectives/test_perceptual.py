"""The perceptual distance against a loop over places, and what it may not move."""

import torch
from torch import nn

from narrows.nets.features import RandomFeatures
from narrows.objectives.perceptual import PerceptualDistance


def test_equals_a_loop_over_layers_and_places():
    net = RandomFeatures((1, 6, 6), channels=3, levels=2, seed=1)
    distance = PerceptualDistance(net)
    x, y = torch.rand(2, 1, 6, 6), torch.rand(2, 1, 6, 6)
    for row in range(2):
        layers = []
        for a, b in zip(net(x[row : row + 1]), net(y[row : row + 1]), strict=True):
            places = []
            for i in range(a.shape[2]):
                for j in range(a.shape[3]):
                    u, v = a[0, :, i, j], b[0, :, i, j]
                    u, v = (w / max(float(w.norm()), 1e-3) for w in (u, v))
                    places.append(((u - v) ** 2).sum())
            layers.append(torch.stack(places).mean())
        torch.testing.assert_close(distance(x, y)[row], torch.stack(layers).mean(), rtol=1e-3, atol=1e-4)


def test_samples_are_leading_axes_and_gradients_reach_only_what_was_made():
    distance = PerceptualDistance(RandomFeatures((1, 8, 8)))
    x = torch.rand(3, 1, 8, 8, requires_grad=True)
    made = torch.rand(4, 3, 1, 8, 8, requires_grad=True)
    found = distance(x, made)
    assert found.shape == (4, 3)
    torch.testing.assert_close(found[2], distance(x, made[2]))
    found.sum().backward()
    assert made.grad is not None
    assert x.grad is None


def test_features_of_length_zero_give_finite_gradients():
    distance = PerceptualDistance(nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), _Listed()))
    made = torch.zeros(2, 1, 4, 4, requires_grad=True)
    distance(torch.zeros(2, 1, 4, 4), made).sum().backward()
    assert made.grad.isfinite().all()


class _Listed(nn.Module):
    def forward(self, x):
        return [x]
