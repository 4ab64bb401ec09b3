"""Rules that turn the facts of a caption into questions; each yields `DraftQuestion`s.

The types are those of COCO-QA (Ren, Kiros, Zemel, NeurIPS 2015), object, colour, number and location, and action.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from . import lexicon as lex
from .caption_grammar import Action, CaptionFacts, Thing

LONGEST = 14  # words of a question


class DraftQuestion(NamedTuple):
    question: str
    answer: str
    type: str
    things: tuple[Thing, ...]

    @property
    def fair(self) -> bool:
        """Whether the question is short and does not give its answer away."""
        words = self.question[:-1].split()
        return len(words) <= LONGEST and not any(akin(a, w) for a in self.answer.split() if a != "and" for w in words)


Rule = Callable[[CaptionFacts, "Naming"], Iterator[DraftQuestion]]


def akin(one: str, other: str) -> bool:
    """Whether one word gives the other away: bike and biker, ski and skiing, football and ball, but not man and woman."""
    if one == other or min(len(one), len(other)) < 3:
        return one == other
    short, long = sorted((one, other), key=len)
    return long.startswith(short) or (len(short) > 3 and (short in long or short[:4] == long[:4]))


class Naming:
    """Unambiguous names of things, given all that the captions of one photo mention."""

    def __init__(self, captions: Sequence[CaptionFacts]) -> None:
        self.several: set[str] = set()
        for caption in captions:
            nouns = Counter(thing.noun for thing in caption.things)
            said = Counter(word.removesuffix("s") for word in caption.text.lower().split())  # a parse may miss one
            self.several |= {noun for noun, count in nouns.items() if max(count, said[noun]) > 1}
            self.several |= {thing.noun for thing in caption.things if thing.plural and thing.noun not in lex.PLURAL}

    def name(self, thing: Thing, caption: CaptionFacts, hidden: Iterable[str] = ()) -> str:
        """Name such as "the dog", or "the small dog" among several, without the `hidden` words; empty where it is ambiguous."""
        others = [other for other in caption.things if other is not thing]
        if not thing.clean or _one_of_more(thing) or _maybe_the_same(thing, others):
            return ""
        alike = [other for other in others if other.noun == thing.noun]
        if thing.plural or thing.noun in lex.PLURAL:
            return "" if alike else f"the {thing.said}"
        if thing.number:
            return ""
        if not alike and thing.noun not in self.several:
            return f"the {thing.said}"
        shared = {modifier for other in alike for modifier in other.modifiers}
        apart = next((modifier for modifier in thing.modifiers if modifier not in shared.union(hidden)), "")
        return f"the {apart} {thing.said}" if apart else ""

    def names(self, things: Sequence[Thing], caption: CaptionFacts) -> str:
        """Joint name such as "the man and the woman"; empty where one of them is ambiguous."""
        found = [self.name(thing, caption) for thing in things]
        return " and ".join(found) if all(found) else ""


def _one_of_more(thing: Thing) -> bool:
    return thing.determiner in ("another", "each", "one", "every", "both", "no") or "other" in thing.modifiers


def _maybe_the_same(thing: Thing, others: Iterable[Thing]) -> bool:
    """Whether another noun could mean the same person: "the person" beside "a man"."""
    people = {other.noun for other in others} & lex.PEOPLE - {thing.noun}
    return thing.noun in lex.PEOPLE and any(thing.noun in lex.same(noun) for noun in people)


def are(things: Sequence[Thing]) -> str:
    return "are" if len(things) > 1 or things[0].plural or things[0].noun in lex.PLURAL else "is"


def sayable(thing: Thing) -> bool:
    """Whether the phrase fits into a question as it stands: it has an article or needs none."""
    if not thing.clean or thing.number or len(thing.modifiers) > 2:
        return False
    return thing.determiner in ("a", "an", "the", "some") or (not thing.determiner and (thing.plural or thing.noun in lex.MASS))


def _phrase(*parts: str) -> str:
    return " ".join(filter(None, parts)) + "?"


# ---- what somebody does


def activity(caption: CaptionFacts, naming: Naming) -> Iterator[DraftQuestion]:
    """What is the girl doing? jumping"""
    for action in caption.actions:
        if action.doing in lex.IDLE or (action.particle and action.doing not in lex.ACTIVITY):
            continue
        if who := naming.names(action.agents, caption):
            yield DraftQuestion(f"what {are(action.agents)} {who} doing?", action.doing, "action", action.agents)


def undergone(caption: CaptionFacts, naming: Naming) -> Iterator[DraftQuestion]:
    """What is the dog holding? stick"""
    for action in caption.actions:
        thing = action.thing
        if thing is None or action.doing in lex.UNASKED | {"wearing"} or thing.noun in lex.BODY:
            continue
        if who := naming.names(action.agents, caption):
            word = "who" if thing.noun in lex.PEOPLE else "what"
            yield DraftQuestion(
                _phrase(word, are(action.agents), who, action.doing, action.particle), thing.noun, "object", (thing,)
            )


def beneath(caption: CaptionFacts, naming: Naming) -> Iterator[DraftQuestion]:
    """What is the dog jumping over? log — What is the man sitting on? bench"""
    for action in caption.actions:
        who = "" if action.thing or action.particle else naming.names(action.agents, caption)
        for preposition, thing in action.places if who else ():
            if action.doing in lex.ASKED_WITH.get(preposition, ()) and thing.noun not in lex.PEOPLE | lex.BODY:
                yield DraftQuestion(
                    _phrase("what", are(action.agents), who, action.doing, preposition), thing.noun, "object", (thing,)
                )


def worn(caption: CaptionFacts, naming: Naming) -> Iterator[DraftQuestion]:
    """What is the man wearing? hat"""
    for who, garment in caption.wearing:
        if name := naming.name(who, caption):
            yield DraftQuestion(f"what {are([who])} {name} wearing?", garment.noun, "object", (garment,))


def held(caption: CaptionFacts, naming: Naming) -> Iterator[DraftQuestion]:
    """What is in the dog's mouth? ball"""
    for thing, preposition, part in caption.at:
        owners = [owner for owner in caption.things if owner.noun in lex.ACTORS and owner.at < thing.at]
        if preposition != "in" or part.noun not in ("mouth", "hand", "arm") or len(owners) != 1 or owners[0].plural:
            continue
        name = naming.name(owners[0], caption) if part.determiner in ("its", "his", "her", "the", "") else ""
        if name and thing.noun not in lex.PEOPLE | lex.BODY | lex.CLOTHES:
            yield DraftQuestion(f"what is in {name}'s {part.said}?", thing.noun, "object", (thing,))


