"""The check on load: which wrong readings of a dictionary are found and named, and how often a right one is doubted.

    python -m benchmarks.readings [DATA ...] [--steps 400] [--seeds 1] [--fits FOLDER] [--json]

DATA are activations: a folder of `narrows harvest`, or a name such as `minilm`. On each, sparse autoencoders of every
architecture are trained, some with a norm of each example, and a square one. Each is then checked on held-out rows as
it is, and misread in every way that applies: the bias subtracted or not, a square matrix transposed, thresholds in
other units, a factor or a norm lost or added. The configuration promises L0 and FVU (of the training rows), L0 only, or
nothing. A wrong reading that changes neither L0 nor FVU by more than a tenth is harmless.

FOLDER keeps the trained dictionaries for the next call.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

import narrows as nr
from narrows import data as nd
from narrows.exchange.convert import read
from narrows.exchange.description import Description
from narrows.exchange.readings import READINGS
from narrows.exchange.sanity import Measured, measure, sanity

_ROWS = 8192
_L0: dict[str, object] = {"price_target": "l0=16"}
_ARMS: dict[str, tuple[str, dict[str, object]]] = {
    "relu": ("relu-sae", _L0),
    "topk": ("topk-sae", {"k": 16}),
    "batchtopk": ("batchtopk-sae", {"k": 16}),
    "jumprelu": ("jumprelu-sae", _L0),
    "gated": ("gated-sae", _L0),
    "topk, not centred": ("topk-sae", {"k": 16, "centre": False}),
    "jumprelu, not centred": ("jumprelu-sae", {**_L0, "centre": False}),
    "topk, layer norm": ("topk-sae", {"k": 16, "token_norm": "layer", "dead": "none"}),
    "topk, length": ("topk-sae", {"k": 16, "token_norm": "length", "dead": "none"}),
    "topk, mean removed": ("topk-sae", {"k": 16, "token_norm": "mean", "dead": "none"}),
    "jumprelu, mean removed": ("jumprelu-sae", {**_L0, "token_norm": "mean", "dead": "none"}),
    "topk, square": ("topk-sae", {"k": 16, "latents": 0}),
    "relu, square": ("relu-sae", {**_L0, "latents": 0}),
}
"""Names in the table, methods and options; 0 latents are as many as the width."""

_PROMISES = {"L0 and FVU": ("l0", "fvu"), "L0": ("l0",), "nothing": ()}
_SAME = 0.1
"""Two readings are the same if their L0 and FVU differ by at most this share."""


def fits(data: str, folder: Path, steps: int, seed: int) -> Iterator[tuple[str, Description]]:
    """Trained dictionaries on activations, with their L0 and FVU on training rows as promises."""
    source = nd.open(data, scale="none")
    width = source.spec.size
    rows = source.train.batch(slice(0, min(len(source.train), _ROWS)), ()).x
    assert isinstance(rows, Tensor)
    norm = float(torch.linalg.vector_norm(rows, dim=1).mean())
    for name, (method, own_options) in _ARMS.items():
        out = folder / f"{Path(data).name}-{name.replace(', ', '-').replace(' ', '-')}-{seed}"
        if not (out / "result.json").is_file():
            latents = width if own_options.get("latents") == 0 else 8 * width if width < 128 else 4 * width
            how = {"steps": steps, "seed": seed, "batch_size": 512, "lr": 1e-3}
            options = {**own_options, **how, "latents": latents}
            nr.fit(data, method, out, progress=False, data_options={"scale": "none"}, **options)
            print(f"trained {out.name}", file=sys.stderr, flush=True)
        found = read(out)
        level = measure(found, rows)
        yield (
            name,
            replace(
                found,
                metadata={**found.metadata, "norm": norm},
                promises={"l0": level.l0, "fvu": level.fvu},
            ),
        )


def misread(right: Description) -> Iterator[tuple[str, Description]]:
    """Wrong readings of a dictionary, with a name each; the names of `READINGS` are what was done wrongly."""
    for name, (_, change) in READINGS.items():
        if name == "unscaled" or not name.endswith("norm") or right.token_norm != "none" or "by" in name:
            wrong = change(right)
            if wrong is not None:
                yield name, wrong


def kind_of(name: str) -> str:
    """The row of the table of a wrong reading."""
    kinds = {
        "centre": "bias subtracted, wrongly",
        "no-centre": "bias not subtracted, wrongly",
        "scaled": "a factor added",
        "unscaled": "a factor lost",
        "no-norm": "a norm lost",
        "by-norm": "selected by norms, wrongly",
        "not-by-norm": "not selected by norms, wrongly",
    }
    if name in kinds:
        return kinds[name]
    return {"transposed": "a square matrix transposed", "threshold": "thresholds in other units"}.get(
        name.split("-")[0], "a norm added"
    )


def same(one: Measured, two: Measured) -> bool:
    """Whether two readings compute nearly the same."""
    pairs = ((one.l0, two.l0), (one.fvu, two.fvu))
    return all(abs(a - b) <= _SAME * max(abs(a), abs(b), 1e-9) for a, b in pairs)


def judged(right: Description, x: Tensor, promised: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """For the right reading and each wrong one a row of the table, and how the check fared."""
    promises = {name: value for name, value in right.promises.items() if name in promised}
    right = replace(right, promises=promises)
    truth, own = measure(right, x), sanity(right, x)
    assert own is not None
    said = own.misfit or bool(own.reading)
    yield "read rightly", f"doubted ({own.reading or 'a misfit'})" if said else "left alone"
    for name, wrong in misread(right):
        if same(truth, measure(wrong, x)):
            yield kind_of(name), "harmless"
            continue
        found = sanity(wrong, x)
        assert found is not None
        if not found.misfit and not found.reading:
            yield kind_of(name), "missed"
        elif found.better is None:
            yield kind_of(name), "found"
        else:
            yield kind_of(name), "named" if same(truth, found.better) else "named another"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.readings", description=__doc__)
    parser.add_argument("data", nargs="*", default=["minilm"])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--fits", type=Path, default=None)
    parser.add_argument("--details", action="store_true", help="print each wrong reading that is not named")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    counted = {name: dict[str, Counter[str]]() for name in _PROMISES}
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.fits or Path(temporary)
        for data in given.data:
            source = nd.open(data, scale="none")
            x = source.test.batch(slice(0, 1024), ()).x
            assert isinstance(x, Tensor)
            for seed in range(given.seeds):
                for arm, right in fits(data, folder, given.steps, seed):
                    for title, promised in _PROMISES.items():
                        for row, result in judged(right, x, promised):
                            counted[title].setdefault(row, Counter())[result] += 1
                            if given.details and result not in ("named", "left alone", "harmless"):
                                print(f"{Path(data).name}, {arm}, promised {title}: {row}: {result}")
    if given.json:
        print(json.dumps(counted))
        return
    for title, rows in counted.items():
        print(f"\nThe configuration promises {title}:")
        for row, results in rows.items():
            print(f"  {row}: {', '.join(f'{n} {what}' for what, n in results.most_common())}")


if __name__ == "__main__":
    main()
