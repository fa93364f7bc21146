"""What lies in a harvest folder is what the model computes, however the work is divided, stopped or repeated."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import narrows as nr
from narrows.activations.models import load, wrap
from narrows.activations.recompute import compute_unit
from narrows.activations.shards import ShardWriter
from narrows.core.check import RequestError, WorkError
from narrows.runs.harvesting import driver

QUIET = {"progress": False, "device": "cpu"}


def rows_of(folder):
    """Every shard, joined."""
    shards = [load_file(path) for path in sorted(folder.glob("shard-*.safetensors"))]
    return {name: torch.cat([shard[name] for shard in shards]) for name in shards[0]}


def bits_of(folder):
    return {path.name: path.read_bytes() for path in folder.glob("shard-*.safetensors")}


def by_hand(folder, text, length, mode):
    """Tokens and states of each context, one at a time, from transformers alone."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = (
        AutoModelForCausalLM.from_pretrained(folder).eval(),
        AutoTokenizer.from_pretrained(folder),
    )
    ids = [tokenizer(t, add_special_tokens=False)["input_ids"] for t in text]
    if mode == "packed":
        joined = ids[0] + [i for rest in ids[1:] for i in (tokenizer.eos_token_id, *rest)]
        ids = [joined]
    contexts = [one[i : i + length] for one in ids for i in range(0, len(one), length)]
    with torch.no_grad():
        states = [model(torch.tensor([c]), output_hidden_states=True).hidden_states for c in contexts]
    return contexts, states, tokenizer.eos_token_id


@pytest.mark.parametrize("mode", ["packed", "documents"])
@pytest.mark.parametrize("special", ["drop", "keep"])
def test_rows_are_the_models_own(lm, text, tmp_path, mode, special):
    made = nr.harvest(
        lm,
        text,
        "resid.*",
        tmp_path / "a",
        context=16,
        mode=mode,
        special=special,
        shard=5,
        batch_size=2,
        **QUIET,
    )
    contexts, states, end = by_hand(lm, text, 16, mode)
    good = [[special == "keep" or token != end for token in c] for c in contexts]
    rows = rows_of(tmp_path / "a")
    assert made.complete
    assert made.units == -(-len(contexts) // 5)
    for i in range(2):  # transformers gives the last state after the final norm
        expected = torch.cat([s[i + 1][0][torch.tensor(g)] for s, g in zip(states, good)])
        torch.testing.assert_close(
            rows[f"resid.{i}"], expected, rtol=1e-4, atol=1e-5
        )  # batches of other shapes
    flat = [(t, p) for c, g in zip(contexts, good) for p, (t, ok) in enumerate(zip(c, g)) if ok]
    assert list(zip(rows["tokens"].tolist(), rows["positions"].tolist())) == flat
    assert rows["context_rows"].tolist() == [sum(g) for g in good]
    assert rows["context_tokens"].tolist() == [t for c in contexts for t in c]
    assert made.layers["resid.0"]["mean_norm"] == pytest.approx(
        float(rows["resid.0"].norm(dim=1).mean()), rel=1e-5
    )


def test_full_contexts_are_equal_to_the_last_bit(lm, text, tmp_path):
    nr.harvest(
        lm, text, "resid.1", tmp_path / "a", context=16, batch_size=4, tokens=16 * 8, special="keep", **QUIET
    )
    contexts, _, _ = by_hand(lm, text, 16, "packed")
    model = load(lm, "cpu").module
    with torch.no_grad():
        states = [
            model(torch.tensor(contexts[i : i + 4]), output_hidden_states=True).hidden_states[2].flatten(0, 1)
            for i in (0, 4)
        ]
    assert torch.equal(rows_of(tmp_path / "a")["resid.1"][: 16 * 8], torch.cat(states))


@pytest.mark.parametrize("positions", ["last", "3:"])
def test_positions(lm, text, tmp_path, positions):
    how = {"mode": "documents", "overlong": "truncate", "context": 16}
    nr.harvest(lm, text, "resid.1", tmp_path / "all", **how, **QUIET)
    nr.harvest(lm, text, "resid.1", tmp_path / "some", positions=positions, **how, **QUIET)
    whole, some = rows_of(tmp_path / "all"), rows_of(tmp_path / "some")
    ends = whole["context_rows"].cumsum(0) - 1
    which = ends if positions == "last" else (whole["positions"] >= 3).nonzero()[:, 0]
    assert torch.equal(some["resid.1"], whole["resid.1"][which])


def test_what_is_missing_is_filled_in_to_the_last_bit(lm, text, tmp_path, monkeypatch):
    how = {"at": "resid.1,mlp.0", "context": 16, "shard": 4, "batch_size": 2, **QUIET}
    nr.harvest(lm, text, out=tmp_path / "whole", **how)
    nr.harvest(lm, text, out=tmp_path / "a", **how)
    (tmp_path / "a" / "shard-000001.json").unlink()
    damaged = tmp_path / "a" / "shard-000002.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\x07")
    (tmp_path / "a" / "manifest.json").unlink()
    wrote = []
    write = ShardWriter.write
    monkeypatch.setattr(
        ShardWriter, "write", lambda self, unit, t: (wrote.append(unit), write(self, unit, t))
    )
    monkeypatch.setattr(driver, "contexts_of", lambda *a: pytest.fail("the text was read again"))
    made = nr.harvest(lm, text, out=tmp_path / "a", **how)
    assert wrote == [1, 2]
    assert made.complete
    assert bits_of(tmp_path / "a") == bits_of(tmp_path / "whole")
    assert (tmp_path / "a/manifest.json").read_text() == (tmp_path / "whole/manifest.json").read_text()