# ---- who does it


def agent(caption: CaptionFacts, naming: Naming) -> Iterator[DraftQuestion]:
    """Who is riding a bike? man — What is running through the snow? dog"""
    for action in caption.actions:
        who = action.agents[0]
        if len(action.agents) > 1 or not _the_only(who, caption, naming) or action.doing in lex.IDLE - {"wearing", "holding"}:
            continue
        start = f"{_which(who)} is {action.doing}"
        if action.thing and sayable(action.thing):
            yield DraftQuestion(_phrase(start, action.particle, action.thing.phrase), who.noun, "object", (who,))
        for preposition, place in () if action.thing or action.particle else action.places:
            if sayable(place) and preposition in lex.SAID_OF:
                yield DraftQuestion(_phrase(start, preposition, place.phrase), who.noun, "object", (who,))


def present(caption: CaptionFacts, naming: Naming) -> Iterator[DraftQuestion]:
    """What is in the snow? dog — Who is on the beach? woman"""
    if sum(thing.noun in lex.ACTORS for thing in caption.things) > 1:
        return
    for who, preposition, place in caption.at:
        known = preposition in lex.SEEN_FROM and _is_place(preposition, place) and sayable(place)
        if known and who.noun in lex.ACTORS and _the_only(who, caption, naming):
            yield DraftQuestion(f"{_which(who)} is {preposition} {place.phrase}?", who.noun, "object", (who,))


def _the_only(who: Thing, caption: CaptionFacts, naming: Naming) -> bool:
    if who.noun == "people":
        return sum(thing.noun == "people" for thing in caption.things) == 1
    return not who.plural and who.noun not in naming.several


