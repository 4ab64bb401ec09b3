"""Tokenizers of other libraries in front of a user's own network: transformers', tokenizers', any with encode and decode."""

import types

import pytest
from networks import Decoder, Encoder, Reader, noise_image
from tokenizers import Tokenizer, models, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from torch import nn
from transformers import BertTokenizerFast, PreTrainedTokenizerFast

import multimodal_cam as mc
from multimodal_cam.adapters.contract import UnknownWordError
from multimodal_cam.adapters.word_tokenizer import tokenizer_of

PIECES = ["[UNK]", "[CLS]", "[SEP]", "a", "dog", "run", "##s", "grass", "on", "."]


def library_tokenizer():
    ids = {piece: i for i, piece in enumerate(PIECES)}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)])
    from tokenizers.decoders import WordPiece

    tokenizer.decoder = WordPiece()
    return tokenizer


def pretrained():
    names = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=library_tokenizer(), **names)


@pytest.mark.parametrize("tokenizer", [pretrained(), types.SimpleNamespace(tokenizer=pretrained())])
def test_a_tokenizer_of_transformers(tokenizer):
    ours = tokenizer_of(tokenizer, None)
    ids = ours.encode("a dog runs on grass.")
    assert ids == [3, 4, 5, 6, 8, 7, 9]
    assert ours.tokens(ids) == ["a", "dog", "run", "##s", "on", "grass", "."]
    assert [span.text for span in ours.spans(ids, "a dog runs on grass.")] == ["a", "dog", "runs", "on", "grass", "."]
    assert [(span.start, span.stop) for span in ours.spans(ids)][2] == (2, 4)
    with pytest.raises(UnknownWordError):
        ours.encode("a zebra")
    assert [span.known for span in ours.spans(ours.encode("a zebra", "unk"), "a zebra")] == [True, False]


def test_a_question_has_the_tokens_that_the_tokenizer_puts_around_it():
    ours = tokenizer_of(pretrained(), None, special_tokens=True)
    ids = ours.encode("a dog")
    assert ids == [1, 3, 4, 2]
    assert [(span.text, span.start) for span in ours.spans(ids, "a dog")] == [("a", 1), ("dog", 2)]


def test_the_library_tokenizers():
    ours = tokenizer_of(library_tokenizer(), None)
    assert ours.encode("a dog runs") == [3, 4, 5, 6]


class Codec:
    """Nothing but encode and decode, as a hand-written tokenizer of characters."""

    def encode(self, text):
        return [ord(c) - 96 if c != " " else 0 for c in text]

    def decode(self, ids):
        return "".join(" " if i == 0 else chr(i + 96) for i in ids)


def test_an_object_with_encode_and_decode():
    ours = tokenizer_of(Codec(), None)
    ids = ours.encode("a dog")
    assert ours.tokens(ids) == ["a", " ", "d", "o", "g"]
    assert [span.text for span in ours.spans(ids)] == ["a", "dog"]


def test_a_vocabulary_that_also_encodes_is_read_by_its_table():
    both = types.SimpleNamespace(word2idx={"a": 0, "dog": 1}, encode=lambda text: [7], decode=lambda ids: "x")
    assert tokenizer_of(both, None).encode("a dog") == [0, 1]


def test_a_captioner_and_a_question_with_them():
    model = mc.captioner(encoder=Encoder(), decoder=Decoder(), tokenizer=pretrained(), bos=1, eos=2, image_size=32, max_words=8)
    e = mc.explain(model, noise_image(), text="a dog runs")
    assert [word.text for word in e.words] == ["a", "dog", "runs"]
    head = Reader()
    head.embedding = nn.Embedding(len(PIECES), 16)
    asked = mc.vqa(
        encoder=Encoder(),
        head=head,
        answers=["yes", "no", "red", "two"],
        tokenizer=pretrained(),
        question_layer=head.embedding,
        image_size=32,
    )
    found = mc.explain(asked, noise_image(), question="a dog runs on grass?")
    assert [word.text for word in found.question_words][:3] == ["a", "dog", "runs"]


def test_more_tokens_than_logits_are_said():
    class Few(Decoder):
        def __init__(self):
            super().__init__(words=8)

    with pytest.raises(ValueError, match="its ids go up to 9, the network gives 8 logits"):
        mc.captioner(encoder=Encoder(), decoder=Few(), tokenizer=pretrained(), image_size=32)


def test_berts_own_class():
    assert tokenizer_of(BertTokenizerFast(vocab={piece: i for i, piece in enumerate(PIECES)}), None).encode("a dog") == [3, 4]
