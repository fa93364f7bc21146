"""Messages speak the words of the command line, and no command line ends in anything but a sentence."""

import inspect
import os
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

import narrows as nr
from narrows.cli.main import COMMANDS, run
from narrows.cli.options import DATA_OPTIONS, method_options
from narrows.cli.spelling import spelling
from narrows.core.check import RequestError, UnknownNameError, refuse, spelled

PYTHON = re.compile(
    r"""[A-Za-z_]\w*=(['"(\[{]|True\b|False\b|None\b|\.\.\.)|\bnr\.|\w\(\)|`[a-z]+_[a-z_]+`"""
)
"""A keyword with a value, a call, or a name with an underscore: nothing of it is typed in a shell."""

BARE = {"list", "data list", "demo"}
"""These need nothing more to be said."""


WRONG = [(name, rest) for name in COMMANDS for rest in ([], ["--nonsense"], ["--nonsense", "3", "-q"])]


@pytest.mark.parametrize(("name", "rest"), [(name, rest) for name, rest in WRONG if rest or name not in BARE])
def test_a_command_that_is_bare_or_nonsense_says_how_it_is_used(refused, tmp_path, monkeypatch, name, rest):
    monkeypatch.chdir(tmp_path)
    err = refused(*name.split(), *rest)
    assert "unexpected" not in err
    assert f"narrows {name}" in err or name == "prove"  # where to look; a bare `prove` lists the proofs
    assert not list(tmp_path.iterdir())


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Files that leave something open, which the user must say."""
    monkeypatch.chdir(tmp_path)
    rows = [f"{n},{n * n % 7},{'ab'[n % 2]}" for n in range(12)]
    (tmp_path / "text.csv").write_text("\n".join(["x,size,kind", *rows]))
    (tmp_path / "two.csv").write_text("\n".join(["x,y,label", *(f"{n},{n % 2},{n % 3}" for n in range(12))]))
    (tmp_path / "hole.csv").write_text("size,y\n1,2\n,3\n4,5\n")
    np.savez(tmp_path / "several.npz", acts=np.ones((9, 3)), more=np.ones((9, 3)))
    np.save(tmp_path / "either.npy", np.zeros((12, 3, 9, 3), np.float32))
    np.save(tmp_path / "flat.npy", np.random.default_rng(0).normal(size=(12, 4)))
    return tmp_path


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("fit text.csv --method topk-sae --out x", "`--labels kind`"),
        ("fit text.csv --method topk-sae --out x", "`--one-hot`"),
        ("fit text.csv --method topk-sae --out x", "`--columns`"),
        ("fit two.csv --method ae --out x", "`--labels y`"),
        (
            "fit hole.csv --method topk-sae --out x",
            "Column `size` of hole.csv",
        ),  # a name of theirs stays as it is
        ("fit several.npz --method ae --out x", "`--key acts`"),
        ("fit several.npz --method ae --out x --key no", "`--key` must be"),
        ("fit either.npy --method ae --out x", "`--layout chw`"),
        ("fit flat.npy --method ae --out x --labels y", "There is no file y"),
        ("fit flat.npy --method cvae --out x", "`--labels`"),
        ("fit flat.npy --method ae --out x --latent=-1", "`--latent` must be"),
        ("fit flat.npy --method ae --out x --net linear:3", "`--net linear:3`"),
        ("fit flat.npy --method ae --out x --steps 3 --epochs 2", "if `--epochs` is given"),
        ("fit flat.npy --method ae --out x --split 3", "`--split` must be"),
        ("fit flat.npy --method topk-sae --latents 8 --k 9 --out x", "`--latents`"),
        ("fit flat.npy --method jumprelu-sae --price-target l0=3,fvu=0.1 --out x", "`--price-target"),
        ("fit either.npy --method multi-layer-sae --out x --layout chw", "`--layout stack`"),
        ("fit flat.npy --method e2e-sae --out x", "`--layout contexts`"),
        ("fit flat.npy --method transcoder --out x", "`--target`"),
        ("fit dictionary --method topk-sae --out x --data-option l0=900", "`--data-option l0` must be"),
        ("sweep flat.npy --method topk-sae --over k=0,2 --steps 3 --out x", "`--over k` must be"),
        ("sweep flat.npy --over k=1,2 --steps 3 --out x", "`--method`"),
        ("resume x --steps 2", "x is not a run"),
        ("compare x", "`RUN RUN` must be at least two runs"),
    ],
)
def test_messages_speak_the_command_lines_words(refused, files, words, says):
    err = refused(*words.split())
    assert says in err
    assert not PYTHON.search(err), err
    assert words.startswith("sweep") or not (files / "x").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("sample {run} -n 0 --out x.npz", "`--n` must be"),
        ("score {run} digits --samples 0 --out x.csv", "`--samples` must be"),
        ("interpolate {run} digits --from -1 --out x.npz", "`--from` must be"),
        ("encode {run} several.npz --out x.npz", "`--key acts`"),
        ("audit {run} --data several.npz", "`--key acts`"),
        ("audit {run} --seed -1", "`--seed` must be"),
    ],
)
def test_so_do_those_of_a_run(refused, fitted, files, words, says):
    err = refused(*words.format(run=fitted).split())
    assert says in err
    assert not PYTHON.search(err), err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--from sound", "`--from` must be one of `image`, `label`, but got 'sound'"),
        ("--from label --to sound", "`--to` must be one of `image`, `label`, but got 'sound'"),
        ("-n -1", "`--draws` must be"),
    ],
)
def test_a_wrong_modality_is_named_by_the_option_that_was_typed(refused, views, tmp_path, words, says):
    err = refused("translate", views, "digits", *words.split(), "--out", tmp_path / "x.npz")
    assert says in err
    assert "source" not in err


def test_in_python_the_same_messages_speak_python(files):
    with pytest.raises(RequestError, match=r"\(`labels='kind'`\).*\(`one_hot=True`\).*\(`columns`\)"):
        nr.fit("text.csv", "topk-sae", "x")
    with pytest.raises(RequestError, match="`latent` must be"):
        nr.fit("flat.npy", "ae", "x", latent=-1)


def test_a_value_is_typed_as_a_shell_reads_it():
    class Parameter:
        param_type_name, secondary_opts, name, metavar = "option", ("--no-one-hot",), "any", None

        def __init__(self, *opts):
            self.opts = opts

    spell = spelling([Parameter("--labels"), Parameter("--one-hot")], ["--data-option", "l0=3"])
    with spelled(spell):
        for said, typed in {
            "``labels='my kind'``": "`--labels 'my kind'`",
            "``one_hot=True``": "`--one-hot`",
            "``one_hot=False``": "`--no-one-hot`",
            "``labels=['a', 'b']``": "`--labels a,b`",
            "``l0=4``": "`--data-option l0=4`",
            "``unheard='of'``": "`unheard=of`",
            "`labels`": "`labels`",
        }.items():
            assert str(RequestError(said)) == typed
        assert str(refuse("labels", 3, "text")) == "`--labels` must be text, but got 3."
    assert str(refuse("labels", 3, "text")) == "`labels` must be text, but got 3."
    assert str(UnknownNameError("No ``labels``.")) == "No `labels`."


def test_the_spelling_ends_with_the_command(refused, files):
    refused("fit", "flat.npy", "--method", "ae", "--latent=-1", "--out", "x")
    assert str(refuse("latent", 0, "more")).startswith("`latent`")


@pytest.mark.parametrize("name", ["vae", "topk-sae", "mae"])
def test_options_of_a_method_are_known_by_the_names_of_its_builder(name, capsys):
    for option in method_options(name):
        assert option.flag == "--" + option.name.replace("_", "-")
    assert not {o.name for o in DATA_OPTIONS} & set(
        inspect.signature(nr.methods.index.builder(name)).parameters
    )


def test_escapes_in_what_was_typed_do_not_reach_the_terminal(refused):
    err = refused("fit", "\x1b[2Jwine.csv", "--method", "ae", "--out", "x")
    assert "\x1b" not in err
    assert r"\x1b[2Jwine.csv" in err


def test_run_is_quiet_about_a_reader_that_went_away(monkeypatch, fitted):
    class Gone:
        encoding, errors = "utf-8", "replace"

        def write(self, text):
            raise BrokenPipeError(32, "Broken pipe")

        def flush(self):
            raise BrokenPipeError(32, "Broken pipe")

        def isatty(self):
            return False

        def fileno(self):
            return self.file.fileno()

    with open("/dev/null", "w") as nothing:
        gone = Gone()
        gone.file = nothing
        monkeypatch.setattr(sys, "stdout", gone)
        assert run(["list"]) == 0
        assert run(["audit", str(fitted), "--json"]) == 0


@pytest.mark.parametrize("reader", ["head -c 20", "true"])
def test_a_reader_that_has_enough_ends_the_command_quietly(fitted, reader):
    line = f"{sys.executable} -m narrows audit {fitted} --json | {reader}; echo ${{PIPESTATUS[0]}} >&2"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] in ("0", "141")
    assert "Traceback" not in done.stderr
    assert "Error" not in done.stderr


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_a_terminal_that_lacks_a_character_gets_a_mark(fitted, encoding):
    words = [sys.executable, "-m", "narrows", "audit", str(fitted), "--out", str(fitted.parent / encoding)]
    done = subprocess.run(words, capture_output=True, env={**os.environ, "PYTHONIOENCODING": encoding})
    assert done.returncode == 0, done.stderr
    assert b"?" in done.stdout
    assert b"fvu" in done.stdout


def test_names_in_files_cannot_style_or_move_what_is_printed(fitted, capsys):
    report = nr.load(fitted).audit(write=False, features=False, limit=50)
    capsys.readouterr()
    replace(report, data="\x1b[2J[red]wine[/red]").show()
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert r"\x1b[2J[red]wine[/red]" in out
