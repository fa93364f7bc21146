"""Denormals are flushed in every thread while training, and not afterwards."""

import torch

from narrows.data import Dataset, Scaling
from narrows.methods.regularised.ae import ae
from narrows.train import cpu, training_mode


def share_of_denormals_kept():
    tiny = torch.full((2_000_000,), 1e-39)  # large enough to be shared among threads
    return (tiny * 1.0 != 0).float().mean().item()


def test_all_threads_flush_inside_and_none_outside():
    share_of_denormals_kept()  # the pool of workers is alive before
    with training_mode():
        assert share_of_denormals_kept() == 0.0
    assert share_of_denormals_kept() == 1.0


def test_threads_are_put_back():
    before = torch.get_num_threads()
    with training_mode(threads=1):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


def test_threads_follow_the_work_and_nothing_else(monkeypatch):
    monkeypatch.setattr(cpu, "available_threads", lambda: 8)
    x = torch.zeros(256, 1000)
    rows = Dataset(x, Scaling(), (1000,))
    small, large = ae((1000,), latent=2, net="mlp:16"), ae((1000,), latent=2, net="mlp:512")
    assert cpu.threads_for(small, rows, 128) == 1
    # four products: 128 rows x (1000 x 512 + 512 x 2 + 2 x 512 + 512 x 1000) multiply-adds
    work = 128 * 2 * (1000 * 512 + 512 * 2)
    assert cpu.threads_for(large, rows, 128) == int(work / cpu._WORK) == 2
    assert cpu.threads_for(large, rows, 256) == 5


def test_counting_the_work_changes_nothing():
    model = ae((20,), latent=2)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    torch.manual_seed(3)
    cpu.threads_for(model, Dataset(torch.zeros(9, 20), Scaling(), (20,)), 4)
    assert torch.initial_seed() == 3
    after = torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(after, torch.rand(1))
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
