"""Proofs: a paper's claim as an inequality, the method and its baseline at equal budget, several seeds.

A proof is a file ``proofs/<family>/<method>.py`` with a `Proof` named ``PROOF``. Data, seeds and scale are
arguments of `prove`, so that anybody can try a proof where it was not tuned.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from narrows.core.check import RequestError, WorkError, choice, refuse, whole
from narrows.core.progress import Progress, Silent
from narrows.methods.index import METHODS, find
from narrows.priors import PRIORS
from narrows.proofs.result import Result, environment, write_json
from narrows.proofs.verdict import Claim

if TYPE_CHECKING:
    from narrows.core import Autoencoder
    from narrows.data import Dataset, Source

__all__ = ["RESULTS", "Claim", "Proof", "Result", "Trial", "load", "prove"]

RESULTS = Path("proofs/results")
"""Where results are written, below the current folder."""


@dataclass(frozen=True)
class Trial:
    """One seed of one proof: what `Proof.measure` is given.

    Args:
        seed: the seed of this trial.
        data: the source whose ``train`` is trained on and whose ``test`` is measured.
        budget: what the scale allows; ``steps`` (and ``batch_size``, where named) hold for `fit`.
        device: where `fit` trains.
        say: where `log` goes.
    """

    seed: int
    data: Source
    budget: Mapping[str, int]
    device: str = "cpu"
    say: Callable[[str], None] = field(default=lambda text: None, repr=False, compare=False)

    def build(self, builder: Callable[..., Autoencoder], **options: Any) -> Autoencoder:
        """Build a method for this trial's data, its weights drawn from the trial's seed."""
        import torch

        torch.manual_seed(self.seed)
        return builder(options.pop("spec", self.data.spec), **options)

    def fit(self, model: Autoencoder, dataset: Dataset | None = None, **training: Any) -> Autoencoder:
        """Train a model with this trial's seed and budget, and return it in ``eval()`` on the CPU.

        It trains on the trial's device; what is measured afterwards need not know of it.

        Args:
            model: what is trained, in place.
            dataset: what it is trained on; ``data.train`` when None.
            training: further arguments of `narrows.train.optimise`, such as ``lr``.
        """
        from narrows.train import optimise

        if "epochs" not in training:
            training.setdefault("steps", self.budget["steps"])
        if "batch_size" in self.budget:
            training.setdefault("batch_size", self.budget["batch_size"])
        training.setdefault("seed", self.seed)
        self.log(f"training, {training.get('steps') or training['epochs']} {_unit(training)}")
        optimise(model, self.data.train if dataset is None else dataset, device=self.device, **training)
        return model.to("cpu").eval()

    def log(self, text: str) -> None:
        """Say what is going on, beside the progress bar."""
        self.say(text)


def _unmeasured(trial: Trial) -> Mapping[str, float]:
    raise NotImplementedError("`measure` of the proof was left out")


@dataclass(frozen=True)
class Proof:
    """A paper's claim, ready to be measured.

    Args:
        data: name of the data it is measured on by default.
        claims: inequalities over the measured numbers, fixed before anything was measured.
        default: the budget at default scale (minutes): steps, rows, widths by name.
        quick: what differs from it at quick scale (seconds); empty where there is none.
        full: what differs from it at full scale (hours); empty where there is none.
        seeds: how many seeds by default (0, 1, ...), or which: 100, 101, ... where something was chosen after a look
            at lower ones.
        data_options: how the data is opened.
        notes: what a reader should know: what was tried, how the setting differs from the paper's; lines are
            joined.
        quick_data: name of the data at quick scale where it is another: data that need no download.
        method: the method's name; in a file of this package it is left out: the file has that name.
        measure: trains the method and its baseline at equal budget, and returns numbers by name; in a file of this
            package it is left out: the function `measure` of that file.

    At quick scale the seeds are 0, 1 and 2, and only claims with `Claim.quick` are asked.
    """

    data: str
    claims: tuple[Claim, ...]
    default: Mapping[str, int]
    quick: Mapping[str, int] = field(default_factory=dict)
    full: Mapping[str, int] = field(default_factory=dict)
    seeds: int | tuple[int, ...] = 3
    data_options: Mapping[str, Any] = field(default_factory=dict)
    notes: str = ""
    quick_data: str = ""
    method: str = ""
    measure: Callable[[Trial], Mapping[str, float]] = _unmeasured

    def __post_init__(self) -> None:
        object.__setattr__(self, "notes", " ".join(self.notes.split()))

    @property
    def scales(self) -> dict[str, Mapping[str, int]]:
        """The budgets that there are, by scale."""
        budgets = {"quick": self.quick, "default": self.default, "full": self.full}
        return {name: {**self.default, **budget} for name, budget in budgets.items() if budget}


def load(name: str) -> Proof:
    """The proof of a method, or of a second stage.

    Raises:
        UnknownNameError: there is no such method.
        RequestError: it has no proof yet.
    """
    home = f"priors.{name.replace('-', '_')}" if name in PRIORS.parts else find(name).module
    module = f"narrows.proofs.{home}"
    try:
        found = import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise
        raise RequestError(f"There is no proof of `{name}` yet. It would be the file {module}.") from error
    proof: Proof = found.PROOF
    return replace(proof, method=name, measure=found.measure)


def prove(
    name: str | Proof,
    *,
    scale: str = "default",
    seeds: int | Sequence[int] | None = None,
    data: Any = None,
    data_options: Mapping[str, Any] | None = None,
    device: str = "cpu",
    out: str | Path | None = None,
    progress: bool | None = None,
) -> Result:
    """Measure a method's claim, and say whether it holds.

    The proof's verdict is the worst of its claims'; `narrows.proofs.verdict.Judgement` has the rule. Finished
    seeds are kept beside the result until all are done, so that an interrupted proof goes on where it was.

    Args:
        name: a method, or a `Proof` of your own.
        scale: ``quick``, ``default`` or ``full``.
        seeds: how many seeds (0, 1, ...), or which; the proof's own when None.
        data: a name, a path, arrays or a source, where the proof shall be tried on other data.
        data_options: how that data is opened.
        device: ``cpu``, ``cuda``, or ``auto``.
        out: where the result is written; when None ``proofs/results/NAME.json`` (with the scale, the data and
            the seeds in the file's name where they are not the proof's own), and nothing at ``quick`` scale.
        progress: show progress on stderr; when None, where stderr is a terminal.

    Raises:
        RequestError: an unknown method, scale or data set, or seeds that are none.
        WorkError: a measurement gave no finite number, or lacks one that a claim names.
    """
    proof = name if isinstance(name, Proof) else load(name)
    if proof.measure is _unmeasured or not proof.method:
        raise RequestError(
            "A `Proof` of your own needs `method`, its name, and `measure`, the function that measures."
        )
    budget = proof.scales[choice("scale", scale, list(proof.scales))]
    chosen = _seeds(_own_seeds(proof, scale) if seeds is None else seeds)
    device = _device(device)
    source = _open(proof, scale, data, data_options)
    own = data is None and data_options is None
    other = "" if own else (str(data) if isinstance(data, (str, Path)) else source.name)
    command, stem = _spelled(proof, scale, chosen, other, device)
    path = Path(out) if out is not None else (None if scale == "quick" else RESULTS / f"{stem}.json")
    kept = _Kept(path, _key(proof, scale, budget, source, device))
    measured = _run(proof, chosen, Trial(0, source, budget, device), kept, progress)
    result = Result(
        name=proof.method,
        claim=METHODS[proof.method].claim if proof.method in METHODS else "",
        scale=scale,
        data={"name": source.name, **source.describe()},
        budget=dict(budget),
        seeds=chosen,
        measured=measured,
        judgements=tuple(claim.judge(measured) for claim in _asked(proof, scale)),
        environment=environment(device, {seed: kept.seconds[seed] for seed in chosen}, command),
        notes=proof.notes,
    )
    if path is not None:
        result.save(path)
        kept.forget()
    return result


class _Kept:
    """Finished seeds, in a small JSON beside the result; of use only where everything agrees."""

    def __init__(self, result: Path | None, key: Mapping[str, Any]) -> None:
        self.path = None if result is None else result.with_name(f".{result.stem}.partial.json")
        self.key = key
        self.numbers: dict[int, dict[str, float]] = {}
        self.seconds: dict[int, tuple[float, float]] = {}  # on the clock, and of the processor
        if self.path is not None and self.path.is_file():
            self._read(self.path)

    def _read(self, path: Path) -> None:
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            if found["key"] == self.key:
                for seed, one in found["seeds"].items():
                    self.numbers[int(seed)] = {str(k): float(v) for k, v in one["numbers"].items()}
                    clock, processor = map(float, one["seconds"])
                    self.seconds[int(seed)] = clock, processor
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            self.numbers, self.seconds = {}, {}  # damaged: measure again

    def add(self, seed: int, numbers: dict[str, float], seconds: tuple[float, float]) -> None:
        self.numbers[seed], self.seconds[seed] = numbers, seconds
        if self.path is not None:
            seeds = {s: {"numbers": n, "seconds": self.seconds[s]} for s, n in self.numbers.items()}
            write_json(self.path, {"key": self.key, "seeds": seeds})

    def forget(self) -> None:
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def _run(
    proof: Proof, seeds: tuple[int, ...], trial: Trial, kept: _Kept, progress: bool | None
) -> dict[str, list[float]]:
    """Measure the seeds that are not kept yet; all numbers by name."""
    shown = progress is not False and (progress is True or sys.stderr.isatty())
    with Progress() if shown else Silent() as bar:
        bar.begin(proof.method, len(seeds), what="seeds")
        for done, seed in enumerate(seeds, 1):
            if seed not in kept.numbers:
                started = time.perf_counter(), time.process_time()
                numbers = _measure(proof, replace(trial, seed=seed, say=bar.note))
                took = time.perf_counter() - started[0], time.process_time() - started[1]
                kept.add(seed, numbers, took)
            bar.advance(done)
    return _by_name(proof, {seed: kept.numbers[seed] for seed in seeds})


def _measure(proof: Proof, trial: Trial) -> dict[str, float]:
    from narrows.core import seeded

    with seeded(trial.seed):
        numbers = {str(name): float(value) for name, value in proof.measure(trial).items()}
    for name, value in numbers.items():
        if not math.isfinite(value):
            raise WorkError(f"The proof of `{proof.method}` measured {name} = {value}, seed {trial.seed}.")
    return numbers


def _by_name(proof: Proof, numbers: Mapping[int, Mapping[str, float]]) -> dict[str, list[float]]:
    names = {tuple(one) for one in numbers.values()}
    if len({frozenset(n) for n in names}) != 1:
        raise WorkError(f"The proof of `{proof.method}` measured different names by seed: {sorted(names)}.")
    return {name: [one[name] for one in numbers.values()] for name in next(iter(names))}


def _asked(proof: Proof, scale: str) -> list[Claim]:
    """The claims that a scale asks."""
    return [claim for claim in proof.claims if claim.quick or scale != "quick"]


def _own_seeds(proof: Proof, scale: str) -> int | tuple[int, ...]:
    """The seeds that a proof is measured on where nobody names others."""
    return 3 if scale == "quick" else proof.seeds


def _seeds(seeds: int | Sequence[int]) -> tuple[int, ...]:
    if isinstance(seeds, int):
        return tuple(range(whole("seeds", seeds)))
    chosen = tuple(whole("seeds", seed, low=0) for seed in seeds) if isinstance(seeds, Sequence) else ()
    if not chosen or len(set(chosen)) < len(chosen):
        raise refuse("seeds", seeds, "a count, or different seeds")
    return chosen


def _device(device: str) -> str:
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise refuse("device", device, "a device of this machine", "There is no CUDA here; use device='cpu'.")
    return device


def _open(proof: Proof, scale: str, data: Any, options: Mapping[str, Any] | None) -> Source:
    from narrows.data import open as open_data

    if data is None and scale == "quick" and proof.quick_data:
        return open_data(proof.quick_data, **(options or {}))
    if data is None:
        return open_data(proof.data, **{**proof.data_options, **(options or {})})
    return open_data(data, **(options or {}))


def _spelled(proof: Proof, scale: str, seeds: tuple[int, ...], other: str, device: str) -> tuple[str, str]:
    """The command that measures this again, and the stem of the result's file."""
    command, stem = f"narrows prove {proof.method}", proof.method
    if scale != "default":
        command, stem = f"{command} --scale {scale}", f"{stem}.{scale}"
    if other:
        plain = "".join(c if c.isalnum() or c in "-_" else "_" for c in Path(other).name)
        command, stem = f"{command} --data {other}", f"{stem}.{plain}"
    if seeds != _seeds(_own_seeds(proof, scale)):
        counted = seeds == tuple(range(len(seeds)))
        said = str(len(seeds)) if counted else ",".join(map(str, seeds))
        command, stem = f"{command} --seeds {said}", f"{stem}.{'seeds' if counted else 'seed'}-{said}"
    if device != "cpu":
        command = f"{command} --device {device}"
    return command, stem


def _key(proof: Proof, scale: str, budget: Mapping[str, int], source: Source, device: str) -> dict[str, Any]:
    import torch

    key = {
        "method": proof.method,
        "claims": [asdict(claim) for claim in proof.claims],
        "scale": scale,
        "budget": dict(budget),
        "data": source.describe(),
        "examples": _fingerprint(source),
        "device": device,
        "torch": torch.__version__,
        "code": _code(),
    }
    found: dict[str, Any] = json.loads(json.dumps(key, default=str))
    return found


def _fingerprint(source: Source) -> str:
    """A digest of some examples: arrays in memory have no name to tell them apart."""
    some = [part.take(min(len(part), 256)).all().x for part in (source.train, source.test)]
    return hashlib.sha256(b"".join(x.numpy().tobytes() for x in some)).hexdigest()[:16]


@lru_cache(maxsize=1)
def _code() -> str:
    """A digest of the package's source: a finished seed is of use only to the code that measured it."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for file in sorted(root.rglob("*.py")):
        digest.update(file.relative_to(root).as_posix().encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _unit(training: Mapping[str, Any]) -> str:
    return "steps" if training.get("steps") else "epochs"
