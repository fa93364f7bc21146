"""The grown dictionary against a loop over a stream, its state, and the comparison of two of them."""

import pytest
import torch

from narrows.core.check import RequestError
from narrows.data.dataset import Dataset
from narrows.data.scaling import Scaling
from narrows.methods.sparse.itda import itda
from narrows.nets.dictionaries.itda import ITDADictionary, jaccard
from narrows.train import optimise


def stream(n=150, d=6, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.5


def looped(x, latents, k, threshold):
    """Which examples become atoms, one after the other."""
    atoms, taken = [], []
    for n, row in enumerate(x):
        rest = row.clone()
        for _ in range(min(k, len(atoms))):
            fits = torch.stack(atoms) @ rest
            best = int(fits.abs().argmax())
            rest = rest - fits[best] * atoms[best]
        if float(rest @ rest) > threshold * float(row @ row) and len(atoms) < latents:
            atoms.append(row / row.norm())
            taken.append(n)
    return torch.stack(atoms), taken


@pytest.mark.parametrize(("latents", "threshold"), [(60, 0.05), (8, 0.05), (60, 0.5)])
def test_it_takes_the_examples_that_a_loop_takes(latents, threshold):
    x = stream()
    dictionary = ITDADictionary(latents, (6,), threshold=threshold, k=3).double()
    for start in range(0, len(x), 70):
        dictionary.grow(x[start : start + 70], torch.arange(len(x))[start : start + 70])
    atoms, taken = looped(x, latents, 3, threshold)
    assert 3 < len(taken) <= latents
    assert int(dictionary.count) == len(taken)
    assert dictionary.examples.tolist() == taken + [-1] * (latents - len(taken))
    torch.testing.assert_close(dictionary.atoms[: len(taken)], atoms)
    assert not dictionary.atoms[len(taken) :].any()


def test_several_at_once_fill_the_room_and_no_more():
    dictionary = ITDADictionary(20, (6,), threshold=0.0, k=2, at_once=8).double()
    dictionary.grow(stream(19))
    assert int(dictionary.count) == 19
    dictionary.grow(stream(9, seed=1))
    assert int(dictionary.count) == 20
    torch.testing.assert_close(dictionary.atoms.norm(dim=1), torch.ones(20, dtype=torch.float64))


def test_training_explains_the_data_and_examples_are_known_by_number():
    x = stream(400).float()
    data = Dataset(x, Scaling(), (6,), columns={"row": torch.arange(1000, 1400)})
    model = itda((6,), latents=50, k=4, threshold=0.05, centre=True, at_once=1, numbers="row")
    optimise(model, data, steps=8, batch_size=100, seed=0)
    model.eval()
    dictionary = model.decoder
    taken = dictionary.examples[: int(dictionary.count)]
    assert len(taken) > 6
    torch.testing.assert_close(dictionary.bias, x.mean(0))
    wanted = torch.nn.functional.normalize(x[taken - 1000] - dictionary.bias, dim=1)
    torch.testing.assert_close(dictionary.atoms[: len(taken)], wanted)
    error = (model.reconstruct(data.all()) - x).square().sum(1) / (x - x.mean(0)).square().sum(1)
    assert (error <= 0.05 + 1e-5).double().mean() > 0.9


def test_jaccard_counts_examples_or_equal_atoms():
    def grown(numbers, width=6, told=True):
        one = ITDADictionary(30, (width,), threshold=0.0, k=1)
        x = stream(40, 9)[:, :width].float()
        one.grow(x[numbers], torch.tensor(numbers) if told else None)
        return one

    a, b = [0, 3, 5, 9, 12, 13], [3, 5, 9, 12, 20]
    for told in (True, False):
        assert jaccard(grown(a, told=told), grown(b, told=told)) == pytest.approx(4 / 7)
        assert jaccard(grown(a, told=told), grown(a, told=told)) == 1
    assert jaccard(grown(a), grown(b, width=4)) == pytest.approx(4 / 7)
    assert jaccard(grown([]), grown([])) == 0
    with pytest.raises(RequestError, match="indices of the examples"):
        jaccard(grown(a, told=False), grown(b, width=4))
