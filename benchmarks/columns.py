"""What a likelihood by type of column costs, over a Gaussian one with equally many outputs of the decoder.

    OMP_NUM_THREADS=1 python -m benchmarks.columns [--rounds 9]

Processor milliseconds of the nll and its gradient for 20 codes of 128 rows, and of a whole training step of
`missing-iwae`; interleaved, the least of all rounds, and their ratio. The Gaussian table has as many columns as the
mixed one has parameters.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor

from narrows.core import Batch, Column, Spec
from narrows.likelihoods.table import MixedTable
from narrows.methods.tabular.missing_iwae import missing_iwae

CODES, ROWS, LEVELS = 20, 128, 8
TABLES = {"20 numbers": (20, 0), "20 numbers, 20 categories": (20, 20), "100 categories": (0, 100)}


def table(numbers: int, categories: int) -> Spec:
    """A table of whole numbers and of categories with eight levels."""
    parts = {f"n{i}": Spec((), "integer", column=Column("int64", 0.1, -3.0, 3.0)) for i in range(numbers)}
    for i in range(categories):
        parts[f"c{i}"] = Spec((), "categories", classes=LEVELS, column=Column("string"))
    return Spec((len(parts),), kind="table", parts=parts)


def rows(spec: Spec) -> Tensor:
    """Rows of a table, (ROWS, D)."""
    columns = [
        torch.randint(part.classes, (ROWS,)).float() if part.classes else torch.randn(ROWS)
        for part in (spec.parts or {str(i): Spec(()) for i in range(spec.size)}).values()
    ]
    return torch.stack(columns, 1)


def nll_of(spec: Spec, numbers: str) -> Callable[[], None]:
    """The nll of rows, and its gradient."""
    likelihood, x = MixedTable(spec, numbers), rows(spec)
    parameters = torch.randn(CODES, ROWS, *likelihood.parameter_shape)

    def run() -> None:
        likelihood.nll(parameters.detach().requires_grad_(), x).sum().backward()  # type: ignore[no-untyped-call]

    return run


def step_of(spec: Spec, numbers: str) -> Callable[[], None]:
    """A training step."""
    model, x = missing_iwae(spec, samples=CODES, numbers=numbers), rows(spec)
    optimizer = torch.optim.Adam(model.parameters())

    def run() -> None:
        optimizer.zero_grad()
        model.objective(model, Batch(x), 0).total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return run


def least(runs: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """The least processor milliseconds of each, rounds interleaved."""
    found = dict.fromkeys(runs, float("inf"))
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.process_time()
            run()
            found[name] = min(found[name], 1e3 * (time.process_time() - start))
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    torch.manual_seed(0)
    print(f"{'table':27} {'outputs':>7} {'what':>5} {'mixed':>7} {'Gaussian':>8} {'ratio':>6}")
    for name, counts in TABLES.items():
        spec = table(*counts)
        plain = Spec(MixedTable(spec).parameter_shape, kind="table")
        for what, make in (("nll", nll_of), ("step", step_of)):
            ms = least({"mixed": make(spec, "logistic"), "Gaussian": make(plain, "gaussian")}, rounds)
            ratio = ms["mixed"] / ms["Gaussian"]
            print(f"{name:27} {plain.size:7} {what:>5} {ms['mixed']:7.2f} {ms['Gaussian']:8.2f} {ratio:6.2f}")


if __name__ == "__main__":
    main()
