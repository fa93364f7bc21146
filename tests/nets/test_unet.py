"""Global tokens: what they see, and what they share."""

import torch

from narrows.nets.unet import GlobalDecoder, GlobalEncoder, UNet


def test_a_token_is_one_linear_map_of_its_own_map():
    torch.manual_seed(0)
    net = GlobalEncoder((2, 6, 5), 4, 3, width=4, levels=1)
    x = torch.randn(2, 2, 6, 5)
    maps = net.net(x)
    for t in range(4):
        wanted = maps[:, t].reshape(2, 30) @ net.shared.weight.T + net.shared.bias
        assert torch.allclose(net(x)[:, t], wanted, atol=1e-5)


def test_every_token_reaches_every_pixel():
    torch.manual_seed(0)
    net = GlobalDecoder((1, 9, 7), 3, 2, width=4, levels=2)
    z = torch.randn(2, 5, 3, 2)
    assert net(z).shape == (2, 5, 1, 9, 7)
    for t in range(3):
        other = z.clone()
        other[..., t, :] += 1
        assert ((net(other) - net(z)).abs() > 0).all()


def test_the_skips_of_a_unet_keep_the_size_of_odd_images():
    torch.manual_seed(0)
    net = UNet(2, 3, (11, 6), width=4, levels=3)
    assert net(torch.randn(2, 2, 11, 6)).shape == (2, 3, 11, 6)
    assert UNet(2, 3, (5, 5), width=4, levels=0)(torch.randn(2, 2, 5, 5)).shape == (2, 3, 5, 5)
