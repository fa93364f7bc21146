"""Denormals are flushed in every thread while training, and not afterwards."""

import torch

from narrows.train import training_mode


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
