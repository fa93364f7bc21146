"""A planted dictionary, a model that knows it, and a labelled set of activations whose concepts are atoms."""

import numpy as np
import torch

from narrows.audit.evaluations import labels as module
from narrows.audit.evidence.control import random_dictionary
from narrows.audit.evidence.view import examine
from narrows.core import Batch
from narrows.data.dataset import Dataset
from narrows.data.labelled import Labelled
from narrows.data.scaling import Scaling

ATOMS, SIZE, CONCEPTS = 24, 32, 3


def world(monkeypatch, count=1200, seed=0):
    """The view of a model whose atoms are those of the data, with its labelled set patched in as `planted`."""
    g = torch.Generator().manual_seed(seed)
    atoms = torch.linalg.qr(torch.randn(SIZE, ATOMS, generator=g)).Q.T.contiguous()
    on = torch.rand(count, ATOMS, generator=g) < 0.1
    on[:, :CONCEPTS] = torch.rand(count, CONCEPTS, generator=g) < 0.4
    x = (on * (1 + torch.rand(count, ATOMS, generator=g))) @ atoms + 0.02 * torch.randn(
        count, SIZE, generator=g
    )
    dataset = Dataset(x, Scaling(), (SIZE,))
    model = random_dictionary(Batch(x), ATOMS, 4).model
    with torch.no_grad():
        model.encoder.atoms.copy_(atoms)
        model.decoder.atoms.copy_(atoms)
        model.encoder.centre.zero_()
        model.decoder.bias.zero_()
        model.bottleneck.gain.fill_(1.0)
    names = tuple(f"atom {i}" for i in range(CONCEPTS))
    labelled = Labelled("planted", names, on[:, :CONCEPTS].numpy().astype(np.int8), x=x.numpy())
    monkeypatch.setattr(module, "open_labelled", lambda name: labelled)
    monkeypatch.setitem(module.LABELLED, "planted", None)
    return examine(model, dataset, 1000, 0)
