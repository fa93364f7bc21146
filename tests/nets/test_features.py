"""Frozen feature nets: they never move, and equal an independent computation from the same file."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from narrows.core.check import RequestError
from narrows.nets.features import Frozen, RandomFeatures, ResNetFeatures, VGGFeatures


def test_a_frozen_net_has_nothing_to_train_and_stays_in_eval():
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5))
    frozen = Frozen(net)
    frozen.train()
    x = torch.rand(2, 1, 8, 8, requires_grad=True)
    before = {name: value.clone() for name, value in frozen.state_dict().items()}
    out = frozen(x)
    out.sum().backward()
    assert x.grad is not None
    assert list(frozen.parameters()) == []
    assert all(torch.equal(before[name], value) for name, value in frozen.state_dict().items())
    assert torch.equal(out, net.eval()(x))
    assert len(list(net.parameters())) == 4  # the original still trains


def test_random_features_depend_on_their_seed_alone():
    x = torch.rand(2, 3, 16, 16)
    torch.manual_seed(1)
    one = RandomFeatures((3, 16, 16), seed=3)(x)
    torch.manual_seed(2)
    same, other = RandomFeatures((3, 16, 16), seed=3)(x), RandomFeatures((3, 16, 16), seed=4)(x)
    assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True))
    assert not torch.equal(one[0], other[0])
    assert [f.shape[1:] for f in one] == [(16, 16, 16), (32, 8, 8), (64, 4, 4)]


def test_vgg_is_the_sequence_of_its_file(tmp_path):
    """Against the plain sequence of layers that the names of the tensors stand for."""
    layers = [
        nn.Conv2d(3, 4, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.ReLU(),
    ]
    plain = nn.Sequential(*layers)
    save_file({f"features.{k}": v for k, v in plain.state_dict().items()}, tmp_path / "vgg.safetensors")
    x = torch.rand(2, 1, 8, 8)
    found = VGGFeatures((1, 8, 8), str(tmp_path / "vgg.safetensors"))(x)
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    h = (x.expand(-1, 3, -1, -1) - mean[:, None, None]) / deviation[:, None, None]
    assert len(found) == 3
    for end, value in zip((4, 7, 10), found, strict=True):
        torch.testing.assert_close(value, plain[:end](h))


def test_what_cannot_be_read_is_refused(tmp_path):
    (tmp_path / "broken.npz").write_bytes(b"no zip")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(RequestError, match="on this machine"):
        ResNetFeatures((3, 8, 8), "nowhere.npz")
    with pytest.raises(RequestError, match="cannot be read"):
        ResNetFeatures((3, 8, 8), str(tmp_path / "broken.npz"))
    for net in (ResNetFeatures, VGGFeatures):
        with pytest.raises(RequestError, match="a file with tensors"):
            net((3, 8, 8), str(tmp_path / "other.npz"))
    with pytest.raises(RequestError, match="random"):
        VGGFeatures((7,), "x.npz")


def test_the_residual_net_knows_its_pictures(real):
    """The class that the last map and the file's own linear layer give: right for four of five pictures."""
    import narrows.data as nd

    folder = real / "models"
    kept = np.load(folder / "cifar10_resnet20.npz")
    test = nd.open("cifar10").test
    batch = test.batch(torch.arange(300))
    net = Frozen(ResNetFeatures((3, 32, 32), str(folder / "cifar10_resnet20.npz")))
    last = net(batch.x)[-1].mean((2, 3))
    logits = last @ torch.from_numpy(kept["linear.weight"]).T + torch.from_numpy(kept["linear.bias"])
    assert float((logits.argmax(1) == test.labels[:300]).float().mean()) > 0.75
