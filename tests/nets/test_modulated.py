"""Modulated norms against the formula, pixel by pixel."""

import torch

from narrows.nets.modulated import ModulatedGridDecoder, SpatialNorm


def test_the_gain_and_shift_of_every_pixel_are_linear_in_the_nearest_token():
    torch.manual_seed(0)
    norm, x, q = (
        SpatialNorm(16, 3).double(),
        torch.randn(2, 16, 5, 4).double(),
        torch.randn(2, 3, 2, 2).double(),
    )
    y = norm(x, q)
    groups = norm.norm.num_groups
    for b in range(2):
        for c in range(16):
            first = c // (16 // groups) * (16 // groups)
            group = x[b, first : first + 16 // groups]
            for i in range(5):
                for j in range(4):
                    token = q[b, :, i * 2 // 5, j * 2 // 4]
                    gain = norm.gain.weight[c, :, 0, 0] @ token + norm.gain.bias[c]
                    shift = norm.shift.weight[c, :, 0, 0] @ token + norm.shift.bias[c]
                    scaled = (x[b, c, i, j] - group.mean()) / (group.var(correction=0) + 1e-5).sqrt()
                    assert torch.allclose(y[b, c, i, j], gain * scaled + shift)


def test_without_gain_and_shift_modulation_changes_nothing():
    torch.manual_seed(0)
    modulated = ModulatedGridDecoder(4, (3, 7, 9), levels=2, width=16, blocks=2)
    for module in modulated.modules():
        if isinstance(module, SpatialNorm):
            assert torch.equal(module.gain.bias, torch.ones_like(module.gain.bias))
            torch.nn.init.zeros_(module.shift.weight)
    plain = ModulatedGridDecoder(4, (3, 7, 9), levels=2, width=16, blocks=2, modulated=False)
    mine = modulated.state_dict()
    plain.load_state_dict({n: mine.get(n, v) for n, v in plain.state_dict().items()})
    z = torch.randn(2, 5, 6, 4)
    assert torch.allclose(modulated(z), plain(z), atol=1e-5)
    assert modulated(z).shape == (2, 5, 3, 7, 9)
    torch.nn.init.normal_(modulated.norms[0].gain.weight)
    assert not torch.allclose(modulated(z), plain(z), atol=1e-2)


def test_without_doublings_the_size_stays():
    assert ModulatedGridDecoder(4, (1, 3, 3), levels=0, width=8, blocks=1)(torch.randn(2, 9, 4)).shape == (
        2,
        1,
        3,
        3,
    )
