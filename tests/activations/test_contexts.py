"""Contexts against a slow packing by hand, and the positions that are kept."""

import numpy as np
import pytest

from narrows.activations.contexts import ContextOptions, Contexts, build, kept
from narrows.core.check import RequestError

transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

WORDS = ["<s>", "</s>", "<unk>", *(f"w{i}" for i in range(40)), "user", "bot", ":", "<turn>"]


def tokenizer(bos=True, eos=True, frame=True):
    """A word tokenizer that begins with <s>, or frames like BERT, or does nothing."""
    vocab = {word: i for i, word in enumerate(WORDS)}
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocab, unk_token="<unk>"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    if frame:
        single = "<s> $A" if not eos else "<s> $A </s>"
        ends = [("<s>", 0), ("</s>", 1)]
        words.post_processor = tokenizers.processors.TemplateProcessing(single=single, special_tokens=ends)
    names = {"bos_token": "<s>"} if bos else {}
    names |= {"eos_token": "</s>"} if eos else {}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>", **names)


def text(*numbers):
    return " ".join(f"w{n}" for n in numbers), False


def rows(contexts):
    return [contexts.span(i, i + 1)[0].tolist() for i in range(len(contexts))]


def test_packed_like_by_hand():
    rng = np.random.default_rng(0)
    documents = [rng.integers(0, 40, n) for n in (5, 1, 17, 0, 9, 30, 2)]
    made = build([text(*d) for d in documents], tokenizer(), ContextOptions(length=8))
    flat = []
    for document in documents:
        if len(document):
            flat += ([1] if flat else []) + [3 + int(n) for n in document]  # joined by </s>
    assert rows(made) == [[0, *flat[i : i + 6], 1] for i in range(0, len(flat), 6)]
    assert made.counts["documents"] == 6
    assert made.special == (0, 1)  # an unknown word is text


@pytest.mark.parametrize(
    ("words", "first", "joint"),
    [
        (tokenizer(eos=False), [0], [0]),  # as Llama: <s> before each context and between documents
        (tokenizer(frame=False, bos=False), [], [1]),  # as GPT-2: its end of text between documents
        (tokenizer(frame=False, bos=False, eos=False), [], []),
    ],
)
def test_what_stands_around_and_between(words, first, joint):
    made = build([text(1, 2), text(3)], words, ContextOptions(length=10))
    assert rows(made) == [[*first, 4, 5, *joint, 6]]


def test_a_first_token_where_it_is_asked_for():
    words = tokenizer(frame=False)
    assert rows(build([text(1, 2, 3)], words, ContextOptions(length=3, bos=True))) == [[0, 4, 5], [0, 6]]
    assert rows(build([text(1, 2)], tokenizer(eos=False), ContextOptions(length=3, bos=False))) == [[4, 5]]
    with pytest.raises(RequestError, match="without a BOS token"):
        build([text(1)], tokenizer(frame=False, bos=False), ContextOptions(length=3, bos=True))


def test_pieces_of_one_document_are_joined_without_a_seam():
    pieces = [("w1 w2", True), ("w3", True), ("w4", False), ("w5", False)]
    assert rows(build(pieces, tokenizer(eos=False), ContextOptions(length=20))) == [[0, 4, 5, 6, 7, 0, 8]]


@pytest.mark.parametrize(
    ("overlong", "expected", "fact"),
    [
        ("split", [[4, 5], [6, 7, 8], [9]], {}),
        ("truncate", [[4, 5], [6, 7, 8]], {"truncated": 1}),
        ("drop", [[4, 5]], {"dropped": 1}),
    ],
)
def test_one_document_a_context(overlong, expected, fact):
    made = build([text(1, 2), text(3, 4, 5, 6)], tokenizer(), ContextOptions("documents", 5, overlong))
    assert rows(made) == [[0, *row, 1] for row in expected]
    assert made.counts == {"documents": 2, "truncated": 0, "dropped": 0} | fact


