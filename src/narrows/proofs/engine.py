"""Proofs: a paper's claim as an inequality, the method and its baseline at equal budget, several seeds.

A proof is a file ``proofs/<family>/<method>.py`` with a `Proof` named ``PROOF``. Data, seeds and scale are
arguments of `prove`, so that a proof can be repeated under other conditions.
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
from narrows.core.progress import Part, Progress, Silent
from narrows.methods.index import METHODS, entry
from narrows.methods.techniques import TECHNIQUES, Technique
from narrows.proofs.result import Result, environment, write_json
from narrows.proofs.verdict import Claim

if TYPE_CHECKING:
    from narrows.core import Autoencoder
    from narrows.data import Dataset, Source

__all__ = ["RESULTS", "Claim", "Proof", "Result", "Trial", "load", "prove"]

RESULTS = Path("proofs/results")
"""Folder of results, relative to the current folder."""


@dataclass(frozen=True)
class Trial:
    """One seed of a proof, the argument of `Proof.measure`.

    Args:
        seed: the seed of this trial.
        data: the data; models are trained on ``train`` and measured on ``test``.
        budget: the budget of the scale; `fit` uses ``steps`` and ``batch_size``.
        device: the device of `fit`.
        say: function that prints messages.
        shown: display of what takes minutes before anything is measured, such as training a language model.
    """

    seed: int
    data: Source
    budget: Mapping[str, int]
    device: str = "cpu"
    say: Callable[[str], None] = field(default=lambda text: None, repr=False, compare=False)
    shown: Silent = field(default_factory=Silent, repr=False, compare=False)

    def build(self, builder: Callable[..., Autoencoder], **options: Any) -> Autoencoder:
        """Build a method for the data of this trial, with weights from its seed."""
        import torch

        torch.manual_seed(self.seed)
        return builder(options.pop("spec", self.data.spec), **options)

    def fit(self, model: Autoencoder, dataset: Dataset | None = None, **training: Any) -> Autoencoder:
        """Train a model with this trial's seed and budget, and return it in ``eval()`` on the CPU.

        The model is trained on the trial's device and returned on the CPU.

        Args:
            model: the model, which is trained in place.
            dataset: the training data; ``data.train`` if None.
            training: further arguments of `narrows.train.optimise`, such as ``lr``.
        """
        from narrows.train import optimise

        if not {"epochs", "steps"} & set(training):
            training["steps"] = self.budget["steps"]
        if "batch_size" in self.budget:
            training.setdefault("batch_size", self.budget["batch_size"])
        training.setdefault("seed", self.seed)
        self.log(f"training, {training.get('steps') or training['epochs']} {_unit(training)}")
        optimise(model, self.data.train if dataset is None else dataset, device=self.device, **training)
        return model.to("cpu").eval()

    def log(self, text: str) -> None:
        """Print a message above the progress bar."""
        self.say(text)


def _unmeasured(trial: Trial) -> Mapping[str, float]:
    raise NotImplementedError("the proof has no `measure`")


@dataclass(frozen=True)
class Proof:
    """A claim of a paper, and the experiment that tests it.

    Args:
        data: name of the default data.
        claims: inequalities of measured values, fixed before the first measurement.
        default: the budget at default scale (minutes): steps, rows, widths by name.
        quick: changes of the budget at quick scale (seconds); empty if there is no quick scale.
        full: changes of the budget at full scale (hours); empty if there is no full scale.
        seeds: number of seeds (0, 1, ...), or a list of seeds; from 100 on if anything was chosen after measurements
            with lower ones.
        data_options: options of the data.
        notes: remarks, such as differences from the paper and other settings that were tried; lines are joined.
        quick_data: name of other data at quick scale, which need no download.
        method: the method's name; by default that of the file, in this package.
        measure: trains the method and its baseline with equal budgets, and returns values by name; by default the
            function `measure` of the file, in this package.

    At quick scale the seeds are 0, 1 and 2, and only claims with `Claim.quick` are tested.
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
        """The budgets by scale."""
        budgets = {"quick": self.quick, "default": self.default, "full": self.full}
        return {name: {**self.default, **budget} for name, budget in budgets.items() if budget}


