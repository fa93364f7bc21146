"""Forms of a method that its defaults do not show, held to the property matrix."""

import pytest

from narrows.core import Spec
from narrows.methods.quantised.fsq import fsq
from narrows.methods.quantised.vq_vae import vq_vae
from narrows.methods.regularised.wae import wae
from narrows.testing import check_method

VARIANTS = [
    (wae, {"penalty": "gan", "latent": 3}),
    (vq_vae, {"codebook": "gradient", "codes": 16, "prior": "none"}),
    (vq_vae, {"gradient": "rotation", "codes": 16, "prior": "none"}),
    (fsq, {"variant": "symmetric", "levels": (4, 2), "prior": "none"}),
]


@pytest.mark.parametrize(("builder", "options"), VARIANTS)
def test_a_variant_passes_the_matrix(builder, options):
    check_method(builder, Spec((12,)), **options)
