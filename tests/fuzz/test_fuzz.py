import json
import os
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch

from fuzz.format import Format, digest
from fuzz.json_edits import edit_text
from fuzz.mutate import mutate

TESTS = Path(__file__).parents[1]


def alone(*arguments):
    """A python process of its own: forks of a process with threads may wait for ever."""
    path = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )


def make(folder):
    np.save(folder / "x.npy", np.arange(5))


def read_bytes(folder):
    return (folder / "x.npy").read_bytes()


def broken(folder):
    raise KeyError("shape")


def silent(folder):
    from narrows.core.check import RequestError

    raise RequestError("")


def dead(folder):
    os.kill(os.getpid(), 11)


def greedy(folder):
    return int(np.ones(700 << 20, np.uint8).sum())


def endless(folder):
    started = time.process_time()
    while time.process_time() < started + 60:
        pass


def away(folder):
    (folder.parent / "canary.txt").write_text("overwritten")


def refusing(folder):
    from narrows.core.check import RequestError

    if (folder / "x.npy").read_bytes()[:6] != b"\x93NUMPY":
        raise RequestError("The file is damaged.")
    return 0


def damaged_only(reader):
    """A reader that reads the sound sample well, and a changed one as the given reader does."""

    def read(folder):
        sound = folder.parent / "sound"
        sound.mkdir()
        make(sound)
        return 0 if read_bytes(sound) == read_bytes(folder) else reader(folder)

    return read


FORMATS = tuple(
    Format(reader.__name__, make, damaged_only(reader), seconds=1 if reader is endless else 5)
    for reader in (broken, silent, dead, greedy, endless, away, refusing)
) + (Format("sealed", make, read_bytes, sealed=True), Format("unsealed", make, read_bytes))


def outcomes():
    """What the harness says of each of these formats, as lines of JSON; run in a process of its own."""
    import tempfile

    from fuzz.cases import Samples, run_case

    with tempfile.TemporaryDirectory() as folder:
        samples = Samples(Path(folder))
        for form in FORMATS:
            found = [run_case(form, number, 0, samples) for number in range(3)]
            print(json.dumps([form.name, [[o.kind, o.text, o.what] for o in found]]))


@pytest.fixture(scope="module")
def told():
    done = alone(__file__)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(line) for line in done.stdout.splitlines())


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("broken", "KeyError: 'shape'"),
        ("silent", "refused without a sentence"),
        ("dead", "the process was ended by SIGSEGV"),
        ("greedy", "MiB for files of"),
        ("endless", "the process was ended by SIGXCPU (over 1 s of CPU)"),
        ("away", "a file beside the sample was changed"),
        ("sealed", "read without a word, with another result"),
    ],
)
def test_the_harness_sees_every_kind_of_fault(told, name, text):
    assert [kind for kind, _, _ in told[name]].count("fault") >= 2
    assert any(text in said for _, said, _ in told[name])


def test_the_harness_accepts_sentences_and_other_values(told):
    assert {kind for kind, _, _ in told["refusing"]} <= {"refused", "unchanged"}
    assert "different" in {kind for kind, _, _ in told["unsealed"]}


def test_the_same_seed_makes_the_same_changes_and_others_do_not():
    content = json.dumps({"a": [1, 2, {"b": "c"}], "d": 0.5}).encode()
    for name in ("x.json", "x.npy", "x.csv", "x.bin"):
        one, two, other = (
            [mutate(name, content, Random(f"{seed}:{i}")) for i in range(40)] for seed in (0, 0, 1)
        )
        assert one == two
        assert one != other
        assert sum(new != content for new, _ in one) >= 39


def test_edits_of_json_stay_json_and_change_it():
    text = json.dumps({"a": [1, 2, {"b": "c"}], "d": 0.5})
    changed = 0
    for i in range(200):
        new, _ = edit_text(text, Random(i))
        try:
            changed += json.loads(new.decode("utf-8", "surrogatepass")) != json.loads(text)
        except RecursionError:
            changed += 1
    assert changed > 150


def test_digests_tell_values_types_and_shapes_apart():
    values = [
        1,
        1.0,
        True,
        "1",
        None,
        [1],
        {"a": 1},
        {"a": 2},
        np.ones(2),
        np.ones(2, np.float32),
        np.ones((2, 1)),
    ]
    values += [torch.ones(2), torch.zeros(2), b"1", Path("1"), (1, 2), float("nan")]
    assert len({digest(v) for v in values}) == len(values)
    assert digest({"a": 1, "b": [np.arange(3)]}) == digest({"b": [np.arange(3)], "a": 1})
    with pytest.raises(TypeError, match="a reader of the harness returned"):
        digest(object())


def test_no_damaged_file_of_any_format_ends_in_a_fault():
    done = alone("-m", "fuzz", "--cases", "200", "--seed", "20", "--json")
    found = json.loads(done.stdout)
    assert found["faults"] == [], "make fuzz SEED=20 CASE=format:number repeats a case"
    assert done.returncode == 0, done.stderr
    assert sum(sum(kinds.values()) for kinds in found["counts"].values()) >= 190
    assert all(kinds for kinds in found["counts"].values())


if __name__ == "__main__":
    outcomes()
