"""Hallucinated nouns: planted ones are found, synonyms and other numbers of a noun are none."""

import pytest

from multimodal_cam.evaluation.caption_nouns import human_nouns, judge_nouns
from multimodal_cam.evaluation.noun_synonyms import is_named, names_of

PEOPLE = {
    "a.jpg": ["A man rides a bike down the street .", "The guy is on his bicycle near two dogs ."],
    "b.jpg": ["Two children are playing on the beach .", "Kids run in the sand ."],
}


def test_planted_hallucinations_are_found_and_nothing_else():
    said = {
        "a.jpg": ["a", "male", "rides", "a", "bicycle", "on", "a", "road", "with", "a", "dog", "and", "a", "guitar"],
        "b.jpg": ["a", "child", "and", "a", "horse", "on", "the", "beach"],
    }
    judged = judge_nouns(said, human_nouns(PEOPLE))
    assert {noun.word for noun in judged} >= {"bicycle", "road", "dog", "guitar", "child", "horse", "beach"}
    assert [(noun.image, noun.index, noun.word) for noun in judged if noun.hallucinated] == [
        ("a.jpg", 13, "guitar"),
        ("b.jpg", 4, "horse"),
    ]


def test_words_that_are_mostly_nouns():
    human = human_nouns(PEOPLE)
    assert {"man", "street", "dogs", "beach"} <= human.usual
    assert not {"rides", "playing", "the"} & human.usual
    assert "bike" in human.by_photo["a.jpg"]


def test_a_photo_without_captions_is_refused():
    with pytest.raises(ValueError, match=r"1 of 1 photos have no human caption, the first: c\.jpg"):
        judge_nouns({"c.jpg": ["a", "dog"]}, human_nouns({"c.jpg": []}))


@pytest.mark.parametrize(
    ("noun", "said", "named"),
    [
        ("guy", "man", True),
        ("girl", "child", True),
        ("person", "surfer", True),
        ("girl", "boy", False),
        ("man", "woman", False),
        ("dog", "cat", False),
        ("zebra", "zebra", True),
        ("zebra", "horse", False),
    ],
)
def test_synonyms(noun, said, named):
    assert is_named({noun}, {said}) is named
    assert is_named({said}, {noun}) is named  # neither is the judge of the other
    assert noun in names_of(noun)
