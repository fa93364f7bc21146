"""`latent="auto"` on data whose number of directions is known."""

import numpy as np
import pytest
import torch

import narrows as nr
from narrows import data as nd
from narrows.core.check import RequestError
from narrows.core.progress import Silent
from narrows.runs.width import measured_width


def world(directions, rows=2000, size=16):
    generator = torch.Generator().manual_seed(directions)
    z = torch.randn(rows, directions, generator=generator)
    x = torch.tanh(z @ torch.randn(directions, size, generator=generator) / directions**0.5)
    return (x + 0.05 * torch.randn(rows, size, generator=generator)).numpy()


def test_the_width_is_the_number_of_directions_of_the_data():
    width = measured_width(nd.open(world(4)), {}, 1200)
    assert width.latent == 4
    assert (width.tried, width.steps) == (8, 1200)


def test_noise_needs_no_latents():
    noise = np.random.default_rng(0).normal(size=(1000, 12), scale=0.5).astype("float32")
    width = measured_width(nd.open(noise, scale="none"), {"likelihood": "gaussian:fixed"}, 300)
    assert (width.latent, width.active) == (1, 0)


class Said(Silent):
    """Keeps what is said."""

    def __init__(self):
        self.lines = []

    def say(self, text):
        self.lines.append(text)


def test_fit_is_that_with_the_number(tmp_path):
    said, data = Said(), nd.open(world(2, 400))
    run = nr.fit(data, "vae", tmp_path / "a", latent="auto", steps=60, seed=3, progress=said)
    latent = run.recipe.arguments["latent"]
    assert f"`latent` is {latent}: of 8 latents of `ard-vae` after 60 steps" in said.lines[0]
    same = nr.fit(data, "vae", tmp_path / "b", latent=latent, steps=60, seed=3, progress=False)
    for one, two in zip(run.model.parameters(), same.model.parameters(), strict=True):
        assert torch.equal(one, two)


def test_too_few_rows_are_refused(tmp_path):
    with pytest.raises(RequestError, match=r"a number for 1\d training rows"):
        nr.fit(nd.open(world(2, 15)), "vae", tmp_path / "a", latent="auto", progress=False)
    assert not (tmp_path / "a").exists()


def test_a_code_without_a_cost_has_no_best_width(tmp_path):
    with pytest.raises(RequestError, match="a number for `ae`, whose loss is lower for any wider code"):
        nr.fit(nd.open(world(2, 100)), "ae", tmp_path / "a", latent="auto", progress=False)


def test_the_command_line_takes_it():
    from narrows.cli.options import method_options

    (latent,) = (option for option in method_options("vae") if option.name == "latent")
    assert (latent.value("auto"), latent.value("3")) == ("auto", 3)
    with pytest.raises(RequestError):
        latent.value("many")
