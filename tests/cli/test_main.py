"""Errors as sentences and exit codes."""

import errno
import os

import pytest

import narrows as nr
from narrows.cli.errors import sentence
from narrows.cli.main import run
from narrows.core.check import RequestError, WorkError


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (RequestError("No."), 2, "No."),
        (WorkError("It broke."), 1, "It broke."),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "x.npz"), 1, "No space is left to write x.npz"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), 1, "No space is left on the device"),
        (PermissionError(errno.EACCES, "Permission denied", "x"), 1, "error at x: Permission denied."),
        (MemoryError(), 1, "smaller --batch-size"),
        (KeyError("k"), 1, "Unexpected error (KeyError: 'k')"),
        (KeyboardInterrupt(), 130, "Interrupted"),
    ],
)
def test_every_error_is_a_sentence_with_a_code(error, code, says):
    text, got = sentence(error)
    assert says in text
    assert got == code


def test_work_that_ctrl_c_stopped_keeps_its_own_words_and_gets_130():
    def stopped():
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            raise WorkError("Stopped in the proof of `vae`.") from None

    with pytest.raises(WorkError) as caught:
        stopped()
    assert sentence(caught.value) == ("Stopped in the proof of `vae`.", 130)


def test_an_unexpected_error_is_a_sentence_unless_debug_is_asked_for(monkeypatch, refused):
    def broken(*arguments, **options):
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(nr, "fit", broken, raising=False)
    words = ["fit", "digits", "--method", "vae", "--out", "x"]
    assert "(ZeroDivisionError: oh). Run the command with --debug" in refused(*words, code=1)
    with pytest.raises(ZeroDivisionError):
        run([*words, "--debug"])


@pytest.mark.parametrize(("begun", "says"), [(True, "narrows resume {run}"), (False, "had not begun")])
def test_ctrl_c_says_how_to_go_on(monkeypatch, refused, tmp_path, begun, says):
    run = tmp_path / "run"

    def stopped(*arguments, **options):
        if begun:
            run.mkdir()
            (run / "recipe.json").write_text("{}")
        raise KeyboardInterrupt

    monkeypatch.setattr(nr, "fit", stopped, raising=False)
    err = refused("fit", "digits", "--method", "vae", "--out", run, code=130)
    assert says.format(run=run) in err


def test_what_fit_is_asked_for_arrives(monkeypatch, cli, tmp_path):
    asked = {}

    def noted(data, **options):
        asked.update(options, data=data)
        return type("Run", (), {"path": tmp_path})()

    monkeypatch.setattr(nr, "fit", noted, raising=False)
    words = "fit a.csv --method vae --out r --latent 7 --beta linear:0:1:10 --net mlp:64,32 --steps 9 --lr 0.1 --clip 2"
    words += " --ema 0.9"
    more = " --columns a,b --labels y --split 0.3 --data-option n=5 --data-option seed=2 --batch-size 4 --one-hot"
    assert cli(*(words + more).split())[0] == 0
    assert asked["data"] == "a.csv"
    assert (asked["latent"], asked["beta"], asked["net"]) == (7, "linear:0:1:10", "mlp:64,32")
    assert (asked["steps"], asked["epochs"], asked["lr"], asked["batch_size"]) == (9, None, 0.1, 4)
    assert asked["training"] == {"clip": 2, "ema": 0.9}
    expected = {"columns": ["a", "b"], "labels": "y", "split": 0.3, "n": 5, "seed": 2, "one_hot": True}
    assert asked["data_options"] == expected
    assert "free_bits" not in asked  # what was not typed is the builder's default


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("fit digits --out x", "--method NAME"),
        ("fit --method vae --out x", "DATA"),
        ("fit digits --method vaee --out x", "Did you mean `vae`"),
        ("fit digts --method vae --out x", "Did you mean `digits`"),
        (
            "fit digits --method vae --out x --latnt 3",
            "There is no option `--latnt`. Did you mean `--latent`",
        ),
        (
            "fit digits --method rq-vae --restart 0.1",
            "There is no option `--restart`. It is an option of the codebook: `--codebook ema:restart=NUMBER`.",
        ),
        ("fit digits --method vib --out x --penalty vne", "There is no option `--penalty`. See: narrows fit"),
        ("fit digits --method vae --out x --latent three", "`--latent` must be a whole number"),
        ("fit digits --method vae --out x --latent=-1", "`--latent` must be"),
        ("fit digits --method vae --out x --beta lin:1", "`--beta` must be"),
        ("fit digits --method vae --out x --lr fast", "`--lr` must be"),
        ("fit digits --method vae --out x --lr -1", "`--lr` must be"),
        ("fit digits --method vae --out x --epochs 0", "`--epochs` must be"),
        ("fit digits --method vae --out x --steps 5 --epochs 5", "`--steps` must be omitted"),
        ("fit digits --method vae --out x --seed one", "--seed"),
        ("fit digits --method vae --out x --device tpu", "device"),
        ("fit digits --method vae --out x --precision 8", "precision"),
        ("fit digits --method vae --out x --scale foo", "`--scale` must be"),
        ("fit digits --method vae --out x --key k", "`--key`"),
        ("fit digits --method vae --out x --data-option n", "name=value"),
        ("fit digits --method vae --out x --data-option colour=3", "`--data-option colour`"),
        ("fit nowhere.csv --method vae --out x", "nowhere.csv"),
        ("resume nowhere", "not a run"),
        ("audit nowhere", "not a run"),
        ("sample nowhere --out x.npz", "not a run"),
        ("compare nowhere --out x.html", "at least two"),
        ("compare nowhere nothing --out x.html", "not a run"),
        ("prove", "No proof is chosen"),
        ("prove vaee", "Did you mean `vae`"),
        ("prove vae --scale huge", "scale"),
        ("prove vae --seeds some", "`--seeds` must be"),
    ],
)
def test_bad_requests(refused, monkeypatch, tmp_path, words, says):
    monkeypatch.chdir(tmp_path)
    assert says in refused(*words.split())
    assert not list(tmp_path.iterdir())


def test_a_run_without_a_name_is_called_after_its_data_and_method(cli, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    code, _, err = cli("fit", "digits", "--method", "ae", "--steps", 2, "--no-progress")
    assert code == 0
    assert "narrows audit runs/digits-ae" in err
    assert (tmp_path / "runs" / "digits-ae" / "result.json").is_file()


def test_a_run_folder_that_exists_is_left_alone(refused, fitted):
    before = {p.name: p.stat().st_mtime_ns for p in fitted.iterdir()}
    err = refused("fit", "digits", "--method", "vae", "--out", fitted)
    assert "exists already" in err
    assert before == {p.name: p.stat().st_mtime_ns for p in fitted.iterdir()}


def test_resuming_a_finished_run_says_so(cli, fitted):
    code, out, err = cli("resume", fitted, "--no-progress")
    assert (code, out) == (0, "")
    assert "already finished" in err


def test_the_options_of_a_method_are_in_its_help(cli, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    code, out, _ = cli("fit", "digits", "--method", "beta-tcvae", "--help")
    assert code == 0
    assert "Options of beta-tcvae" in out
    parameters = __import__("inspect").signature(nr.methods.index.builder("beta-tcvae")).parameters
    for name in list(parameters)[1:]:
        assert "--" + name.replace("_", "-") in out
