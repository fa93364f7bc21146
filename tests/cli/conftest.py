"""A way to type commands, and runs to use them on."""

import pytest

from narrows.cli.main import run


@pytest.fixture
def cli(capsys):
    """Type a command line: (exit code, stdout, stderr)."""

    def type_in(*words):
        capsys.readouterr()
        code = run([str(word) for word in words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return type_in


@pytest.fixture
def refused(cli):
    """Type a command line that must be refused: one sentence on stderr, nothing on stdout, exit code 2."""

    def type_in(*words, code=2):
        got, out, err = cli(*words)
        assert (got, out) == (code, "")
        assert err.startswith("narrows: ")
        assert err.count("\n") == 1
        assert "Traceback" not in err
        return err

    return type_in


@pytest.fixture(scope="session")
def fitted(tmp_path_factory):
    """A VAE of the digits, fitted from the command line."""
    return _fit(tmp_path_factory, "vae", "--latent", 3, "--steps", 60)


@pytest.fixture(scope="session")
def sparse(tmp_path_factory):
    """A sparse autoencoder, which has no prior."""
    return _fit(tmp_path_factory, "topk-sae", "--latents", 32, "--k", 4, "--steps", 5)


@pytest.fixture(scope="session")
def views(tmp_path_factory):
    """A model of digits and their labels as two modalities."""
    return _fit(tmp_path_factory, "mvae", "--latent", 3, "--net", "mlp:16", "--steps", 5)


def _fit(factory, method, *options):
    path = factory.mktemp("runs") / method
    words = ["fit", "digits", "--method", method, "--out", path, "--no-progress", *options]
    assert run([str(word) for word in words]) == 0
    return path
