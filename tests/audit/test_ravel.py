"""The evaluation `ravel` on a language model that was built by hand, and where it says that it cannot."""

import json
from types import SimpleNamespace

import pytest
import torch
from audit_models import plain_model
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn
from transformers import PreTrainedTokenizerFast

from narrows.audit.evaluations import EVALUATIONS
from narrows.audit.evidence import splicing
from narrows.audit.evidence.control import random_dictionary
from narrows.audit.evidence.questions import Questions
from narrows.audit.evidence.view import examine
from narrows.core import Batch, evaluation_mode
from narrows.core.check import RequestError
from narrows.data.dataset import Dataset
from narrows.data.facts import Attribute, Facts, read_facts
from narrows.data.scaling import Scaling
from narrows.methods.sparse.topk_sae import topk_sae

ATTRIBUTES, VALUES, ENTITIES = ("home", "trade", "dish"), 4, 40
SHORT = "ravel:steps=60,batch=96,pairs=40"


def invented():
    g = torch.Generator().manual_seed(0)
    attributes = []
    for name in ATTRIBUTES:
        of = torch.randint(VALUES, (ENTITIES,), generator=g).tolist()
        prompts = (f"of {{entity}} the {name}", f"{{entity}} has {name}")
        attributes.append(Attribute(name, prompts, tuple(f"{name}-{v}" for v in of)))
    return Facts(tuple(f"n{e}" for e in range(ENTITIES)), tuple(attributes))


class KnowsFacts(nn.Module):
    """The entity's token has a one-hot block for each attribute; the last token chooses the block that is answered."""

    def __init__(self, facts, vocabulary, known=True):
        super().__init__()
        self.values = [vocabulary[f"{name}-{v}"] for name in ATTRIBUTES for v in range(VALUES)]
        table = torch.zeros(len(vocabulary), len(self.values))
        for e, entity in enumerate(facts.entities):
            for a, one in enumerate(facts.attributes):
                table[vocabulary[entity], a * VALUES + int(one.values[e][-1]) * known] = 1
        asks = torch.full((len(vocabulary), len(self.values)), -50.0)
        for a, name in enumerate(ATTRIBUTES):
            asks[vocabulary[name], a * VALUES : (a + 1) * VALUES] = 0
        self.table, self.asks = nn.Embedding.from_pretrained(table), nn.Embedding.from_pretrained(asks)
        self.place = nn.Identity()
        self.elsewhere = False

    def forward(self, input_ids, attention_mask=None):
        x = self.table(input_ids)
        held = self.place(x)
        seen = (x if self.elsewhere else held).cumsum(1)
        logits = torch.full((*input_ids.shape, self.asks.num_embeddings), -90.0)
        return logits.index_copy(2, torch.tensor(self.values), 8 * seen + self.asks(input_ids))


@pytest.fixture
def world(monkeypatch, tmp_path):
    facts = invented()
    words = ["<s>", "of", "the", "has", *ATTRIBUTES, *facts.entities]
    words += [f"{name}-{v}" for name in ATTRIBUTES for v in range(VALUES)]
    vocabulary = {word: number for number, word in enumerate(words)}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<s>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>")
    language = SimpleNamespace(
        module=KnowsFacts(facts, vocabulary).eval(),
        tokenizer=tokenizer,
        vocabulary=len(words),
        name="tiny",
        device=torch.device("cpu"),
    )
    monkeypatch.setattr(splicing, "language_model", lambda *told: language)
    file = tmp_path / "facts.json"
    file.write_text(json.dumps(facts.to_json()))
    header = {"model": {"kind": "causal", "name": "tiny", "source": str(tmp_path), "revision": "r"}}
    provenance = SimpleNamespace(at=("place",), target=(), length=0, manifest=SimpleNamespace(header=header))
    x = language.module.table.weight[7 : 7 + ENTITIES].repeat(4, 1)
    data = Dataset(x, Scaling("standard", 0.25, 0.5), (x.shape[1],))
    object.__setattr__(data, "provenance", provenance)
    return SimpleNamespace(facts=facts, file=file, language=language, data=data, header=header)


def one_latent_a_value():
    """The codes of an activation are 1 where it has a value."""
    size = len(ATTRIBUTES) * VALUES
    model = topk_sae((size,), latents=size, k=len(ATTRIBUTES))
    with torch.no_grad():  # in the units of the model, values are -0.5 and 1.5
        model.encoder.weight.copy_(torch.eye(size))
        model.decoder.atoms.copy_(torch.eye(size))
        model.decoder.bias.fill_(-0.5)
    return model.eval()


