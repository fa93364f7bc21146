"""A codebook that is a language model's table, against the model's own embeddings and its equation."""

import pytest
import torch

from narrows.core import Batch
from narrows.core.check import RequestError
from narrows.data.dataset import Dataset
from narrows.data.scaling import Scaling
from narrows.methods.quantised.unicode_vq import unicode_vq
from narrows.train import optimise

IMAGES = Dataset(torch.rand(20, 1, 8, 8), Scaling(), (1, 8, 8))
SMALL = {"codes": 50, "embedding": 16, "depth": 3, "prior": "none", "net": "mlp:8"}


@pytest.fixture
def folder(tmp_path):
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    config = transformers.LlamaConfig(**sizes, num_key_value_heads=2, vocab_size=50)
    model = transformers.LlamaForCausalLM(config)
    model.save_pretrained(tmp_path / "lm")
    return tmp_path / "lm", model.get_input_embeddings().weight.detach()


def test_codes_are_the_models_embeddings_and_stay_until_the_model_learns(folder):
    path, table = folder
    model = unicode_vq((1, 8, 8), model=str(path), decay=0.75, **SMALL)
    book = model.bottleneck.book(0)
    optimise(model, IMAGES, steps=3, batch_size=10)
    assert torch.equal(book.codebook, table)
    moved = table + torch.randn_like(table)
    book.follow(moved)
    optimise(model, IMAGES, steps=2, batch_size=10)
    expected = table
    for _ in range(2):
        expected = 0.75 * expected + 0.25 * moved
    assert torch.allclose(book.codebook, expected, atol=1e-6)


def test_tokens_are_sums_of_the_nearest_rows_of_what_is_left():
    torch.manual_seed(0)
    model = unicode_vq((1, 8, 8), beta=0.3, likelihood="squared", **SMALL)
    batch, table = Batch(torch.rand(4, 1, 8, 8)), model.bottleneck.book(0).codebook
    h = model.bottleneck.inward(model.encoder(batch.x))
    total, commitment = torch.zeros_like(h), 0.0
    for _ in range(3):
        total = total + table[torch.cdist(h - total, table).argmin(-1)]
        commitment = commitment + (h - total).square().sum((1, 2)).mean()
    indices = model.bottleneck.to_symbols(model.encode(batch))
    assert torch.allclose(model.bottleneck.vectors(indices), total, atol=1e-5)
    distortion = (model.decode(model.bottleneck.outward(total)) - batch.x).square().sum((1, 2, 3)).mean()
    assert torch.allclose(model.loss(batch).total, distortion + 0.3 * commitment, rtol=1e-4)


def test_a_table_of_another_shape_is_refused_before_training(folder):
    model = unicode_vq((1, 8, 8), model=str(folder[0]), **SMALL | {"codes": 40})
    with pytest.raises(RequestError, match="50 tokens of width 16"):
        optimise(model, IMAGES, steps=1)
    with pytest.raises(RequestError, match="table"):
        model.bottleneck.book(0).follow(torch.zeros(50, 16))