def test_another_harvest_is_not_mixed_in(lm, text, tmp_path):
    nr.harvest(lm, text, "resid.1", tmp_path / "a", context=16, **QUIET)
    with pytest.raises(RequestError, match="It holds another"):
        nr.harvest(lm, text, "resid.2", tmp_path / "a", context=16, **QUIET)
    with pytest.raises(RequestError, match="It holds another"):
        nr.harvest(lm, text[:3], "resid.1", tmp_path / "a", context=16, **QUIET)


def test_ranks_share_the_units(lm, text, tmp_path, monkeypatch):
    how = {"at": "resid.1", "context": 16, "shard": 3, "batch_size": 3, **QUIET}
    nr.harvest(lm, text, out=tmp_path / "one", **how)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    first = nr.harvest(lm, text, out=tmp_path / "two", **how)
    assert not first.complete
    assert [shard.unit for shard in first.shards] == list(range(1, first.units, 2))
    monkeypatch.setenv("RANK", "0")
    assert nr.harvest(lm, text, out=tmp_path / "two", **how).complete
    assert bits_of(tmp_path / "two") == bits_of(tmp_path / "one")


def test_on_the_fly_computes_the_same_bits(lm, text, tmp_path):
    how = {
        "at": "resid.1,attn_heads.2",
        "context": 16,
        "shard": 4,
        "batch_size": 2,
        "mode": "documents",
        **QUIET,
    }
    nr.harvest(lm, text, out=tmp_path / "disk", **how)
    made = nr.harvest(lm, text, out=tmp_path / "live", on_the_fly=True, **how)
    assert made.live
    assert not list((tmp_path / "live").glob("shard-*"))
    shutil.move(tmp_path / "live", tmp_path / "moved")
    header = json.loads((tmp_path / "moved" / "manifest.json").read_text())["header"]
    for unit in range(made.units):
        stored = load_file(tmp_path / "disk" / f"shard-{unit:06d}.safetensors")
        computed = compute_unit(header, unit, tmp_path / "moved", "cpu")
        assert stored["attn_heads.2"].shape[1:] == (4, 4)
        assert len(stored["resid.1"]) == header["units"]["rows"][unit]
        assert {name: bool(torch.equal(computed[name], stored[name])) for name in computed} == dict.fromkeys(
            computed, True
        )


def test_on_the_fly_needs_the_same_model(lm, text, tmp_path):
    copy = shutil.copytree(lm, tmp_path / "lm")
    made = nr.harvest(copy, text, "resid.0", tmp_path / "live", context=16, on_the_fly=True, **QUIET)
    config = json.loads((copy / "config.json").read_text()) | {"rope_theta": 5.0}
    (copy / "config.json").write_text(json.dumps(config))
    from narrows.activations import recompute

    recompute._loaded.cache_clear()
    with pytest.raises(RequestError, match="has changed since the harvest was made"):
        compute_unit(made.header, 0, made.folder, "cpu")
    with pytest.raises(RequestError, match="`on_the_fly`"):
        nr.harvest(
            nn.Sequential(nn.Linear(2, 2)),
            inputs=torch.ones(3, 2),
            at="0",
            out=tmp_path / "b",
            on_the_fly=True,
        )


