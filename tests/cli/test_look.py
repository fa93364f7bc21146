"""`--help`, `list`, `paper` and `data`: what they say, and that they need no torch."""

import inspect
import json
import re
import subprocess
import sys
from importlib import import_module

import pytest

from narrows import __version__
from narrows.cli.docstrings import signature
from narrows.cli.look import of_method
from narrows.cli.main import COMMANDS
from narrows.core.check import WorkError
from narrows.core.texts import docstring_args, shown
from narrows.methods.index import METHODS, builder
from narrows.methods.techniques import TECHNIQUES
from narrows.priors import PRIORS, sampling_options

QUICK = [
    ["--help"],
    ["list"],
    ["list", "--json"],
    ["list", "--help"],
    ["paper", "vae"],
    ["paper", "maskgit"],
    ["data", "list"],
    ["data", "info", "sprites"],
    ["data", "info", "mnist"],
]


def test_the_quick_commands_import_no_torch():
    program = (
        "import sys; from narrows.cli.main import run\n"
        f"for words in {QUICK}:\n"
        "    try: assert run(words) == 0\n"
        "    except SystemExit as stop: assert not stop.code\n"
        "    assert 'torch' not in sys.modules, words\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_python_m_is_the_same_program():
    done = subprocess.run([sys.executable, "-m", "narrows", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, f"narrows {__version__}")


def test_help_names_every_command_with_its_first_line(cli):
    code, out, _ = cli("--help")
    assert code == 0
    for name, row in COMMANDS.items():
        assert f"  {name}" in out
        module, function = row.home.split(":")
        text = inspect.getdoc(getattr(import_module(f"narrows.cli.{module}"), function))
        assert text.splitlines()[0] == row.help


def test_a_group_alone_shows_its_commands(cli):
    code, out, _ = cli("data")
    assert code == 0
    assert "data info" in out
    assert "resume" not in out


@pytest.mark.parametrize("name", [n for n in COMMANDS if not n.startswith(("list", "paper", "data"))])
def test_every_command_has_help(cli, name):
    code, out, _ = cli(*name.split(), "--help")
    assert code == 0
    assert f"narrows {name}" in out


def test_list_json_is_the_promised_array(cli):
    code, out, err = cli("list", "--json")
    rows = json.loads(out)
    assert (code, err) == (0, "")
    assert [row["name"] for row in rows] == [*METHODS, *TECHNIQUES]
    keys = {"name", "title", "year", "arxiv", "family", "claim", "centrality", "id"}
    assert all(set(row) == keys for row in rows)
    assert next(row for row in rows if row["name"] == "iwae")["arxiv"] == "1509.00519"


def test_the_list_names_paper_and_claim(cli):
    _, out, _ = cli("list", "--family", "regularised")
    wae = METHODS["wae"]
    assert f"  wae             {wae.year}  {wae.arxiv}  {wae.claim[:20]}" in out
    assert "  ae              2006 " in out  # a paper without an arXiv number
    assert "doi:" not in out


def test_list_of_a_family(cli):
    _, out, _ = cli("list", "--family", "sparse", "--json")
    assert {row["name"] for row in json.loads(out)} == {n for n, m in METHODS.items() if m.family == "sparse"}
    _, out, _ = cli("list", "--family", "sparse")
    assert "topk-sae" in out
    assert "vq-vae" not in out


@pytest.mark.parametrize("name", METHODS)
def test_paper_reads_from_the_source_what_the_builder_has(name):
    """The source is read without importing it; what Python finds on import must be the same."""
    row = METHODS[name]
    says, options = of_method(row)
    function = builder(name)
    assert inspect.getdoc(function).startswith(says.split(".")[0].split("\n")[0][:40])
    known = [p for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
    assert [o["name"] for o in options] == [p.name for p in known]
    for option, parameter in zip(options, known, strict=True):
        assert option["says"], f"`{option['name']}` of {name} is not explained"
        if "/" not in option["default"]:
            assert option["default"] == shown(parameter.default)


def test_paper(cli):
    code, out, _ = cli("paper", "vae")
    assert code == 0
    for part in (
        "Auto-Encoding Variational Bayes (2014)",
        "https://arxiv.org/abs/1312.6114",
        "--latent",
        "prove vae",
    ):
        assert part in out
    code, out, _ = cli("paper", "ae", "--json")
    assert json.loads(out)["options"][0]["name"] == "latent"


def test_priors_are_listed_and_have_papers(cli):
    _, out, _ = cli("list", "--family", "prior")
    assert re.search(r"^  maskgit +2022  2202.04200  A few passes", out, re.MULTILINE)
    code, out, _ = cli("paper", "gmm")
    assert code == 0
    assert "narrows fit RUN --prior gmm --out NEW" in out
    assert "narrows prove rae" in out  # whose proof measures it
    _, out, _ = cli("list", "--family", "variational")
    assert "riemannian" in out


@pytest.mark.parametrize("name", PRIORS.parts)
def test_the_paper_of_a_prior_has_its_options_as_the_class_has_them(cli, name):
    found = json.loads(cli("paper", name, "--json")[1])
    assert [one["name"] for one in found["options"]] == list(PRIORS.options(name))
    known = sampling_options(PRIORS.constructor(name))
    assert {one["name"]: one["default"] for one in found["sampling"]} == {
        option.name: shown(option.default) for option in known.values()
    }
    assert all(one["says"] for one in (*found["options"], *found["sampling"]))


def test_the_paper_of_a_prior_shows_how_it_draws(cli):
    out = cli("paper", "maskgit")[1]
    assert re.search(r"^  --steps +8 +passes of the transformer", out, re.MULTILINE)
    assert "such as maskgit:smoothing=0.1" in out
    assert "Options" not in cli("paper", "lantern")[1]


def test_data_list_and_info(cli):
    rows = json.loads(cli("data", "list", "--json")[1])
    assert {"digits", "sprites", "mnist"} <= {row["name"] for row in rows}
    options = json.loads(cli("data", "info", "sprites", "--json")[1])["options"]
    assert {"n", "size", "colours"} <= {option["name"] for option in options}
    assert "1 x 8 x 8" in cli("data", "info", "digits")[1]
    assert "Optical digits" in cli("data", "list")[1]
    assert cli("data", "get", "digits")[0] == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["lst"], "There is no command `lst`. Did you mean `list`"),
        (["data", "inf"], "Did you mean `data info`"),
        (["list", "--family", "spars"], "Did you mean `sparse`"),
        (["list", "--famly", "x"], "--famly"),
        (["list", "extra"], "extra"),
        (["paper"], "NAME"),
        (["paper", "vaee"], "Did you mean `vae`"),
        (["data", "info", "mnst"], "Did you mean `mnist`"),
        (["data", "get", "mnst"], "Did you mean `mnist`"),
    ],
)
def test_bad_requests(refused, words, says):
    assert says in refused(*words)


def test_a_builder_that_is_missing_is_said(tmp_path):
    with pytest.raises(WorkError, match="`vae` is not in"):
        signature(tmp_path / "none.py", "vae")


def test_docstring_args_keep_their_lines_together():
    lines = [
        "Do.",
        "",
        "Args:",
        "    a: first",
        "        and more.",
        "",
        "        A paragraph.",
        "    b: ``x``: y.",
    ]
    text = "\n".join([*lines, "", "Returns:", "    c: no."])
    assert docstring_args(text) == {"a": "first and more. A paragraph.", "b": "x: y."}
