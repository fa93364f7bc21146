"""Small harvest folders for tests, written through `ShardWriter` from numbers that say where they came from."""

import json
from pathlib import Path

import torch

from narrows.activations.shards import ShardWriter
from narrows.core.files import with_checksum

WIDTH = 4


def header(layers=("resid.0", "resid.1"), width=WIDTH, dtype="float32", model="toy", **more):
    return {
        "model": {"name": model, "revision": "r1", "kind": "causal"},
        "layers": {name: {"shape": [width], "dtype": dtype} for name in layers},
        "contexts": {"length": 5},
        "text": {"sha256": "abc"},
        **more,
    }


def unit(number, head, contexts=7, length=5, keep=4):
    """Row r of unit u at layer l holds l * 1000 + u * 100 + r / 8 in its first place; tokens are u * 1000 + place."""
    rows = contexts * keep
    tensors = {}
    for at, (name, layer) in enumerate(head["layers"].items()):
        x = torch.zeros(rows, *layer["shape"]).flatten(1)
        x[:, 0] = at * 1000 + number * 100 + torch.arange(rows) / 8
        x[:, -1] = torch.arange(rows) % 3
        tensors[name] = x = x.reshape(rows, *layer["shape"])
        if name in head.get("gradients", ()):
            tensors[f"{name}.grad"] = -x
    tensors["positions"] = torch.arange(length - keep, length).repeat(contexts)
    tensors["context_rows"] = torch.full((contexts,), keep)
    tensors["context_tokens"] = number * 1000 + torch.arange(contexts * length)
    tensors["context_sizes"] = torch.full((contexts,), length)
    return tensors


def written(folder, head=None, units=3, **how) -> Path:
    """A finished harvest."""
    head = head or header()
    writer = ShardWriter(folder, head)
    for number in range(units):
        writer.write(number, unit(number, head, **how))
    writer.finish(range(units))
    return Path(folder)


def rank_writes(folder, rank, units=8):
    """What one of two processes does: every second unit, then the manifest."""
    head = header()
    writer = ShardWriter(folder, head)
    for number in writer.missing(range(rank, units, 2)):
        writer.write(number, unit(number, head))
    writer.finish(range(units))


def resealed(path, change):
    """Change a JSON file of a harvest as a stranger would who knows the checksum: `change` edits the mapping."""
    form = json.loads(path.read_text())
    form.pop("sha256")
    change(form)
    path.write_text(json.dumps(with_checksum(form)))
