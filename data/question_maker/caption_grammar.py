"""Facts of a caption from spaCy's parse: things, actions, locations and clothes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import lexicon as lex

if TYPE_CHECKING:
    from spacy.tokens import Doc, Token

PROGRESSIVE = ("VBG",)
FINITE = ("VBZ", "VBP", "VBD")


@dataclass(frozen=True)
class Thing:
    """A noun phrase of a caption.

    Attributes:
        at: Index of the head noun among the caption's words.
        noun: Head noun in the form of an answer.
        said: Head noun with its compounds, as written ("dirt bikes").
        modifiers: Adjectives and colours, as written.
        number: Number word, if any.
        clean: Whether all words before the noun were understood.
    """

    at: int
    noun: str
    said: str
    plural: bool = False
    determiner: str = ""
    modifiers: tuple[str, ...] = ()
    colours: tuple[str, ...] = ()
    number: str = ""
    clean: bool = True

    @property
    def phrase(self) -> str:
        """The phrase as written, without its number: "a small stick", "green grass"."""
        return " ".join(filter(None, (self.determiner, *self.modifiers, self.said)))


@dataclass(frozen=True)
class Action:
    """An action: who does what to which thing, and where.

    Attributes:
        agents: Who acts.
        doing: Verb as an -ing form.
        particle: Verb particle such as "up", or empty.
        thing: Direct object, if any.
        places: Pairs of preposition and thing.
    """

    agents: tuple[Thing, ...]
    doing: str
    particle: str = ""
    thing: Thing | None = None
    places: tuple[tuple[str, Thing], ...] = ()


@dataclass(frozen=True)
class CaptionFacts:
    """Facts of one caption. `at` holds triples of thing, preposition and place, `wearing` pairs of person and garment."""

    text: str
    things: tuple[Thing, ...]
    actions: tuple[Action, ...]
    at: tuple[tuple[Thing, str, Thing], ...]
    wearing: tuple[tuple[Thing, Thing], ...]


def caption_facts(doc: Doc, words: list[int], text: str) -> CaptionFacts:
    """Facts of the parsed caption `doc`; `words[i]` is the index of the caption's word that token `i` belongs to."""
    reading = _Reading(doc, words)
    actions = tuple(reading.actions())
    at = tuple(reading.at())
    wearing = [
        (action.agents[0], action.thing)
        for action in actions
        if action.doing == "wearing" and action.thing and len(action.agents) == 1
    ]
    wearing += [(who, what) for who, preposition, what in at if preposition in ("in", "with")]
    return CaptionFacts(
        text,
        tuple(reading.things.values()),
        actions,
        at,
        tuple((who, what) for who, what in wearing if who.noun in lex.PEOPLE and what.noun in lex.CLOTHES),
    )


def _base(third: str) -> str:
    """Base form of a third-person verb: rides -> ride, watches -> watch, carries -> carry. (spaCy makes "rid" of "rides".)"""
    if third.endswith(("ches", "shes", "sses", "xes", "oes", "zzes")):
        return third[:-2]
    return third[:-3] + "y" if third.endswith("ies") and len(third) > 4 else third.removesuffix("s")


def progressive(lemma: str) -> str:
    """The -ing form of a verb: run -> running, ride -> riding, lie -> lying."""
    vowels = "aeiou"
    if lemma.endswith("ie"):
        return lemma[:-2] + "ying"
    if lemma.endswith("e") and not lemma.endswith(("ee", "oe", "ye")) and lemma != "be":
        return lemma[:-1] + "ing"
    short = sum(letter in vowels for letter in lemma) == 1 and len(lemma) > 2
    if short and lemma[-1] not in vowels + "wxy" and lemma[-2] in vowels and lemma[-3] not in vowels:
        return lemma + lemma[-1] + "ing"
    return lemma + "ing"


def _compounds(before: list[Token], head: Token) -> list[str]:
    """Pop the compound nouns right before `head` from the tokens `before`: the "dirt" of "a red dirt bike"."""
    found: list[str] = []
    while (
        before
        and before[-1].text not in lex.COLOURS
        and (before[-1].tag_ in ("NN", "NNP") or (before[-1].text, head.lemma_) in lex.FIXED)
    ):
        found.insert(0, before.pop().text)
    return found