def test_gradients_lie_beside(lm, text, tmp_path):
    nr.harvest(
        lm, text, "resid.1", tmp_path / "a", context=16, gradients=True, tokens=64, special="keep", **QUIET
    )
    rows, model = rows_of(tmp_path / "a"), load(lm, "cpu").module
    ids = rows["context_tokens"][:16][None].long()
    states = model(ids, output_hidden_states=True)
    middle = states.hidden_states[2]
    loss = nn.functional.cross_entropy(states.logits[0, :-1], ids[0, 1:], reduction="sum")
    (slope,) = torch.autograd.grad(loss, middle)
    torch.testing.assert_close(rows["resid.1.grad"][:16], slope[0], rtol=1e-3, atol=1e-6)
    with pytest.raises(RequestError, match="`gradients`"):
        nr.harvest(
            nn.Sequential(nn.Linear(2, 2)),
            inputs=torch.ones(3, 2),
            at="0",
            out=tmp_path / "b",
            gradients=True,
        )


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_stored_in_half(lm, text, tmp_path, dtype):
    how = {"at": "resid.1", "context": 16, **QUIET}
    nr.harvest(lm, text, out=tmp_path / "full", **how)
    nr.harvest(lm, text, out=tmp_path / "half", dtype=dtype, **how)
    full, half = rows_of(tmp_path / "full")["resid.1"], rows_of(tmp_path / "half")["resid.1"]
    assert torch.equal(half, full.to(getattr(torch, dtype)))


def test_images(vit, tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (12, 1, 20, 20)).astype(np.uint8)
    np.save(tmp_path / "images.npy", images)
    made = nr.harvest(
        vit, images=str(tmp_path / "images.npy"), at="resid.0", out=tmp_path / "a", shard=5, **QUIET
    )
    x = torch.from_numpy(images).float() / 255
    x = nn.functional.interpolate(x.expand(-1, 3, -1, -1), [16, 16], mode="bilinear", antialias=True)
    with torch.no_grad():
        model = load(vit, "cpu").module
        states = model(pixel_values=(x - 0.5) / 0.5, output_hidden_states=True).hidden_states[1]
    first, last = made.header["text"]["parts"]
    assert first + last == 12
    rows = rows_of(tmp_path / "a")["resid.0"].view(12, 5, 16)
    matches = torch.cdist(rows.flatten(1), states.flatten(1)).argmin(1)  # the parts may be in any order
    assert sorted(matches.tolist()) == list(range(12))
    torch.testing.assert_close(rows, states[matches], rtol=1e-4, atol=1e-5)
    with pytest.raises(RequestError, match="does not read text"):
        nr.harvest(vit, "bundled", "resid.0", tmp_path / "b", **QUIET)


def test_any_module_and_batches(tmp_path):
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.Dropout(0.9), nn.Flatten(), nn.Linear(6 * 20, 4)
    ).train()
    x = torch.randn(7, 3, 4, 5)
    made = nr.harvest(
        net, inputs=[(x[:4], "label"), (x[4:], "label")], at="1", out=tmp_path / "a", progress=False
    )
    expected = net[0](x).flatten(2).transpose(1, 2).flatten(0, 1).detach()
    assert torch.equal(rows_of(tmp_path / "a")["1"], expected)
    assert rows_of(tmp_path / "a")["positions"].tolist() == list(range(20)) * 7
    assert all(module.training for module in net.modules())
    assert made.header["model"]["kind"] == "module"
    with pytest.raises(RequestError, match="Harvest layers of different lengths"):
        nr.harvest(net, inputs=x, at="1,3", out=tmp_path / "b", progress=False)


def test_token_ids_as_inputs(lm, tmp_path):
    model = load(lm, "cpu")
    ids = torch.randint(1, 200, (6, 10), generator=torch.Generator().manual_seed(0))
    nr.harvest(model.module, inputs=ids, at="resid.0", out=tmp_path / "a", batch_size=6, progress=False)
    with torch.no_grad():
        states = model.module(ids, output_hidden_states=True).hidden_states[1]
    rows = rows_of(tmp_path / "a")
    assert torch.equal(rows["resid.0"], states.flatten(0, 1))
    assert torch.equal(rows["tokens"].long(), ids.flatten())
    with pytest.raises(RequestError, match="token ids below"):
        nr.harvest(model.module, inputs=ids + 200, at="resid.0", out=tmp_path / "b", progress=False)
    with pytest.raises(RequestError, match="has no tokenizer"):
        nr.harvest(model.module, ["some text"], at="resid.0", out=tmp_path / "c", progress=False)


def test_a_model_that_lays_all_positions_in_one_row(tmp_path):
    import transformers

    sizes = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "ffn_dim": 32,
        "vocab_size": 50,
    }
    model = transformers.OPTForCausalLM(transformers.OPTConfig(**sizes, word_embed_proj_dim=16)).eval()
    ids = torch.randint(3, 50, (4, 5), generator=torch.Generator().manual_seed(0))
    nr.harvest(
        model, inputs=ids, at="embed,attn.0,mlp.0,resid.0", out=tmp_path / "a", batch_size=2, progress=False
    )
    rows = rows_of(tmp_path / "a")
    torch.testing.assert_close(rows["embed"] + rows["attn.0"] + rows["mlp.0"], rows["resid.0"])


