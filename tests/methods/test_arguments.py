"""Bad arguments are refused by a sentence that names the argument that was given."""

import pytest
import torch

from narrows.core import Batch, Spec
from narrows.core.check import RequestError
from narrows.methods.index import builder

VECTORS, IMAGES = Spec((8,)), Spec((1, 8, 8), "unit")


@pytest.mark.parametrize(
    ("name", "spec", "argument", "value"),
    [
        ("rcae", VECTORS, "latent", -2),
        ("contractive-ae", VECTORS, "latent", -2),
        ("linear-cvae", VECTORS, "variance", 0.0),
        ("linear-cvae", VECTORS, "encoder_variance", -1.0),
        ("linear-hvae", VECTORS, "variance", 0.0),
        ("linear-hvae", VECTORS, "encoder_variance", -1.0),
        ("linear-hvae", VECTORS, "upper_variance", -1.0),
        ("linear-hvae", VECTORS, "upper", -1),
        ("vlae", IMAGES, "grey_levels", 1),
        ("vlae", IMAGES, "grey_levels", -1),
        ("gamix-vae", IMAGES, "reconstruction", -1.0),
    ],
)
def test_the_argument_is_named(name, spec, argument, value):
    with pytest.raises(RequestError, match=f"^`{argument}` must be"):
        builder(name)(spec, **{argument: value})


@pytest.mark.parametrize("name", ["rcae", "contractive-ae", "ae", "lorae"])
def test_a_width_of_0_is_the_default_for_the_data(name):
    assert builder(name)(VECTORS, latent=0).features(Batch(torch.zeros(3, 8))).shape == (3, 4)
