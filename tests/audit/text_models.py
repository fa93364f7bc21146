"""A tiny language model and a harvest of it: rows, and where they came from."""

from types import SimpleNamespace

import torch
from torch import nn

from narrows.data.dataset import Dataset
from narrows.data.scaling import Scaling

SIZES = (9, 6, 9)


class TinyLanguageModel(nn.Module):
    """Embedding, a causal mean, a linear map with a nonlinearity, an unembedding."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.mix, self.head = nn.Embedding(17, 6), nn.Linear(6, 6), nn.Linear(6, 17)

    def forward(self, input_ids, attention_mask=None):
        h = self.embed(input_ids)
        count = torch.arange(1, h.shape[1] + 1)[:, None]
        return self.head(self.mix(h.cumsum(1) / count).tanh() * 4)


class Text:
    """The provenance of rows that are all tokens but the first of each context."""

    at, target, length = ("mix",), (), 0

    def __init__(self, kind="causal"):
        self.manifest = SimpleNamespace(
            header={"model": {"kind": kind, "name": "tiny", "source": "tiny", "revision": "r"}}
        )
        generator = torch.Generator().manual_seed(1)
        self.ids = [torch.randint(17, (n,), generator=generator) for n in SIZES]
        self.of = torch.cat([torch.full((n - 1,), i) for i, n in enumerate(SIZES)])
        self.at_position = torch.cat([torch.arange(1, n) for n in SIZES])

    def contexts(self, rows):
        return self.of[rows]

    def positions(self, rows):
        return self.at_position[rows]

    def tokens(self, rows):
        return torch.stack(
            [self.ids[c][p] for c, p in zip(self.of[rows], self.at_position[rows], strict=True)]
        )

    def context_of(self, row):
        return self.ids[int(self.of[row])], int(self.at_position[row])


class Rows(Dataset):
    provenance = None


def harvest(kind="causal"):
    lm, text = TinyLanguageModel().eval(), Text(kind)
    with torch.no_grad():
        x = torch.cat([lm.mix(hidden(lm, ids))[1:] for ids in text.ids])
    data = Rows(x, Scaling("standard", 0.5, 2.0), (6,))
    object.__setattr__(data, "provenance", text)
    return lm, data


def hidden(lm, ids):
    return lm.embed(ids).cumsum(0) / torch.arange(1, len(ids) + 1)[:, None]
