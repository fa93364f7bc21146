"""``python -m interop``: 1 if a library reads or writes other numbers than we do, or its quantisers other faults."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from interop.environments import LIBRARIES, QUANTISERS, interpreter
from interop.quantisers import differences
from narrows.core.check import NarrowsError
from narrows.exchange.convert import convert, members

FIXTURES = Path(__file__).parents[1] / "fixtures" / "exchange"
READERS = {
    "saelens": "saelens",
    "sparsify": "sparsify",
    "dictionary_learning": "dictionary_learning",
    "circuit-tracer": "circuit_tracer",
    "gemma-scope": "saelens",
}
"""The library that opens what we write in a format."""

ORACLES = {
    "gemma-scope": "saelens",
    "gemma-scope-embedding": "saelens",
    "gemma-scope-2-sae": "saelens",
    "gemma-scope-2-transcoder": "saelens",
    "gemma-scope-2-clt": "circuit_tracer",
    "dictionary_learning-gated": "saelens",
}
"""Fixtures whose codes another library computes as well."""


CODES_ONLY = ("gemma-scope-embedding",)
"""SAELens multiplies the atoms of an embedding's dictionary by sqrt(d), but not the decoder's bias."""


@dataclass(frozen=True)
class Job:
    """A folder that a library opens.

    Args:
        library: the library.
        folder: the folder.
        fixture: the name of the fixture whose codes are expected.
        result: the file of the library's codes.
        what: a short description.
    """

    library: str
    folder: Path
    fixture: str
    result: Path
    what: str


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m interop", description=__doc__)
    parser.add_argument("--libraries", default=",".join(LIBRARIES), help="only these, with commas between")
    chosen = parser.parse_args().libraries.split(",")
    faults: list[str] = []
    with tempfile.TemporaryDirectory(prefix="narrows-interop-") as name:
        folder = Path(name)
        examined = [library for library in chosen if library in QUANTISERS]
        for library in examined:
            faults += _examined(library)
        chosen = [library for library in chosen if library not in QUANTISERS]
        for library in chosen:
            faults += _anew(library, folder / "anew" / library)
        jobs = [job for job in _jobs(folder) if job.library in chosen]
        for library in chosen:
            faults += _open([job for job in jobs if job.library == library], library, folder)
    done = f"{len(jobs)} folders opened, quantisers of {len(examined)} libraries examined, no difference"
    print("\n".join(faults) or done, flush=True)
    return 1 if faults else 0


def _run(library: str, *arguments: str) -> str:
    """What `make.py` prints, with the interpreter of the library."""
    command = [interpreter(library), "-W", "ignore", "make.py", arguments[0], library, *arguments[1:]]
    done = subprocess.run(command, cwd=FIXTURES, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} failed:\n{done.stderr}")
    return done.stdout.strip()


def _examined(library: str) -> list[str]:
    """Let the doctor examine the quantisers of a library, and compare with its known faults."""
    tests = Path(__file__).parents[1]
    command = [interpreter(library), "-W", "ignore", "-m", "interop.quantisers", library]
    paths = {**os.environ, "PYTHONPATH": f"{tests.parent / 'src'}{os.pathsep}{tests}"}
    done = subprocess.run(command, env=paths, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} failed:\n{done.stderr}")
    said = json.loads(done.stdout.strip().splitlines()[-1])
    for name, checks in said["found"].items():
        failed = ", ".join(f"{one['name']} {_short(one['value'])}" for one in checks if one["ok"] is False)
        print(f"{library} {said['version']}, {name}: {failed or 'no fault'}", flush=True)
    return list(differences(library, said["found"]))


def _short(value: float | str | None) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _anew(library: str, out: Path) -> Iterator[str]:
    """Write the fixtures of a library again, and compare them with the stored ones."""
    out.mkdir(parents=True)
    print(_run(library, "write", str(out)).splitlines()[-1], flush=True)
    made = {path.relative_to(out) for path in out.rglob("*") if path.is_file()}
    for path in sorted(made):
        stored = FIXTURES / path
        if not stored.is_file():
            yield f"{library} wrote {path}, which is not stored"
        elif path.suffix == ".safetensors":
            yield from _differences(str(path), load_file(out / path), load_file(stored))
        elif path.suffix == ".json" and json.loads((out / path).read_text()) != json.loads(
            stored.read_text()
        ):
            yield f"{path}: the configuration changed"


def _jobs(folder: Path) -> Iterator[Job]:
    """Every fixture in every format that can hold it, written by us; and the fixtures themselves for the oracles."""
    for codes in sorted(FIXTURES.glob("*.codes.safetensors")):
        name = codes.name.removesuffix(".codes.safetensors")
        if name in ORACLES:
            result = folder / f"{name}.oracle.safetensors"
            yield Job(ORACLES[name], FIXTURES / name, name, result, f"{ORACLES[name]} opens {name}")
        source = FIXTURES / name
        parts = members(source)
        if len(parts) == 1:  # a run of sparsify with one hook point
            source = next(iter(parts.values()))
        for to, library in READERS.items():
            out = folder / "ours" / to / name
            try:
                done = convert(source, out, to, allow_pickle=True, say=lambda text: None)
            except NarrowsError:
                continue  # this format cannot hold it
            if done.count > 1 and to != "circuit-tracer":
                continue  # a folder for each layer, which these libraries open one by one
            known = done.description
            if to == "gemma-scope" and known.kind == "transcoder":
                if known.width != known.output_width:
                    continue  # neither library opens it
                library = "circuit_tracer"
            if to == "gemma-scope" and name in CODES_ONLY:
                continue  # the scale is in the names of the folders above
            result = folder / f"{name}.{to}.safetensors"
            yield Job(library, out, name, result, f"{library} opens our {to} file of {name}")


def _open(jobs: list[Job], library: str, folder: Path) -> Iterator[str]:
    """Let a library compute the codes of its jobs, and compare."""
    if not jobs:
        return
    lines = ["\t".join(map(str, (job.folder, _codes(job.fixture), job.result))) for job in jobs]
    listed = folder / f"{library}.txt"
    listed.write_text("\n".join(lines) + "\n")
    said = _run(library, "codes", str(listed)).splitlines()
    for job in jobs:
        if not job.result.exists():
            reason = next((line for line in said if line.startswith(f"{job.folder}:")), "it wrote nothing")
            yield f"{job.what}: {reason}"
            continue
        found, expected = load_file(job.result), load_file(_codes(job.fixture))
        if job.fixture in CODES_ONLY:
            found, expected = {"codes": found["codes"]}, {"codes": expected["codes"]}
        yield from _differences(job.what, found, expected)
        print(f"{job.what}", flush=True)


def _codes(fixture: str) -> Path:
    return FIXTURES / f"{fixture}.codes.safetensors"


def _differences(what: str, found: dict[str, Tensor], expected: dict[str, Tensor]) -> Iterator[str]:
    """Tensors that differ by more than 1e-5 of the largest number, and codes with other supports."""
    for name in sorted(found.keys() | (expected.keys() - {"x"})):
        if name not in found or name not in expected or found[name].shape != expected[name].shape:
            yield f"{what}: `{name}` is missing or has another shape"
            continue
        one, two = found[name].double(), expected[name].double()
        worst = float((one - two).abs().max() / two.abs().max().clamp_min(1)) if two.numel() else 0.0
        if not worst <= 1e-5:
            yield f"{what}: `{name}` differs by {worst:.2g}"
        if name == "codes" and not torch.equal(one != 0, two != 0):
            yield f"{what}: other latents are active"


if __name__ == "__main__":
    sys.exit(main())