def load(name: str) -> Proof:
    """The proof of a method or a technique, such as a prior.

    Raises:
        UnknownNameError: the method does not exist.
        RequestError: it has no proof yet.
    """
    row = entry(name)
    if isinstance(row, Technique) and row.proved_by:
        return load(row.proved_by)
    module = f"narrows.proofs.{row.module}"
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
    unfinished: list[Path] | None = None,
) -> Result:
    """Run a proof: measure, and test its claims.

    The verdict is the worst of the claims' verdicts, defined in `narrows.proofs.verdict.Judgement`. Results of finished
    seeds are saved, so that an interrupted proof can continue.

    Args:
        name: a method, or a `Proof` of your own.
        scale: ``quick``, ``default`` or ``full``.
        seeds: number of seeds (0, 1, ...), or a list of seeds; those of the proof if None.
        data: other data: a name, a path, arrays or a source.
        data_options: options of these data.
        device: ``cpu``, ``cuda``, or ``auto``.
        out: output file; if None ``proofs/results/NAME.json`` (with scale, data and seeds in the name if they are not
            the default ones), and no file at ``quick`` scale.
        progress: show progress on stderr; if None, only if stderr is a terminal.
        unfinished: where this proof is one of several, the file of its seeds is appended here instead of deleted, for
            the case that a later proof is interrupted.

    Raises:
        RequestError: an unknown method, scale or data set, or invalid seeds.
        WorkError: a measured value is not finite, or a claim refers to a missing one.
    """
    proof = name if isinstance(name, Proof) else load(name)
    if proof.measure is _unmeasured or not proof.method:
        raise RequestError("A `Proof` needs the arguments `method`, its name, and `measure`, a function.")
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
        claim=_claim(proof.method),
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
        kept.forget(unfinished)
    return result


def _claim(name: str) -> str:
    """What the paper claims, of a method or a technique; empty for proofs of one's own."""
    return entry(name).claim if name in METHODS or name in TECHNIQUES else ""


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

    def forget(self, later: list[Path] | None) -> None:
        if self.path is not None and later is not None:
            later.append(self.path)
        elif self.path is not None:
            self.path.unlink(missing_ok=True)


def _run(
    proof: Proof, seeds: tuple[int, ...], trial: Trial, kept: _Kept, progress: bool | None
) -> dict[str, list[float]]:
    """Measure the seeds that are not kept yet; all numbers by name."""
    shown = progress is not False and (progress is True or sys.stderr.isatty())
    with Progress() if shown else Silent() as bar:
        part = Part(bar) if shown else Silent() if progress is False else Progress(every=60.0)
        bar.begin(proof.method, len(seeds), what="seeds")
        for done, seed in enumerate(seeds, 1):
            if seed not in kept.numbers:
                started = time.perf_counter(), time.process_time()
                numbers = _measure(proof, replace(trial, seed=seed, say=bar.note, shown=part))
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
    """The claims that are tested at a scale."""
    return [claim for claim in proof.claims if claim.quick or scale != "quick"]


def _own_seeds(proof: Proof, scale: str) -> int | tuple[int, ...]:
    """The default seeds of a proof."""
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
    """The command that repeats a measurement, and the name of the file of the result."""
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
    """A hash of some examples, to identify arrays in memory."""
    some = [part.take(min(len(part), 256)).all().x for part in (source.train, source.test)]
    return hashlib.sha256(b"".join(x.numpy().tobytes() for x in some)).hexdigest()[:16]


@lru_cache(maxsize=1)
def _code() -> str:
    """A hash of the package's source, since results of finished seeds are valid only for the same code."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for file in sorted(root.rglob("*.py")):
        digest.update(file.relative_to(root).as_posix().encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _unit(training: Mapping[str, Any]) -> str:
    return "steps" if training.get("steps") else "epochs"
