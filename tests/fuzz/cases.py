"""Cases, each read in a process of its own: a fork of this one, in which everything is imported already."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from fuzz.format import Format, digest
from fuzz.mutate import mutate

SPARE_BYTES = 512 << 20
"""Reading may take so much memory beside four times the files."""

_ADDRESSES = 8 << 30
_WAIT = 600
_CANARY = "what lies beside the sample"


@dataclass(frozen=True)
class Outcome:
    """What became of a case.

    Args:
        case: its name, ``format:number``.
        kind: ``refused``, ``unchanged``, ``different`` (which is allowed), or ``fault``.
        what: what was done to which file.
        text: the refusal, or the fault.
    """

    case: str
    kind: str
    what: str
    text: str = ""


class Samples:
    """Sound samples, made when they are first needed, and what is read of them.

    Args:
        folder: where they lie.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._made: dict[Callable[[Path], None], Path] = {}
        self._read: dict[str, str] = {}

    def made(self, form: Format) -> Path:
        """The folder of a format's sound sample."""
        if form.make not in self._made:
            path = self.folder / f"sound-{len(self._made)}"
            path.mkdir()
            found = apart(lambda: form.make(path), form.seconds * 10)
            if found["kind"] != "read":
                raise RuntimeError(f"the sound sample of {form.name} cannot be made: {found['text']}")
            self._made[form.make] = path
            _import([*found["modules"], *form.warm])
        return self._made[form.make]

    def expected(self, form: Format) -> str:
        """The digest of what is read of the sound sample, of a copy of it as in a case."""
        if form.name not in self._read:
            found = self.read(form, self.made(form), None)
            if found["kind"] != "read":
                raise RuntimeError(f"the sound sample of {form.name} cannot be read: {found['text']}")
            self._read[form.name] = found["digest"]
            _import(found["modules"])
        return self._read[form.name]

    def read(self, form: Format, sound: Path, change: Callable[[Path], None] | None) -> dict[str, Any]:
        """Copy a sample, change the copy, and read it apart."""
        with tempfile.TemporaryDirectory(dir=self.folder) as room:
            copy, canary = Path(room) / "sample", Path(room) / "canary.txt"
            shutil.copytree(sound, copy)
            canary.write_text(_CANARY)
            if change is not None:
                change(copy)
            size = sum(p.stat().st_size for p in copy.rglob("*") if p.is_file())
            found = apart(lambda: form.read(copy), form.seconds)
            if not canary.is_file() or canary.read_text() != _CANARY:
                return {"kind": "fault", "text": "a file beside the sample was changed"}
        if found["kind"] in ("read", "refused") and found["bytes"] > 4 * size + SPARE_BYTES:
            return {"kind": "fault", "text": f"{found['bytes'] >> 20} MiB for files of {size} bytes"}
        return found


def run_case(form: Format, number: int, seed: int, samples: Samples, keep: Path | None = None) -> Outcome:
    """Change a sound sample by chance and read it; `keep` is a folder for the changed sample."""
    rng = Random(f"{seed}:{form.name}:{number}")
    sound = samples.made(form)
    names = sorted({str(p.relative_to(sound)) for g in form.files for p in sound.glob(g) if p.is_file()})
    if not names:
        raise RuntimeError(f"the sample of {form.name} has no file like {form.files}")
    name = rng.choice(names)
    old = (sound / name).read_bytes()
    new, what = mutate(name, old, rng)

    def change(folder: Path) -> None:
        if new is None:
            (folder / name).unlink()
        else:
            (folder / name).write_bytes(new)
        if keep is not None:
            shutil.copytree(folder, keep / "sample")

    expected = samples.expected(form)
    found = samples.read(form, sound, change)
    case, what = f"{form.name}:{number}", f"{name}: {what}"
    if found["kind"] != "read":
        return Outcome(case, found["kind"], what, found["text"])
    if found["digest"] == expected:
        return Outcome(case, "unchanged", what)
    if form.sealed and new != old:
        return Outcome(case, "fault", what, "read without a word, with another result")
    return Outcome(case, "different", what)


def plan(formats: Sequence[Format], count: int) -> Iterator[tuple[Format, int]]:
    """So many cases in all, divided among the formats by their share, format after format."""
    total = sum(f.share for f in formats)
    for form in formats:
        for number in range(max(1, round(count * form.share / total))):
            yield form, number


def apart(work: Callable[[], Any], seconds: int) -> dict[str, Any]:
    """Run work in a fork of this process and say what became of it.

    Returns:
        ``kind`` is ``read`` (then ``digest``), ``refused`` or ``fault`` (then ``text``); ``bytes`` is the memory that
        the work took beyond what the process had.
    """
    sys.stdout.flush()
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(out)
        try:
            found = _work(work, seconds)
            with os.fdopen(into, "wb") as pipe:
                pipe.write(json.dumps(found).encode())
        finally:
            os._exit(0)
    os.close(into)
    with os.fdopen(out, "rb") as pipe:
        told = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        why = f" (over {seconds} s of CPU)" if name == "SIGXCPU" else ""
        return {"kind": "fault", "text": f"the process was ended by {name}{why}"}
    if not told:
        return {"kind": "fault", "text": "the process ended without a result"}
    return json.loads(told)


def _work(work: Callable[[], Any], seconds: int) -> dict[str, Any]:
    from narrows.core.check import NarrowsError

    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.alarm(_WAIT)  # for a process that waits for ever
    if (
        sys.platform == "linux"
    ):  # elsewhere addresses are not limited; what is touched is measured all the same
        limit = _resident("VmSize") + _ADDRESSES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    before, known = _resident("VmRSS"), set(sys.modules)
    try:
        found: dict[str, Any] = {"kind": "read", "digest": digest(work())}
    except NarrowsError as error:
        found = {"kind": "refused", "text": str(error)[:2000]}
        if not str(error).strip() or "Traceback" in str(error):
            found = {"kind": "fault", "text": f"refused without a sentence: {str(error)[:200]!r}"}
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)
        place = next(
            (f"{Path(f.filename).name}:{f.lineno}" for f in reversed(where) if "narrows" in f.filename), ""
        )
        found = {"kind": "fault", "text": f"{type(error).__name__}: {str(error)[:300]} ({place})"}
    found["bytes"] = max(0, _peak() - before)
    found["modules"] = sorted(set(sys.modules) - known)
    return found


def _import(modules: Sequence[str]) -> None:
    """Import what a fork imported, so that the next forks need not."""
    for name in modules:
        with contextlib.suppress(Exception):  # what only its parent can import
            importlib.import_module(name)


def _peak() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _resident(what: str) -> int:
    """Bytes that this process has now, by the kernel's own name for them (0 where the kernel does not say)."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return _peak() if what == "VmRSS" else 0
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{what}:"))