def _noun(head: Token, compounds: list[str]) -> str:
    """The noun in the form of an answer."""
    noun = str(head.text if head.text in lex.PLURAL else head.lemma_)
    if compounds and (compounds[-1], noun) in lex.FIXED:
        return f"{compounds[-1]} {noun}"
    return "dog" if noun in lex.BREEDS else lex.ONE_CLASS.get(noun, noun)


def _modifiers(before: list[Token]) -> tuple[str, ...]:
    """Adjectives and colours among the tokens before a noun; "black and white" counts as one."""
    found: list[str] = []
    joined = False
    for token in before:
        if token.text == "and" and found and found[-1] in lex.COLOURS:
            joined = True
        elif token.tag_ in ("JJ", "NN", "NNP", "VBN", "VBG") or token.text in lex.COLOURS:
            if joined and token.text in lex.COLOURS:
                found[-1] += f" and {token.text}"
            else:
                found.append(token.text)
            joined = False
    return tuple(found)


_LYING = {"laying": "lying"}  # captions use the first for both


class _Reading:
    def __init__(self, doc: Doc, words: list[int]) -> None:
        self.doc, self.words = doc, words
        self.things = {token.i: thing for token in doc if (thing := self._thing(token))}

    # ---- things

    def _thing(self, token: Token) -> Thing | None:
        if token.tag_ not in ("NN", "NNS") or token.dep_ in ("compound", "amod", "nmod", "poss", "npadvmod", "advmod"):
            return None
        if not token.text[0].isalpha() or len(token.text) < 3:
            return None
        before = list(self.doc[token.left_edge.i : token.i])
        possessed = max((i + 1 for i, t in enumerate(before) if t.tag_ == "POS"), default=0)  # "a man 's red shirt"
        before = before[possessed:]
        compounds = _compounds(before, token)
        plural = token.tag_ == "NNS"
        noun = _noun(token, compounds)
        if noun in lex.NOT_THINGS or noun in lex.COLOURS or (noun in lex.GROUPS | lex.PARTS and self._of(token)):
            return None
        if noun.endswith("ing") and noun not in lex.NOUNS_IN_ING:
            return None
        if compounds and plural and compounds[-1] in lex.ACTORS | lex.CLOTHES | lex.BODY:  # a verb, mostly: "the dog lays"
            return None
        said = ("dogs" if plural else "dog") if noun == "dog" else " ".join([*compounds, token.text])
        colours = tuple(dict.fromkeys(c for t in before for part in t.text.split("-") if (c := lex.COLOURS.get(part))))
        modifiers = _modifiers(before)
        determiners = [t.text for t in before if t.tag_ in ("DT", "PRP$")]
        numbers = [lex.NUMBERS[t.text] for t in before if t.text in lex.NUMBERS]
        told = sum(len(modifier.split()) for modifier in modifiers) + len(determiners) + len(numbers)
        return Thing(
            at=self.words[token.i],
            noun=noun,
            said=said,
            plural=plural,
            determiner=" ".join(determiners),
            modifiers=modifiers,
            colours=colours,
            number="".join(numbers),
            clean=not possessed and len(compounds) < 2 and told == len(before) and not self._more_colours(token.left_edge.i),
        )

    def _more_colours(self, start: int) -> bool:
        """Whether the parser cut colours off the phrase: "a tan and | blue wall"."""
        before = [token.text for token in self.doc[max(start - 2, 0) : start]]
        return bool(before) and before[-1] in ("and", ",") and before[0] in lex.COLOURS

    @staticmethod
    def _of(token: Token) -> Token | None:
        """Noun after "of": the dogs of "a group of dogs"."""
        for child in token.children:
            if child.dep_ == "prep" and child.text == "of":
                return next((c for c in child.children if c.dep_ == "pobj"), None)
        return None

    def _meant(self, token: Token) -> Thing | None:
        """Thing that a noun refers to: the dogs for "a group of dogs"."""
        behind = self._of(token) if token.lemma_ in lex.GROUPS | lex.PARTS else None
        return self.things.get((token if behind is None else behind).i)

    # ---- actions

    def actions(self) -> Iterator[Action]:
        for verb in self.doc:
            doing = self._doing(verb)
            if not doing:
                continue
            agents = self._agents(verb)
            if not agents:
                continue
            children = list(verb.children)
            particles = [c.text for c in children if c.dep_ == "prt"]
            objects = [c for c in children if c.dep_ == "dobj"]
            if objects and any(c.dep_ != "prt" and verb.i < c.i < objects[0].left_edge.i for c in children):
                continue  # "skiing down a mountain" with "down" as an adverb
            if len(particles) > 1 or len(objects) > 1 or any(c.dep_ == "neg" for c in children):
                continue
            thing = self._meant(objects[0]) if objects else None
            if objects and thing is None:
                yield Action(agents, doing, "".join(particles))
                continue
            places = [*self._placed(verb), *(self._placed(objects[0]) if objects else ())]
            yield Action(agents, doing, "".join(particles), thing, tuple(places))

    def _doing(self, verb: Token) -> str:
        if verb.pos_ not in ("VERB", "NOUN") or any(c.dep_ in ("auxpass", "nsubjpass") for c in verb.children):
            return ""
        if verb.tag_ in PROGRESSIVE and verb.dep_ in ("ROOT", "acl", "advcl", "conj", "relcl", "ccomp"):
            return _LYING.get(verb.text, str(verb.text))
        if verb.tag_ in FINITE and verb.pos_ == "VERB" and not any(c.dep_ == "aux" for c in verb.children):
            base = _base(verb.text) if verb.tag_ == "VBZ" else verb.lemma_ if verb.tag_ == "VBD" else verb.text
            doing = progressive(base)
            return _LYING.get(doing, doing) if verb.lemma_ not in ("be", "have") else ""
        return ""

    def _agents(self, verb: Token) -> tuple[Thing, ...]:
        subject = self._subject(verb)
        if subject is None:
            return ()
        nouns = [subject, *(c for c in subject.conjuncts if c.i < verb.i)]
        things = [self._meant(noun) for noun in nouns]
        if len(things) > 2 or (len(things) > 1 and verb.dep_ == "acl"):
            return ()
        found = tuple(thing for thing in things if thing and thing.noun in lex.ACTORS and thing.clean)
        if any(thing.noun in lex.VEHICLES for thing in found) and verb.text not in lex.DRIVEN:
            return ()
        return found if len(found) == len(things) else ()

    def _subject(self, verb: Token) -> Token | None:
        for child in verb.children:
            if child.dep_ == "nsubj":
                return verb.head if child.tag_ in ("WP", "WDT") and verb.dep_ == "relcl" else child
        if verb.dep_ == "acl":
            return verb.head
        if verb.dep_ in ("conj", "advcl") and verb.head.pos_ == "VERB":
            return self._subject(verb.head)
        return None

    def _placed(self, token: Token) -> Iterator[tuple[str, Thing]]:
        for child in token.children:
            if child.dep_ != "prep":
                continue
            for noun in child.children:
                if noun.dep_ != "pobj":
                    continue
                preposition = child.text
                if noun.text == "front":
                    preposition = "in front of"
                elif noun.lemma_ in lex.PARTS and self._of(noun):
                    preposition += f" the {noun.text} of"
                if thing := self._meant(noun):
                    yield preposition, thing

    def at(self) -> Iterator[tuple[Thing, str, Thing]]:
        for i in self.things:
            token = self.doc[i]
            thing = self.things[i]
            for preposition, place in self._placed(token):
                yield thing, preposition, place
                if preposition in ("in", "with"):
                    yield from ((thing, preposition, more) for more in self._and(place))

    def _and(self, thing: Thing) -> Iterator[Thing]:
        token = next(t for t in self.doc if self.things.get(t.i) is thing)
        yield from (more for c in token.conjuncts if (more := self.things.get(c.i)))