def test_the_limit_counts_tokens_of_text():
    many = [text(*range(7)) for _ in range(50)]
    packed = build(iter(many), tokenizer(eos=False), ContextOptions(length=4, limit=16))
    assert sum(int(t) >= 3 for t in packed.tokens) == 16
    whole = build(iter(many), tokenizer(eos=False), ContextOptions("documents", 10, limit=16))
    assert len(whole) == 3  # documents stay whole


def test_conversations_stay_whole():
    turns = [
        {"role": "user", "content": "w1 w2"},
        {"role": "bot", "content": [{"type": "text", "text": "w3"}]},
    ]
    long = [{"role": "user", "content": "w1 " * 30}]
    words = tokenizer()
    plain = build([(turns, False), (long, False)], words, ContextOptions("chat", 16, "drop", special="keep"))
    assert words.decode(plain.tokens) == "<s>user: w1 w2 bot: w3</s>" or len(plain) == 1
    assert (plain.counts["dropped"], plain.counts["documents"]) == (1, 2)
    assert plain.counts["chat_template"].startswith("plain")
    words.chat_template = "{% for m in messages %}<turn> {{ m.role }} : {{ m.content }} {% endfor %}"
    made = build([(turns, False), (long, False)], words, ContextOptions("chat", 16, "truncate"))
    said = [words.convert_ids_to_tokens(row) for row in rows(made)]
    assert said[0] == ["<turn>", "user", ":", "w1", "w2", "<turn>", "bot", ":", "w3"]
    assert len(said[1]) == 16
    assert (made.counts["truncated"], made.counts["chat_template"]) == (1, "tokenizer")


@pytest.mark.parametrize("bad", ["no list", [{"role": "user"}], [3]])
def test_what_is_no_conversation(bad):
    with pytest.raises(RequestError, match="a list of turns"):
        build([(bad, False)], tokenizer(), ContextOptions("chat", 16, "drop"))
    with pytest.raises(RequestError, match="`chat=True`"):
        build([([{"role": "user", "content": "x"}], False)], tokenizer(), ContextOptions())


@pytest.mark.parametrize("special", ["keep", "drop"])
@pytest.mark.parametrize("positions", ["all", "last", "2:", "50:"])
def test_kept_positions_like_by_hand(special, positions):
    documents = [text(*range(n)) for n in (1, 4, 9)]
    made = build(documents, tokenizer(), ContextOptions("documents", 7, special=special, positions=positions))
    expected = []
    for row in rows(made):
        good = [special == "keep" or token not in (0, 1) for token in row]
        if positions == "last":
            good = [ok and not any(good[i + 1 :]) for i, ok in enumerate(good)]
        elif positions != "all":
            good = [ok and i >= int(positions[:-1]) for i, ok in enumerate(good)]
        expected += good
    assert made.keep(0, len(made)).tolist() == expected
    parts = [made.keep(i, i + 1) for i in range(len(made))]
    assert np.concatenate(parts).tolist() == expected


def test_nothing_kept_has_no_last():
    assert not kept(np.zeros(4, bool), np.array([2, 2]), ContextOptions(positions="last")).any()


def test_what_was_said_leads_to_the_same_contexts():
    made = build([text(*range(9))], tokenizer(), ContextOptions(length=6, positions="1:"))
    again = Contexts.of(made.tokens, made.ends, made.describe())
    assert (again.options, again.special) == (made.options, made.special)
    assert (again.keep(0, 2) == made.keep(0, 2)).all()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"mode": "chats"}, "`mode`"),
        ({"special": "maybe"}, "`special`"),
        ({"positions": "first"}, "`positions` must be `all`, `last` or a number with a colon"),
        ({"length": 1}, "`context`"),
        ({"mode": "chat", "overlong": "split"}, "`overlong`"),
    ],
)
def test_bad_settings(options, says):
    with pytest.raises(RequestError, match=says):
        ContextOptions(**options)


def test_nothing_to_read():
    with pytest.raises(RequestError, match="has no tokens"):
        build([("", False)], tokenizer(), ContextOptions())
    with pytest.raises(RequestError, match="All 1 were longer"):
        build([text(*range(20))], tokenizer(), ContextOptions("documents", 5, "drop"))
    with pytest.raises(RequestError, match="longer than the special tokens"):
        build([text(1)], tokenizer(), ContextOptions(length=2))
