"""Accuracies of VQA (Antol et al., ICCV 2015, section 3; Goyal et al., CVPR 2017).

Answers are compared as VQA's evaluation (https://visualqa.org/evaluation.html) writes them: small letters, digits for
number words, without articles and punctuation, contractions with their apostrophe.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

_AGREE = 3  # number of people whose agreement makes an answer right
_FEWEST = _AGREE + 1  # one person is left out each time: with fewer people a unanimous answer would not score 1

_ARTICLES = {"a", "an", "the"}
_WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
_DIGITS = {word: str(number) for number, word in enumerate(_WORDS)} | {"none": "0"}

_MARKS = ';/[]"{}()=+\\_-><@`,?!'  # not the apostrophe (girl's) nor the colon (2:50)
_THOUSANDS = re.compile(r"\d,\d")
_FULL_STOP = re.compile(r"\.(?!\d)")

# The evaluation knows these words without any one of their apostrophes: couldnt've and couldn'tve, but not couldntve.
# Left out is what its table holds by a slip: somebody'd would lose its apostrophe, and I'm no longer has its capital.
_CONTRACTED = """
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've he's
    how'd how'll how's isn't it'd it'd've it'll ma'am might've mightn't mightn't've must've mustn't needn't not've o'clock
    oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd
    someone'd've someone'll someone's something'd something'd've something'll that's there'd there'd've there're there's
    they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's what've when's where'd
    where's where've who'd who'd've who'll who's who've why'll why're why's won't would've wouldn't wouldn't've y'all
    y'all'd've y'all'll you'd you'd've you'll you're you've
"""


def _without_one_apostrophe(word: str) -> Iterator[str]:
    for mark in re.finditer("'", word):
        yield word[: mark.start()] + word[mark.end() :]


_CONTRACTIONS = {short: word for word in _CONTRACTED.split() for short in _without_one_apostrophe(word)}


def normalise_answer(text: str) -> str:
    """Normalise an answer for comparison: `"The two dogs."` becomes `2 dogs`; may be empty.

    Punctuation leaves a blank (`red/white` is two words), or nothing when a blank stands beside it, and nothing anywhere in a
    text with a comma between digits (`1,000` is `1000`). Full stops stay only before a digit.
    """
    words = (_DIGITS.get(word, word) for word in _without_marks(text.strip()).lower().split())
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


def _without_marks(text: str) -> str:
    spaced = re.sub(r"[\n\t]", " ", text)
    thousands = _THOUSANDS.search(spaced)
    bare = spaced
    for mark in _MARKS:
        beside_blank = f"{mark} " in spaced or f" {mark}" in spaced
        bare = bare.replace(mark, "" if thousands or beside_blank else " ")
    return _FULL_STOP.sub("", bare)


def exact_accuracy(answer: str, truth: str) -> float:
    """1 when both are the same answer, else 0: for data with one answer a question (COCO-QA, easy-VQA, made questions)."""
    return float(normalise_answer(answer) == normalise_answer(truth))


def soft_accuracy(answer: str, answers: Sequence[str]) -> float:
    """How right `answer` is in 0..1, by what several people said: `min(people who said it / 3, 1)`, the mean over leaving out
    each of them once. Of VQA's ten people one makes 0.3, two 0.6, three 0.9, more 1.

    Both sides are normalised always. The evaluation's published code leaves the people's side as it is where they agree; the
    two differ only for annotations that were not normalised already, and there the code can call the right answer wrong.
    Raises ValueError for fewer than four people (nobody could score 1: `exact_accuracy` is for a single answer).
    """
    if isinstance(answers, str) or len(answers) < _FEWEST:
        raise ValueError(f"soft accuracy needs the answers of {_FEWEST} people or more (VQA has 10), got {answers!r}")
    said = normalise_answer(answer)
    same = sum(normalise_answer(other) == said for other in answers)
    without_one_of_them = same * min((same - 1) / _AGREE, 1)
    without_another = (len(answers) - same) * min(same / _AGREE, 1)
    return (without_one_of_them + without_another) / len(answers)
