"""The U-Net denoiser: shapes and sides, the reach of its convolutions, the time, and a prior with it."""

import pytest
import torch

from narrows.core import Batch, Symbols, TokenLayout
from narrows.core.check import RequestError
from narrows.nets.unet_denoiser import UNetDenoiser, unet_denoiser
from narrows.priors.diffusion import Diffusion
from narrows.priors.flow_matching import FlowMatching

GRID = Symbols((20, 2), placed=TokenLayout(((4, 5),)))


def made(channels, size, **options):
    torch.manual_seed(0)
    net = UNetDenoiser(channels, size, width=8, depth=1, **options)
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.3)
    return net.eval()


@pytest.mark.parametrize(
    ("size", "levels"), [((1, 3), 0), ((4, 5), 1), ((7, 7), 1), ((8, 9), 2), ((32, 16), 2)]
)
def test_any_sides_are_halved_down_to_two_places(size, levels):
    net = made(3, size)
    assert len(net.downs) == levels
    assert net(torch.randn(2, 3, *size), torch.rand(2)).shape == (2, 3, *size)


def test_tokens_are_the_places_of_an_array_row_by_row():
    array, tokens = made(2, (4, 5)), made(2, (4, 5), tokens=True)
    tokens.load_state_dict(array.state_dict())
    x, t = torch.randn(3, 2, 4, 5), torch.rand(3)
    rows = torch.stack([x[:, :, i, j] for i in range(4) for j in range(5)], 1)
    y = array(x, t)
    assert torch.allclose(tokens(rows, t)[:, 7], y[:, :, 1, 2], atol=1e-6)


def test_one_time_for_all_is_that_of_each_and_times_and_labels_matter():
    net = made(2, (4, 4), condition=3)
    x, labels = torch.randn(3, 2, 4, 4), torch.eye(3)
    assert torch.allclose(net(x, torch.tensor([0.3])), net(x, torch.full((3,), 0.3)), atol=1e-5)
    y = net(x, torch.full((3,), 0.3), labels)
    assert not torch.allclose(y, net(x, torch.full((3,), 0.6), labels), atol=1e-3)
    assert not torch.allclose(y, net(x, torch.full((3,), 0.3), labels.flip(0)), atol=1e-3)


def test_priors_train_all_of_it_and_draw_with_it():
    batch = Batch(torch.randn(6, 20, 2), condition={"labels": torch.eye(3)[[0, 1, 2, 0, 1, 2]]})
    for constructor in (FlowMatching, Diffusion):
        prior = constructor(GRID, net="unet", width=8, depth=1, labels=True, classes=3)
        torch.nn.init.normal_(prior.net.out.weight)
        for module in prior.modules():  # modulations start at 0
            if isinstance(module, torch.nn.Linear):
                torch.nn.init.normal_(module.weight, std=0.1)
        prior.loss(batch).total.backward()
        assert all(p.grad is not None and bool(p.grad.any()) for p in prior.net.parameters())
        assert prior.eval().sample(2, steps=2).shape == (2, 20, 2)


def test_codes_without_rows_and_columns_are_refused():
    for symbols in (Symbols((9,)), Symbols((9, 2))):
        with pytest.raises(RequestError, match="rows and columns"):
            unet_denoiser(symbols, 8, 1)
    with pytest.raises(RequestError, match="net"):
        FlowMatching(GRID, net="resnet")
