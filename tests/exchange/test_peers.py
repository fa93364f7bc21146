"""Files of other libraries are read with the codes and reconstructions that these libraries compute."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from narrows.core import Batch, dense
from narrows.core.check import RequestError
from narrows.exchange.convert import read
from narrows.exchange.formats import recognise
from narrows.exchange.model import build

FIXTURES = Path(__file__).parents[1] / "fixtures" / "exchange"
NAMES = sorted(path.name.removesuffix(".codes.safetensors") for path in FIXTURES.glob("*.codes.safetensors"))
REFUSED = {"llamascopium-glu": "a gated linear unit"}


def opened(folder):
    """The folder itself, or the only folder of a hook point in a run of sparsify."""
    return folder if recognise(folder) else next(folder.glob("layers.*"))


@torch.no_grad()
def computed(path, x, **options):
    """Codes (B, N) and reconstructions of a file, by our model."""
    description = read(path, allow_pickle=True, **options)
    model = build(description)
    batch = (
        Batch(x) if description.kind == "sae" else Batch(x, x.new_zeros(len(x), *model_target(description)))
    )
    return description, dense(model.features(batch)), model.reconstruct(batch)


def model_target(description):
    return (
        (description.layers, description.output_width)
        if description.kind == "cross-layer"
        else (description.output_width,)
    )


def close(found, expected):
    size = max(1.0, float(expected.abs().max()))
    torch.testing.assert_close(found.reshape(expected.shape), expected, atol=1e-5 * size, rtol=0)


@pytest.mark.parametrize(
    "name", [name for name in NAMES if "set" not in name.split("-") and name not in REFUSED]
)
def test_codes_are_those_of_the_library(name):
    stored = load_file(FIXTURES / f"{name}.codes.safetensors")
    description, z, y = computed(opened(FIXTURES / name), stored["x"])
    codes = stored["codes"]
    assert torch.equal(z.reshape(codes.shape) != 0, codes != 0)
    if description.by_norm and description.format == "llamascopium":  # theirs are divided by the norms
        codes = codes * torch.linalg.vector_norm(description.tensors["decoder"].float(), dim=1)
    close(z, codes)
    close(y, stored["reconstruction"])


@pytest.mark.parametrize("name", [name for name in NAMES if "set" in name.split("-")])
def test_every_layer_of_a_set_is_read(name):
    stored = load_file(FIXTURES / f"{name}.codes.safetensors")
    for layer in range(3):
        _, z, y = computed(FIXTURES / name / f"layer_{layer}.safetensors", stored["x"][:, layer])
        assert torch.equal(z != 0, stored["codes"][:, layer] != 0)
        close(z, stored["codes"][:, layer])
        close(y, stored["reconstruction"][:, layer])


@pytest.mark.parametrize(("name", "sentence"), REFUSED.items())
def test_what_no_method_computes_is_refused(name, sentence):
    with pytest.raises(RequestError, match=sentence):
        read(FIXTURES / name)