def _which(who: Thing) -> str:
    return "who" if who.noun in lex.PEOPLE else "what"


# ---- colour, number, place


def colour(caption: CaptionFacts, naming: Naming) -> Iterator[DraftQuestion]:
    """What colour is the dog? brown — What colour is the man's shirt? red"""
    owners = _owners(caption)
    for thing in caption.things:
        if not 0 < len(thing.colours) < 3 or not thing.clean or thing.noun in lex.PEOPLE | lex.COLOURLESS:
            continue
        answer = " and ".join(sorted(thing.colours))
        if name := _owned(thing, owners, caption, naming) or naming.name(thing, caption, lex.COLOURS):
            yield DraftQuestion(f"what colour {are([thing])} {name}?", answer, "colour", (thing,))


def _owners(caption: CaptionFacts) -> dict[int, Thing]:
    """Owner of the thing at each word: its wearer, or an actor described as "with" a body part such as hair."""
    owners = {what.at: who for who, how, what in caption.at if how == "with" and who.noun in lex.ACTORS and what.noun in lex.BODY}
    return owners | {garment.at: who for who, garment in caption.wearing}


def _owned(thing: Thing, owners: dict[int, Thing], caption: CaptionFacts, naming: Naming) -> str:
    """Name such as "the man's shirt"; empty without an owner, with several, or with two such things."""
    who = owners.get(thing.at)
    more = [other for other in caption.things if other.noun == thing.noun and owners.get(other.at) is who]
    name = "" if who is None or who.plural or len(more) > 1 else naming.name(who, caption)
    return f"{name}'s {thing.said}" if name else ""


def number(caption: CaptionFacts, naming: Naming) -> Iterator[DraftQuestion]:
    """How many dogs are running? two. Only "one dog" counts as one, "a dog" does not."""
    for thing in caption.things:
        if not thing.number or not thing.clean or thing.noun in lex.BODY or _one_of_more(thing) or _again(thing, caption):
            continue
        if thing.number == "one":
            if thing.plural or thing.noun in naming.several:
                continue
            thing_said = f"{thing.said}s"
        elif thing.plural:
            thing_said = thing.said
        else:
            continue
        doing = next((action.doing for action in caption.actions if action.agents == (thing,) and _alone(action)), "there")
        yield DraftQuestion(f"how many {thing_said} are {doing}?", thing.number, "number", (thing,))


def _again(thing: Thing, caption: CaptionFacts) -> bool:
    """Whether the caption mentions further things of this kind."""
    told = sum(other.noun == thing.noun for other in caption.things)
    said = sum(word.startswith(thing.noun) for word in caption.text.lower().split())
    return max(told, said) > 1 or "another" in caption.text.lower().split()


def _alone(action: Action) -> bool:
    return not action.thing and not action.particle and action.doing not in lex.IDLE | lex.TRANSITIVE


def location(caption: CaptionFacts, naming: Naming) -> Iterator[DraftQuestion]:
    """Where is the boy swimming? pool — Where is the dog? snow"""
    for action in caption.actions:
        who = "" if action.doing in lex.IDLE or action.particle else naming.names(action.agents, caption)
        if not who or not (sayable(action.thing) if action.thing else _alone(action)):
            continue
        asked = _phrase("where", are(action.agents), who, action.doing, action.thing.phrase if action.thing else "")
        yield from (
            DraftQuestion(asked, at.noun, "location", (at,)) for how, at in action.places if _is_place(how, at, action.doing)
        )
    for thing, preposition, place in caption.at:
        if thing.noun in lex.ACTORS and _is_place(preposition, place) and (name := naming.name(thing, caption)):
            yield DraftQuestion(f"where {are([thing])} {name}?", place.noun, "location", (place,))


def _is_place(preposition: str, place: Thing, doing: str = "") -> bool:
    """Whether `place` answers "where?" for somebody `doing` this: a bench does for sitting, not for running."""
    if preposition.split()[0] not in lex.SEEN_FROM or preposition == "in front of" or place.noun not in lex.PLACES:
        return False
    return place.noun not in lex.SURFACES or not doing or doing in lex.AT_REST


RULES: tuple[Rule, ...] = (activity, undergone, beneath, worn, agent, present, held, colour, number, location)