def test_conversations(lm, tmp_path):
    turns = [{"role": "user", "content": "A boat"}, {"role": "bot", "content": "went out."}]
    long = [{"role": "user", "content": "A boat " * 40}]
    lines = "".join(json.dumps({"messages": m}) + "\n" for m in [turns, long, turns])
    (tmp_path / "chat.jsonl").write_text(lines)
    made = nr.harvest(lm, tmp_path / "chat.jsonl", "resid.0", tmp_path / "a", chat=True, context=24, **QUIET)
    facts = made.header["contexts"]
    assert (facts["count"], facts["dropped"], facts["documents"]) == (2, 1, 3)
    assert facts["chat_template"].startswith("plain")
    rows = rows_of(tmp_path / "a")
    halves = rows["resid.0"].chunk(2)
    torch.testing.assert_close(halves[0], halves[1])


def test_a_number_that_is_not_finite_is_named(lm, text, tmp_path):
    class Broken(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(2, 2)

        def forward(self, x):
            return self.inner(x).log()

    x = torch.ones(8, 2)
    with torch.no_grad():
        net = Broken()
        net.inner.weight.fill_(1.0)
        net.inner.bias.zero_()
    x[5] = -1
    outer = type("Outer", (nn.Module,), {"forward": lambda self, x: self.net(x)})()
    outer.net = net
    with pytest.raises(WorkError, match=r"Outer gives NaN or infinite numbers at `net` in context 5"):
        nr.harvest(outer, inputs=x, at="net", out=tmp_path / "a", shard=4, batch_size=4, progress=False)
    assert [p.name for p in sorted((tmp_path / "a").glob("shard-*.json"))] == ["shard-000000.json"]
    assert not json.loads((tmp_path / "a" / "manifest.json").read_text())["complete"]


def test_what_does_not_fit_the_stored_type_is_said(tmp_path):
    net, x = nn.Sequential(nn.Identity()), torch.full((3, 2), 1e6)
    with pytest.raises(WorkError, match=r"at `0` in context 0.*store bfloat16"):
        nr.harvest(net, inputs=x, at="0", out=tmp_path / "a", dtype="float16", progress=False)
    assert nr.harvest(net, inputs=x, at="0", out=tmp_path / "b", dtype="bfloat16", progress=False).complete


def test_a_disk_that_is_too_small_is_refused_at_once(lm, text, tmp_path, monkeypatch):
    monkeypatch.setattr(driver.shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(RequestError, match=r"a disk with .* GB free.*tokens=\d+"):
        nr.harvest(lm, text, "resid.0", tmp_path / "a", context=16, **QUIET)


def test_a_full_disk_keeps_what_is_there(lm, text, tmp_path, monkeypatch):
    how = {"at": "resid.1", "context": 16, "shard": 4, "batch_size": 4, **QUIET}
    nr.harvest(lm, text, out=tmp_path / "whole", **how)
    write = ShardWriter.write

    def full(self, unit, tensors):
        if unit == 2:
            raise WorkError("No space is left.")
        write(self, unit, tensors)

    with monkeypatch.context() as patch:
        patch.setattr(ShardWriter, "write", full)
        with pytest.raises(WorkError, match="No space"):
            nr.harvest(lm, text, out=tmp_path / "a", **how)
    assert len(bits_of(tmp_path / "a")) == 2
    assert nr.harvest(lm, text, out=tmp_path / "a", **how).complete
    assert bits_of(tmp_path / "a") == bits_of(tmp_path / "whole")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"text": "bundle"}, "Did you mean `bundled`"),
        ({"text": None}, "exactly one of `text`, `images` and `inputs`"),
        ({"text": 7}, "a name, a path or a list"),
        ({"at": "resid.7"}, "No layer of the model matches `resid.7`"),
        ({"at": ""}, "names no layer"),
        ({"out": ""}, "the path of the new folder"),
        ({"context": 4000}, "at most 24"),
        ({"dtype": "int8"}, "`dtype`"),
        ({"positions": "100:"}, "No positions are selected"),
        ({"split": "word"}, "`split`"),
        ({"tokens": 0}, "`tokens`"),
    ],
)
def test_bad_requests(lm, tmp_path, options, says):
    path = tmp_path / "a.txt"
    path.write_text("A boat went out at dawn. " * 20)
    given = {"text": path, "at": "resid.0", "out": tmp_path / "a", "context": 16, **QUIET} | options
    with pytest.raises(RequestError, match=says):
        nr.harvest(lm, **given)


def test_a_revision_tells_two_models_apart(lm):
    model = load(lm, "cpu").module
    before = wrap(model).revision
    with torch.no_grad():
        model.gpt_neox.layers[0].mlp.dense_h_to_4h.bias[0] += 1
    assert wrap(model).revision != before
