"""Words, phrases, parts of speech."""

import pytest

from multimodal_cam.core import spans
from multimodal_cam.core.spans import Span, find, join, noun_phrases, parse, regroup, sentence


def words(text):
    return [Span(word, i, i + 1) for i, word in enumerate(text.split())]


def test_noun_phrases_are_spans_over_our_tokens():
    found = noun_phrases(words("two brown dogs run through the tall grass with a ball"))
    assert [(p.text, p.start, p.stop) for p in found] == [
        ("two brown dogs", 0, 3),
        ("the tall grass", 5, 8),
        ("a ball", 9, 11),
    ]


def test_indices_hold_for_words_of_several_tokens():
    pieces = [Span("a", 0, 1), Span("skateboarder", 1, 4), Span("jumps", 4, 5)]
    assert (noun_phrases(pieces)[0].start, noun_phrases(pieces)[0].stop) == (0, 4)


def test_parts_of_speech():
    assert [token.pos_ for token in parse(words("a dog runs"))] == ["DET", "NOUN", "VERB"]


def test_odd_words_do_not_break_the_alignment():
    odd = words("a t-shirt <script> don't 犬 !")
    assert len(parse(odd)) == len(odd)


def test_join_and_checks():
    assert join([Span("a", 0, 1), Span("zorgle", 1, 2, known=False)]) == Span("a zorgle", 0, 2, known=False)
    with pytest.raises(ValueError, match="0 <= start < stop"):
        Span("x", 2, 2)


def test_a_missing_pipeline_says_what_to_install(monkeypatch):
    monkeypatch.setattr(spans, "PIPELINES", ("no_such_pipeline",))
    spans._pipeline.cache_clear()
    with pytest.raises(ImportError, match=r"pip install .multimodal-cam\[phrases\]"):
        noun_phrases(words("a dog"))
    spans._pipeline.cache_clear()


def test_words_are_found_as_they_are_written():
    words = [Span("a", 0, 1), Span("dog", 1, 2), Span(".", 2, 3, glued=True), Span("狗", 3, 5), Span("跑", 5, 6, glued=True)]
    assert sentence(words) == "a dog. 狗跑"
    assert join(words[1:3]) == Span("dog.", 1, 3)
    assert (find(words, "dog."), find(words, "dog .")) == (join(words[1:3]),) * 2
    assert find(words, "狗跑") == Span("狗跑", 3, 6)


def test_words_as_somebody_else_splits_them():
    own = [Span("A", 0, 1), Span("T-shirt", 1, 4), Span("don", 4, 5), Span("'t", 5, 6, glued=True)]
    assert [(s.text, s.start, s.stop) for s in regroup(own, ["A", "T", "-shirt", "don't"])] == [
        ("A", 0, 1),
        ("T", 1, 4),
        ("-shirt", 1, 4),
        ("don't", 4, 6),
    ]
    with pytest.raises(ValueError, match="is not 'A dog'"):
        regroup(own, ["A", "dog"])
