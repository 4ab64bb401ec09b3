"""Texts against vocabularies of words: case, punctuation, scripts without spaces, ids with gaps."""

import pytest
from networks import noise_image, small_captioner, small_vqa

import multimodal_cam as mc
from multimodal_cam.adapters.contract import UnknownWordError

VOCABULARY = ["<unk>", "a", "dog", "u.s.", "3.5", ".", "n't", "is", "'s", "Paris", "hot dog", "t-shirt", "in", "the"]


def texts(words, text):
    ids = words.encode(text, "unk")
    spans = words.spans(ids, text)
    assert [(span.start, span.stop) for span in spans] == [(k, k + 1) for k in range(len(ids))]
    return [span.text for span in spans]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A dog.", ["a", "dog", "."]),
        ("the dog in the U.S.", ["the", "dog", "in", "the", "u.s."]),
        ("the dog is 3.5.", ["the", "dog", "is", "3.5", "."]),
        ("dog, dog! (dog)", ["dog", "dog", "dog"]),
        ("it isn't", ["it", "is", "n't"]),
        ("the dog’s t-shirt", ["the", "dog", "'s", "t-shirt"]),
        ("paris PARIS", ["Paris", "Paris"]),
        ("a hot  dog", ["a", "hot dog"]),
        ('a "Zebra-cat"', ["a", "Zebra-cat"]),
    ],
)
def test_a_text_is_split_as_the_vocabulary_has_it(text, expected):
    assert texts(mc.Words(VOCABULARY, unk=0), text) == expected


def test_words_that_differ_in_case_are_two():
    words = mc.Words({"us": 4, "US": 7, "May": 9})
    assert words.encode("US us Us may") == [7, 4, 4, 9]
    assert words.tokens([7, 4, 9, 5]) == ["US", "us", "May", "<id 5>"]


def test_punctuation_that_the_vocabulary_lacks_is_left_out():
    words = mc.Words(["a", "dog", "3", "5"])
    assert words.encode("A dog... 3.5?") == [0, 1, 2, 3]
    with pytest.raises(UnknownWordError, match="'dgo' "):
        words.encode("a dgo.")


CHINESE = ["一", "只", "一只", "狗", "在", "草地", "上", "。", "T恤"]
THAI = {"สุนัข": 3, "บน": 4, "หญ้า": 7}


def test_scripts_without_spaces_are_split_by_the_vocabulary():
    words = mc.Words(CHINESE)
    assert texts(words, "一只狗在草地上。") == ["一只", "狗", "在", "草地", "上", "。"]
    assert texts(words, "一只 狗 在 草地 上") == ["一只", "狗", "在", "草地", "上"]
    assert words.encode("T恤") == [8]
    assert texts(mc.Words(THAI), "สุนัขบนหญ้า") == ["สุนัข", "บน", "หญ้า"]
    with pytest.raises(UnknownWordError, match="'狸猫'"):
        words.encode("一只狸猫在草地上")
    unknown = mc.Words(["<unk>", *CHINESE], unk=0)
    assert [span.known for span in unknown.spans(unknown.encode("一只狸猫", "unk"), "一只狸猫")] == [True, False]


def test_words_are_joined_as_their_script_writes_them():
    from multimodal_cam.core.spans import sentence

    assert sentence(mc.Words(CHINESE).spans([2, 3, 4, 5, 6, 7])) == "一只狗在草地上。"
    words = mc.Words(VOCABULARY)
    assert sentence(words.spans(words.encode("the dog's is n't 3.5."))) == "the dog's isn't 3.5."


def test_emoji_and_flags_are_whole_words():
    words = mc.Words(["a", "👨‍👩‍👧", "🇫🇷", "🇩🇪", "👍🏽"])
    assert texts(words, "a 👨‍👩‍👧🇩🇪 👍🏽") == ["a", "👨‍👩‍👧", "🇩🇪", "👍🏽"]
    with pytest.raises(UnknownWordError, match="'🇪🇸'"):
        words.encode("a 🇪🇸")


def test_a_long_text_is_split_in_time():
    words = mc.Words(CHINESE)
    assert len(words.encode("一只狗在草地上。" * 200)) == 1200


def test_ids_with_gaps_give_the_words_and_maps_of_a_list():
    plain = small_captioner()
    words = dict(enumerate(plain.tokenizer.words.values()))
    for vocabulary in (words, {word: i for i, word in words.items()}, {str(i): word for i, word in words.items() if i != 6}):
        model = small_captioner()
        other = mc.captioner(
            encoder=model.encoder, decoder=model.decoder, tokenizer=vocabulary, bos=0, eos=1, unk=2, image_size=32, max_words=8
        )
        for text in ("a dog runs", None):
            one, two = mc.explain(plain, noise_image(), text=text), mc.explain(other, noise_image(), text=text)
            if text or 6 in other.tokenizer.words:
                assert one.maps.allclose(two.maps, atol=1e-5)
                assert one.text == two.text
            else:
                assert "on" not in two.text.split()  # an id without a word is never said


def test_a_question_is_read_with_any_vocabulary():
    plain = small_vqa()
    words = {word: i for i, word in plain.tokenizer.words.items()}
    other = mc.vqa(
        encoder=plain.encoder,
        head=plain.head,
        answers={name: i for i, name in enumerate(plain.labels.names)},
        tokenizer=words,
        unk=0,
        image_size=32,
    )
    question = "What is top left?"
    one, two = (mc.explain(model, noise_image(), question=question) for model in (plain, other))
    assert one.answers == two.answers
    assert one.maps.allclose(two.maps, atol=1e-6)