def evaluated(world, model, spelled=SHORT):
    view, evaluation = examine(model, world.data, 160, 0), EVALUATIONS.make(spelled)
    if why := evaluation.lacks(view):
        return why
    with evaluation_mode(model):
        return {check.name: check for check in evaluation(view).checks}


def test_latents_that_are_values_disentangle(world):
    found = evaluated(world, one_latent_a_value())
    assert found["ravel/known"].value == 1
    assert found["ravel/known"].n == len(ATTRIBUTES) * ENTITIES * 2
    assert found["ravel/known"].chance < 0.5
    assert (found["ravel/carried"].value, found["ravel/carried"].chance) == (1, 0)
    for name in ("cause", "isolate", "score"):
        assert found[f"ravel/{name}"].value == pytest.approx(1, abs=0.01)
        assert found[f"ravel/{name}"].spread == pytest.approx(0, abs=0.02)
        assert found[f"ravel/{name}"].n == 2 * 40 * len(ATTRIBUTES)
    assert found["ravel/score"].chance < 0.9
    assert "4 of 12 on average" in found["ravel/cause"].says
    assert found["ravel/rotation"].value > 0.5
    assert found["ravel/rotation"].spread >= 0


def test_a_random_dictionary_is_at_chance(world):
    batch = world.data.batch(slice(0, 160))
    control = random_dictionary(Batch(batch.x), 12, 3, seed=5)
    found = evaluated(world, control.model)
    score = found["ravel/score"]
    assert score.value == pytest.approx(score.chance, abs=0.15)
    assert score.value < 0.9


def test_untrained_masks_change_nothing(world):
    questions = Questions.of(world.data, world.facts)
    assert questions.known.all()
    rows = torch.arange(len(questions.known))
    with torch.no_grad():
        same = questions.logits(rows, questions.written).argmax(1)
    assert torch.equal(same, questions.right)
    # the entity's token is the second of one prompt and the first of the other
    assert questions.at.tolist() == [1, 0] * (len(rows) // 2)
    assert questions.ask.tolist() == [3, 2] * (len(rows) // 2)


def test_premises_are_measured_first(world):
    world.language.module.elsewhere = True
    found = evaluated(world, one_latent_a_value())
    assert found["ravel/carried"].value == 0
    assert found["ravel/score"].value is None
    assert "holds the facts elsewhere" in found["ravel/score"].says
    vocabulary = world.language.tokenizer.get_vocab()
    world.language.module = KnowsFacts(world.facts, vocabulary, known=False)
    found = evaluated(world, one_latent_a_value())
    assert found["ravel/known"].value < 0.5
    assert found["ravel/cause"].says.startswith("Not measured: the language model answers")


def test_what_it_lacks(world):
    assert "no sparse code" in evaluated(world, plain_model((12,), latent=2).eval())
    world.file.rename(world.file.with_name("other.json"))
    assert "RAVEL needs entities" in evaluated(world, one_latent_a_value())
    given = f"ravel:facts={world.file.with_name('other.json')},steps=1,pairs=10"
    assert evaluated(world, one_latent_a_value(), given)["ravel/known"].value == 1
    world.header["contexts"] = {"positions": "1:"}
    with pytest.raises(RequestError, match="leaves out position 0"):
        evaluated(world, one_latent_a_value(), given)
    world.header["model"]["kind"] = "encoder"
    assert "causal language model" in evaluated(world, one_latent_a_value(), given)


def test_files_that_hold_no_facts_are_refused(tmp_path):
    good = invented().to_json()
    path = tmp_path / "facts.json"

    def refused(told, match):
        path.write_text(told if isinstance(told, str) else json.dumps(told))
        with pytest.raises(RequestError, match=match):
            read_facts(path)

    path.write_text(json.dumps(good))
    assert read_facts(path) == invented()
    refused("{", "cannot be read")
    refused([1], "must be JSON")
    refused({"home": good["home"]}, "at least two attributes")
    refused(good | {"dish": {"prompts": "x", "values": {}}}, "must be JSON")
    refused(good | {"dish": {**good["dish"], "prompts": ["no name"]}}, "once in each")
    fewer = dict(list(good["dish"]["values"].items())[1:])
    refused(good | {"dish": {**good["dish"], "values": fewer}}, "'n0' has no 'dish'")
    refused(
        good | {"dish": {**good["dish"], "values": dict.fromkeys(fewer, "same") | {"n0": "same"}}},
        "two values",
    )
    with pytest.raises(RequestError, match="There is none"):
        read_facts(tmp_path / "no.json")
