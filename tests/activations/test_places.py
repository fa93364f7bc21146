"""Short names mean the same in every architecture: checked by the sums and maps that they must obey."""

import pytest
import torch
from torch import nn

from narrows.activations.capture import capture
from narrows.activations.hook_points import blocks, resolve, short_names
from narrows.core.check import UnknownNameError

ALL = "embed,resid.*,attn.*,mlp.*,mlp_in.*,attn_heads.*"


def seen_in(model, inputs, names=ALL):
    return capture(model, inputs, resolve(model, names))


@pytest.mark.parametrize("kind", ["llama", "neox", "gpt2", "gemma2"])
def test_attention_and_mlp_add_up_to_the_residual_stream(tiny, ids, kind):
    seen = seen_in(tiny(kind), ids)
    before = seen["embed"]
    for i in range(3):
        torch.testing.assert_close(before + seen[f"attn.{i}"] + seen[f"mlp.{i}"], seen[f"resid.{i}"])
        before = seen[f"resid.{i}"]


def test_bert_adds_inside_its_norms(tiny, ids):
    model = tiny("bert")
    seen = seen_in(model, ids)
    before = seen["embed"]
    for i, block in enumerate(model.encoder.layer):
        middle = block.attention.output.LayerNorm(before + seen[f"attn.{i}"])
        torch.testing.assert_close(middle, seen[f"mlp_in.{i}"])
        torch.testing.assert_close(block.output.LayerNorm(middle + seen[f"mlp.{i}"]), seen[f"resid.{i}"])
        before = seen[f"resid.{i}"]


def test_vision_blocks_have_the_same_names(tiny):
    pixels = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    seen = seen_in(tiny("vit"), {"pixel_values": pixels})
    assert seen["resid.0"].shape == (2, 5, 16)  # four patches and the class token
    torch.testing.assert_close(seen["embed"] + seen["attn.0"] + seen["mlp.0"], seen["resid.0"])


@pytest.mark.parametrize(
    ("kind", "projection"),
    [
        ("llama", lambda m: m.model.layers[1].self_attn.o_proj),
        ("neox", lambda m: m.gpt_neox.layers[1].attention.dense),
        ("gpt2", lambda m: m.transformer.h[1].attn.c_proj),
        ("bert", lambda m: m.encoder.layer[1].attention.output.dense),
    ],
)
def test_heads_enter_the_output_projection(tiny, ids, kind, projection):
    model = tiny(kind)
    seen = seen_in(model, ids, "attn_heads.1,attn.1")
    assert seen["attn_heads.1"].shape == (2, 7, 4, 4)
    torch.testing.assert_close(projection(model)(seen["attn_heads.1"].flatten(-2)), seen["attn.1"])


def test_the_mlp_maps_its_input_to_its_output(tiny, ids):
    seen = seen_in(tiny("llama"), ids, "mlp_in.2,mlp.2")
    torch.testing.assert_close(tiny("llama").model.layers[2].mlp(seen["mlp_in.2"]), seen["mlp.2"])


def test_globs_and_paths(tiny):
    model = tiny("llama")
    assert [p.name for p in resolve(model, ["resid.*"])] == ["resid.0", "resid.1", "resid.2"]
    assert [p.path for p in resolve(model, "model.layers.*.mlp")] == [
        f"model.layers.{i}.mlp" for i in range(3)
    ]
    assert len(resolve(model, "model.layers.0.**")) > len(resolve(model, "model.layers.0.*")) > 3
    one, two = resolve(model, "mlp.1, model.layers.1.mlp:input")
    assert (one.path, one.side, two.path, two.side) == (two.path, "output", "model.layers.1.mlp", "input")
    assert len(resolve(model, "resid.1,resid.*")) == 3  # each once


@pytest.mark.parametrize(
    ("typed", "near"), [("resd.1", "resid.1"), ("model.layer.1", "model.layers.1"), ("resid.9", "resid.2")]
)
def test_a_name_that_matches_nothing_lists_the_near_ones(tiny, typed, near):
    with pytest.raises(UnknownNameError, match="No layer of the model matches") as error:
        resolve(tiny("llama"), typed)
    assert f"`{near}`" in str(error.value)
    assert "resid.0 to resid.2" in str(error.value)


def test_no_name_at_all(tiny):
    with pytest.raises(UnknownNameError, match="names no layer"):
        resolve(tiny("llama"), " , ")


def test_experts_are_no_blocks():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.experts = nn.ModuleList([nn.Linear(2, 2) for _ in range(9)])

    net = nn.ModuleDict(
        {"heads": nn.ModuleList([nn.Linear(2, 2)]), "layers": nn.ModuleList([Block(), Block()])}
    )
    assert blocks(net) == "layers"
    assert list(short_names(net)) == ["embed", "resid.0", "resid.1"]
    assert short_names(nn.Linear(2, 2)) == {}
