"""data/question_maker: what is asked about captions written for it, and once about real ones where they are at hand."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from multimodal_cam.data.question_maker.caption_grammar import progressive
from multimodal_cam.data.question_maker.captioned_photos import CaptionedPhoto, SkipCounter, read_photos, tokenise
from multimodal_cam.data.question_maker.question_generation import ask, make_questions, thin
from multimodal_cam.data.question_maker.question_rules import akin
from multimodal_cam.data.question_maker.yes_no_claims import yes_or_no
from multimodal_cam.data.readers.caption_file import read_captions, read_split
from multimodal_cam.data.readers.question_record import Question

SHARED = Path(__file__).parents[3] / "shared" / "data" / "flickr8k"

ASKED: dict[str, dict[str, dict[str, str]]] = {
    "action": {
        "A man climbing a cliff with a rope .": {"what is the man doing?": "climbing"},
        "A boy plays on a swing .": {"what is the boy doing?": "playing"},
        "Two brown dogs are fighting in the street .": {"what are the dogs doing?": "fighting"},
        "A man and a woman sit at a table .": {"what are the man and the woman doing?": "sitting"},
        "A boy who is wearing a hat is running .": {"what is the boy doing?": "running"},
        "A woman carries a bag while walking .": {"what is the woman doing?": "carrying"},
        "A group of people are standing on a street .": {"what are the people doing?": "standing"},
        "Two men stand and one of them smiles .": {"what are the men doing?": "standing"},
        "A black dog is chasing a brown dog .": {"what is the black dog doing?": "chasing"},
        "A man is wearing a hat .": {},  # says too little
        "The runner is running .": {},  # gives itself away
        "A boy picks up a ball .": {},  # "picking" is half of it
        "A car waits beside a man .": {},  # no caption means that
    },
    "object": {
        "A small dog is holding a stick in its mouth .": {"what is the dog holding?": "stick", "what is holding a stick?": "dog"},
        "A dog jumps over a log .": {"what is the dog jumping over?": "log", "what is jumping over a log?": "dog"},
        "A man sits on a wooden bench .": {"what is the man sitting on?": "bench", "who is sitting on a wooden bench?": "man"},
        "Two children are playing with a red ball .": {"what are the children playing with?": "ball"},
        "A woman is looking at a book .": {"what is the woman looking at?": "book"},
        "A man wearing a blue hat .": {"what is the man wearing?": "hat", "who is wearing a blue hat?": "man"},
        "A woman in a red coat .": {"what is the woman wearing?": "coat"},
        "A man rides a dirt bike down a hill .": {"what is the man riding?": "bike", "who is riding a dirt bike?": "man"},
        "A girl is eating ice cream .": {"what is the girl eating?": "ice cream"},
        "A man is holding a child .": {"who is the man holding?": "child", "who is holding a child?": "man"},
        "A poodle in the grass .": {"what is in the grass?": "dog"},
        "A guy rides his bicycle .": {"what is the guy riding?": "bike"},
        "A biker is riding a bike .": {},  # gives itself away
    },
    "colour": {
        "A brown dog is running on a beach .": {"what colour is the dog?": "brown"},
        "A white and black dog is running on a beach .": {"what colour is the dog?": "black and white"},
        "A man in a red shirt is running .": {"what colour is the man's shirt?": "red"},
        "A dog with a gray collar is running .": {"what colour is the collar?": "grey"},
        "Two white dogs play in the water .": {"what colour are the dogs?": "white"},
        "A boy in blue shorts is jumping .": {"what colour are the boy's shorts?": "blue"},
        "A golden dog is swimming in a lake .": {"what colour is the dog?": "gold"},
        "A large brown dog and a small dog are playing .": {"what colour is the large dog?": "brown"},
        "A woman with blond hair is smiling .": {"what colour is the woman's hair?": "blond"},
        "A black dog chases a brown dog .": {},  # which dog?
        "A black man sits on a bench .": {},
        "A black , white and brown dog is sitting .": {},
        "A dog runs on white snow .": {},
    },
    "number": {
        "Two dogs are running in the snow .": {"how many dogs are running?": "two"},
        "Three men sit on a bench .": {"how many men are sitting?": "three"},
        "2 girls are laughing .": {"how many girls are laughing?": "two"},
        "Two dogs are chasing a ball .": {"how many dogs are there?": "two"},
        "A group of four people walk .": {"how many people are walking?": "four"},
        "One dog is swimming .": {"how many dogs are swimming?": "one"},
        "A man holds three balloons .": {"how many balloons are there?": "three"},
        "Five children in costumes .": {"how many children are there?": "five"},
        "A dog runs .": {},
        "A boy has two hands .": {},
        "Twelve people run .": {},
        "Two brown dogs and one white dog play .": {},
        "Two boys and another boy play .": {},
    },
    "location": {
        "A boy is swimming in a pool .": {"where is the boy swimming?": "pool"},
        "A dog runs through the snow .": {"where is the dog running?": "snow"},
        "A dog in the snow .": {"where is the dog?": "snow"},
        "A man sits on a bench .": {"where is the man sitting?": "bench"},
        "A girl runs at the beach .": {"where is the girl running?": "beach"},
        "A man is riding a bike down the street .": {"where is the man riding a bike?": "street"},
        "Two women walk along a path .": {"where are the women walking?": "path"},
        "A man stands in the middle of the street .": {"where is the man standing?": "street"},
        "Two children are playing in muddy water .": {"where are the children playing?": "water"},
        "A man is looking at a book .": {},
        "A boy jumps in the air .": {},
        "A woman in a red coat .": {},
    },
}


def photos(*captions: list[str]) -> list[CaptionedPhoto]:
    """Photos "0", "1", … with these captions."""
    texts = {str(i): each for i, each in enumerate(captions)}
    return list(read_photos(texts, texts, None, SkipCounter()))


@pytest.mark.parametrize("kind", ASKED)
def test_rules(kind: str) -> None:
    told = photos(*([caption] for caption in ASKED[kind]))
    found = {photo.facts[0].text: {q.question: q.answer for q in ask(photo) if q.type == kind} for photo in told}
    assert found == ASKED[kind]


def test_one_answer_to_a_question_the_most_frequent_else_the_first() -> None:
    (photo,) = photos(["A tan dog is running .", "A brown dog is jumping .", "A brown dog is barking ."])
    assert [(q.question, q.answer, q.caption) for q in ask(photo)] == [
        ("what is the dog doing?", "running", "A tan dog is running ."),
        ("what colour is the dog?", "brown", "A brown dog is jumping ."),
    ]


def test_who_is_meant_depends_on_all_captions() -> None:
    (photo,) = photos(["A boy is running .", "A tall boy and a small boy are at the beach ."])
    assert not [q for q in ask(photo) if q.question == "what is the boy doing?"]


@pytest.mark.parametrize(
    ("verb", "form"),
    [("run", "running"), ("ride", "riding"), ("lie", "lying"), ("eat", "eating"), ("play", "playing"), ("ski", "skiing")],
)
def test_progressive(verb: str, form: str) -> None:
    assert progressive(verb) == form


def test_akin() -> None:
    assert akin("bike", "biker") and akin("ski", "skiing") and akin("ball", "football")  # noqa: PT018
    assert not akin("man", "woman")


def test_tokens_know_their_words() -> None:
    assert tokenise("A man's dog , wet ; runs .") == (
        ["a", "man", "'s", "dog", ",", "wet", ",", "runs", "."],
        [0, 1, 1, 2, 2, 3, 3, 4, 4],
    )


# ---- thinning, yes and no


def test_thinning_leaves_rare_answers_and_keeps_the_order() -> None:
    many = [Question(str(i), "q?", "dog" if i % 100 else "cat") for i in range(4000)]
    kept = thin(many, 0, random.Random(0))
    answers = Counter(question.answer for question in kept)
    assert answers["cat"] > 20  # K = 20 of 40 for certain
    assert 120 < answers["dog"] < 260  # K + K2 ln(1 + n / K2) = 20 + 40 ln(100) = 204 of 3960
    assert kept == sorted(kept, key=lambda question: int(question.image))


SCENES = [
    ["A dog is running with a ball .", "A brown dog is running fast ."],
    ["A dog is sitting on a blue sofa .", "A white dog is sitting down ."],
]


def test_every_claim_is_as_often_true_as_false() -> None:
    told = photos(*(SCENES * 10), ["A boy kicks a ball .", "A boy is running ."])
    asked = list(yes_or_no(told, random.Random(0), 1))
    counts: dict[str, Counter[str]] = {}
    for question in asked:
        counts.setdefault(question.question, Counter())[question.answer] += 1
    assert {"is there a ball in the photo?", "is the dog running?", "is the dog brown?"} <= counts.keys()
    assert all(count["yes"] == count["no"] for count in counts.values())
    assert len({(question.image, question.question) for question in asked}) == len(asked)


def test_nothing_that_a_caption_may_mean_is_denied() -> None:
    told = photos(["A man holds a bat .", "A football player ."], ["A man with a ball .", "A player holds a bat ."])
    denied = {(question.image, question.question) for question in yes_or_no(told, random.Random(0), 1) if question.answer == "no"}
    assert ("0", "is there a ball in the photo?") not in denied
    assert not any("man" in question for _, question in denied)


# ---- whole datasets


def test_same_seed_same_questions() -> None:
    captions = {str(i): SCENES[i % 2] for i in range(200)}
    first, again, other = (
        list(make_questions(captions, {"train": list(captions)}, seed=seed, min_count=1)) for seed in (0, 0, 1)
    )
    assert first == again != other
    assert {question.split for question in first} == {"train"}
    assert not any(question.boxes for question in first)


def test_rare_answers_and_rare_words_are_left_out() -> None:
    captions = {str(i): ["A dog is running on the grass ."] for i in range(3)} | {"3": ["A dog is jumping on the gras ."]}
    found = list(make_questions(captions, {"train": list(captions)}, min_count=3))
    assert {question.answer for question in found} == {"running", "grass", "dog"}


XML = """<annotation><size><width>100</width><height>100</height></size>
<object><name>1</name><bndbox><xmin>10</xmin><ymin>10</ymin><xmax>50</xmax><ymax>50</ymax></bndbox></object>
<object><name>2</name><bndbox><xmin>60</xmin><ymin>10</ymin><xmax>90</xmax><ymax>50</ymax></bndbox></object></annotation>"""


@pytest.fixture
def entities(tmp_path: Path) -> Path:
    """Annotation of photo 1; that of photo 2 is cut short, photo 3 has none."""
    for part, ending, texts in (
        ("Sentences", "txt", ["[/EN#1/animals A brown dog] is holding [/EN#2/other a stick] .\n"] * 2),
        ("Annotations", "xml", [XML, XML[:60]]),
    ):
        (tmp_path / part).mkdir()
        for number, text in enumerate(texts, start=1):
            (tmp_path / part / f"{number}.{ending}").write_text(text)
    return tmp_path


def test_answers_have_the_boxes_of_their_phrase(entities: Path) -> None:
    names = ["1_a.jpg", "2_b.jpg", "3_c.jpg"]
    tally = SkipCounter()
    captions = {name: ["A brown dog is holding a stick ."] for name in names[:2]}
    found = list(make_questions(captions, {"dev": names}, entities, min_count=1, tally=tally))
    dog, stick = (0.1, 0.1, 0.5, 0.5), (0.6, 0.1, 0.9, 0.5)
    assert {question.question: question.boxes for question in found} == {
        "what is the dog holding?": (stick,),
        "what is holding a stick?": (dog,),
        "what colour is the dog?": (dog,),
    }
    assert {reason: count for reason, (count, _) in tally.found.items()} == {
        "photos with a broken annotation": 1,
        "photos without annotation": 1,
    }


def test_broken_lines_of_captions_are_told(tmp_path: Path) -> None:
    path = tmp_path / "captions.csv"
    path.write_text('image,caption\na.jpg,A dog .\nno comma\nb.jpg,"A stray quote\nc.jpg,"A cat , here ."\n')
    broken: list[str] = []
    assert read_captions(path, broken.append) == {"a.jpg": ["A dog ."], "c.jpg": ["A cat , here ."]}
    assert ["line 3" in broken[0], "line 4" in broken[1], len(broken)] == [True, True, 2]
    (tmp_path / "split.txt").write_text("a.jpg\nb.jpg\n")
    assert read_split(tmp_path / "split.txt", {"a.jpg": ["A dog ."]}, broken.append) == ["a.jpg"]
    assert broken[2].endswith("b.jpg has no caption")


def test_real_captions() -> None:
    if not (SHARED / "captions.txt").is_file():
        pytest.skip("needs the captions of ../shared/data/flickr8k")
    captions = read_captions(SHARED / "captions.txt")
    names = read_split(SHARED / "train_images.txt", captions)[:50]
    found = list(make_questions(captions, {"train": names}, min_count=1))
    assert {question.type for question in found} == {"action", "object", "colour", "number", "location", "yes/no"}
    assert len(found) > 250
    assert Counter(question.answer for question in found if question.type == "yes/no").most_common(1)[0][1] * 2 == sum(
        question.type == "yes/no" for question in found
    )
