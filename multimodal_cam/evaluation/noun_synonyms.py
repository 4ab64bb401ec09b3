"""Which nouns of captions name the same thing: a small table, no WordNet, for telling hallucinated nouns from other words.

Within a line of `SAME` every word names what the others do. `KINDS` has general words, each with what it may be said of: a
person's "child" covers the model's "girl", and the other way round, but "boy" is no other word for "girl". Lemmas, lower case,
made from the nouns of everyday photos' captions; no line follows from another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

SAME = (
    "man guy male gentleman fellow dude",
    "woman lady female",
    "boy lad",
    "girl lass",
    "child kid toddler youngster",
    "baby infant toddler",
    "person people human individual someone somebody adult",
    "crowd audience spectator group gathering people",
    "couple pair",
    "dog puppy doggy pup canine hound",
    "cat kitten kitty",
    "horse pony",
    "bicycle bike cycle",
    "motorcycle motorbike dirtbike bike",
    "cyclist biker bicyclist rider",
    "car automobile vehicle suv",
    "truck pickup",
    "boat canoe kayak raft ship",
    "sofa couch",
    "street road roadway avenue pavement",
    "sidewalk pavement walkway path",
    "path trail track dirt",
    "field meadow pasture lawn grass yard",
    "forest wood woods tree",
    "ocean sea wave water surf",
    "lake pond water pool",
    "river stream creek water",
    "pool water",
    "beach shore seashore sand coast shoreline",
    "mountain hill cliff rock peak hillside slope mountainside",
    "rock boulder stone",
    "snow ice slope",
    "hill slope",
    "cliff rock",
    "shirt t-shirt tee tshirt top blouse jersey sweater sweatshirt tank",
    "jacket coat parka hoodie",
    "pants trousers jeans jean pant trouser",
    "shorts short trunks",
    "swimsuit bikini bathing suit trunks swimwear",
    "outfit clothes clothing uniform costume suit dress attire",
    "uniform jersey",
    "hat cap beanie helmet",
    "glasses sunglasses goggles glass",
    "stick branch twig log",
    "ball football basketball baseball soccer tennis toy",
    "toy frisbee ball",
    "frisbee disc disk",
    "skateboard board",
    "surfboard board",
    "snowboard board",
    "skateboarder skater boarder",
    "snowboarder boarder",
    "skier skiier",
    "surfer surf",
    "player athlete team teammate",
    "runner racer",
    "climber hiker",
    "building house store wall",
    "bench seat",
    "air midair jump",
    "trick stunt jump",
    "picture photo photograph camera",
    "camera photo picture",
    "ramp pipe halfpipe rail",
    "fence gate railing barrier",
    "mouth muzzle jaw",
    "hand arm",
    "sand dirt beach",
    "ground floor dirt",
    "swing swingset",
    "slide playground",
    "area background",
)
KINDS: Mapping[str, str] = {
    "person": "man woman boy girl child baby player rider cyclist surfer skier snowboarder skateboarder climber runner adult",
    "people": "man woman boy girl child couple crowd player person friend family group",
    "child": "boy girl baby",
    "kid": "boy girl baby",
    "athlete": "player runner surfer skier snowboarder skateboarder cyclist",
    "player": "man woman boy girl",
    "animal": "dog cat horse cow bird sheep",
    "bird": "duck seagull pigeon goose swan",
    "vehicle": "car truck bus van motorcycle jeep",
    "clothes": "shirt jacket pants shorts dress outfit",
    "tree": "forest branch woods",
    "grass": "field lawn yard meadow park",
    "water": "ocean lake river pool wave pond stream fountain sea splash",
    "food": "cake pizza sandwich meal",
}


def _table() -> dict[str, frozenset[str]]:
    names: dict[str, set[str]] = {}
    for line in SAME:
        words = set(line.split())
        for word in words:
            names.setdefault(word, set()).update(words)
    for general, line in KINDS.items():
        for special in line.split():
            same = {special} | names.get(special, set())
            names.setdefault(general, {general}).update(same)
            for word in same:
                names.setdefault(word, {word}).add(general)
    return {word: frozenset(others) for word, others in names.items()}


_NAMES = _table()


def names_of(noun: str) -> frozenset[str]:
    """The lemmas that name what `noun`, a lemma, may name, itself among them."""
    return _NAMES.get(noun, frozenset({noun}))


def is_named(noun: Iterable[str], said: Iterable[str]) -> bool:
    """Whether one of the forms of a noun (as written, lemma), or a synonym of one, is among the forms that people `said`."""
    return not {name for form in noun for name in names_of(form)}.isdisjoint(said)
