"""Targets of captions that were cut: phrases beyond the last word that fits have no head and no boxes to be measured on."""

from collections import Counter

from multimodal_cam.data.readers.flickr_entities import Phrase
from multimodal_cam.study.sources.targets import PhotoText, _marked, head_noun, parse_texts

BOX = ((0.0, 0.0, 0.5, 0.5),)


def test_phrases_that_were_cut_off_are_left_out():
    words = ("a", "dog", "runs", "to", "the")
    phrases = [Phrase(0, 2, "1", ("animals",), BOX), Phrase(4, 6, "2", ("scene",), BOX), Phrase(7, 9, "3", ("people",), BOX)]
    left_out = Counter()
    (doc,) = parse_texts([words])
    found = _marked(phrases, PhotoText(0, 0, words), doc, "a.jpg", left_out)
    assert [(target.start, target.head) for target in found] == [(0, 1)]
    assert left_out == {("a.jpg", "after the last word that fits"): 2}


def test_the_head_of_nothing_is_none():
    (doc,) = parse_texts([("a", "dog")])
    assert head_noun(doc[2:2]) is None
    assert head_noun(doc[0:1]) is None
    assert head_noun(doc[0:2]).text == "dog"
