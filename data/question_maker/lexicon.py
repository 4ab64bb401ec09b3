"""Word lists of the rules: actors, clothes, places, synonyms.

Chosen among the words of Flickr8k's training captions; a word in none of the lists is an ordinary thing.
"""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


MEN = _words("man guy gentleman father dad groom groomsman cowboy policeman fireman fisherman")
WOMEN = _words("woman lady mother mom bride bridesmaid")
BOYS = _words("boy son brother")
GIRLS = _words("girl daughter sister")
CHILDREN = _words("child kid toddler baby infant") | BOYS | GIRLS
GATHERED = _words("people crowd team audience family couple band spectator onlooker")
ROLES = _words(
    "person adult player skateboarder snowboarder skier rider biker cyclist bicyclist motorcyclist surfer climber hiker "
    "racer goalie runner wrestler teenager referee photographer skater swimmer driver worker student cheerleader "
    "rollerblader clown officer jockey diver kayaker musician dancer singer vendor athlete pitcher catcher batter drummer "
    "guitarist fan friend owner soldier gymnast jogger pedestrian wakeboarder windsurfer boxer jumper bicycler firefighter "
    "performer quarterback teen artist golfer acrobat individual female male waterskier paraglider rower fencer protester "
    "tourist"
)
PEOPLE = MEN | WOMEN | CHILDREN | GATHERED | ROLES
BREEDS = _words(
    "puppy poodle greyhound retriever terrier collie lab labrador pitbull beagle doberman dachshund bulldog dalmatian "
    "sheepdog hound pug corgi husky chihuahua rottweiler boxer-dog pup dog"
)
ANIMALS = BREEDS | _words(
    "horse bird animal cat sheep bull cow fish pigeon duck camel swan bear goose tiger goat elephant deer squirrel monkey "
    "chicken turkey snake pony lamb seagull pelican kitten calf pig rabbit donkey dolphin turtle eagle crab lion flamingo "
    "ram"
)
VEHICLES = _words(
    "bike bicycle motorcycle motorbike car truck bus train boat van jeep atv scooter vehicle wagon carriage canoe kayak "
    "raft sailboat ship plane airplane helicopter rowboat unicycle tricycle snowmobile motorboat"
)
ACTORS = (
    PEOPLE
    | ANIMALS
    | _words(  # actors: subjects of actions
        "car truck train bus motorcycle boat plane airplane helicopter vehicle sailboat"
    )
)

DRIVEN = _words(
    "driving drives racing races flying flies floating floats sailing sails speeding speeds jumping jumps turning turns"
)
CLOTHES = _words(
    "shirt jacket hat helmet shorts dress coat pants uniform sunglasses suit jeans top cap collar glasses backpack t-shirt "
    "outfit clothes costume jersey sweater vest wetsuit shoe harness mask skirt scarf sweatshirt goggles boot bikini "
    "swimsuit headphones headband ring bandanna glove hoodie trunks muzzle gown tie bandana wig robe apron overalls sandal "
    "kilt pajamas raincoat snowsuit blouse sock life-jacket necklace headscarf turban leotard tutu beanie visor lei"
)
BODY = _words(
    "mouth face hair head hand arm tongue leg eye nose foot ear beard tooth mohawk neck lap paw shoulder finger body tattoo "
    "chest lip smile knee ponytail pigtail cheek stomach tail waist belly chin hip beak fur back skin makeup thumb haircut "
    "fist forehead skull bone mustache moustache dreadlocks nail wing elbow"
)
PLACES = _words(
    "water grass snow field beach street pool hill park road ocean sidewalk mountain ramp wave lake path slide track yard "
    "river cliff fountain forest trail bridge dirt sky floor city playground room shore bar lawn store pond dock stage "
    "stream waterfall puddle parking-lot restaurant tent tunnel backyard gym pavement desert hole shop court garden creek "
    "market terrain kitchen stadium doorway staircase mountainside sea walkway pier station crosswalk balcony valley "
    "courtyard hallway boardwalk porch plaza driveway barn church intersection meadow alley museum arena woods sand rock "
    "bench swing wall mud rail ice stairs steps log trampoline rink hillside sandbox slope racetrack table couch bed chair "
    "boat canoe kayak raft tree bush leaves rug carpet mat platform ledge boulder railing surf rapids hammock stool sofa "
    "car bus train truck deck curb bathtub tub sled cave ground lot sprinkler hay ladder rope roof hydrant wheelchair "
    "stroller cart highchair"
)
SURFACES = _words(
    "bench chair table couch bed sofa rock swing log stool hammock rail railing wall fence ledge ramp ladder rug mat"
)
MASS = _words(  # mass nouns: no article
    "water grass snow sand mud dirt ice hay food beer smoke fire rain graffiti luggage traffic paint surf equipment coffee "
    "cream candy corn gear clothing music paper wood foliage"
)
PLURAL = _words(  # plural nouns that name one thing
    "shorts pants jeans sunglasses glasses goggles clothes headphones trunks overalls pajamas stairs steps woods leaves "
    "people binoculars scissors bleachers rapids trousers tights leggings rollerblades bagpipes"
)
FIXED = {  # compounds that their head noun alone does not replace
    ("ice", "cream"), ("hot", "dog"), ("parking", "lot"), ("roller", "coaster"), ("teddy", "bear"), ("fire", "hydrant"),
    ("cotton", "candy"), ("life", "jacket"), ("fire", "truck"), ("french", "fry"), ("monkey", "bar"), ("teeter", "totter"),
    ("high", "chair"), ("tank", "top"), ("bubble", "wrap"), ("shopping", "cart"), ("stuffed", "animal"), ("inner", "tube"),
}  # fmt: skip

ONE_CLASS = {  # synonyms, merged into one answer class
    "kid": "child", "guy": "man", "gentleman": "man", "lady": "woman", "bicycle": "bike", "motorbike": "motorcycle",
    "sofa": "couch",
}  # fmt: skip
SEEN_FROM = ("in", "on", "at", "through", "along", "across", "inside", "down", "up")  # prepositions of location
SAID_OF = _words("over under with near by into around off behind beside onto").union(
    SEEN_FROM
)  # prepositions that questions may repeat
PRONOUNCED_AN = ("a", "e", "i", "o", "um")

GROUPS = _words("group bunch pair couple lot crowd number line row team set trio flock herd pack family variety series dozen")
PARTS = _words(
    "middle side edge top bottom front back end center centre corner bank base foot body piece pile patch stretch set "
    "flight row type kind sort part section stack face surface shore pair bunch lot"
)
NOT_THINGS = _words(
    "air background camera trick other ground jump side distance foreground direction fun one picture photo closeup way day "
    "night outside view corner right left front top bottom back middle edge end center event area scene shadow setting "
    "place break position spot point public progress medium time turn look pose game race something object another each "
    "thing item stunt match play competition flight run action move motion formation walk ride leap dive course sport "
    "practice line shot show performance while variety number dark open midair mid-air day-time weather sun sunlight sunset "
    "dusk winter summer lot bit piece pair set type kind part color colour lead attempt fight dance catch swim hike climb "
    "stop wheelie flip handstand kick wait hop step home name word letter style sort nap rest bite drink bath party date "
    "sign"
)
_UNTOLD = _words(  # often present but rarely mentioned, so that silence does not mean no
    "tree wall building ground sky window leaf leaves branch floor street-light pole light door house cloud sun shadow "
    "reflection sign post path hill dirt rock bush person plant area road sidewalk leash bag photographer spectator "
    "onlooker item adult friend owner individual female male other fan hand mountain paint gear equipment field park rail "
    "railing edge ledge woods city slope surface terrain court wood foliage yard clothing hole forest trail pavement "
    "backyard lawn metal concrete fence street sand stone step steps stairs room shore table chair cone rope structure line "
    "deck platform grass"
)

COLOURS = {
    **{name: name for name in (
        "black", "white", "brown", "red", "blue", "green", "yellow", "orange", "pink", "purple", "grey", "tan", "silver",
        "beige", "gold", "maroon", "turquoise", "teal",
    )},
    "gray": "grey", "golden": "gold", "blonde": "blond", "blond": "blond", "silvery": "silver",
}  # fmt: skip
COLOURLESS = _words("snow colour sky light paint")  # things with one natural colour, or none
NEAR = (  # colours that people confuse
    {"brown", "tan", "beige", "gold", "blond", "orange", "red"}, {"black", "grey", "brown"}, {"grey", "silver", "white"},
    {"red", "pink", "maroon", "purple", "orange"}, {"blue", "turquoise", "teal", "purple", "green"}, {"yellow", "gold", "orange"},
    {"white", "tan", "beige"},
)  # fmt: skip
_COUNTED = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
NUMBERS = {said: word for n, word in enumerate(_COUNTED, start=1) for said in (word, str(n))}

IDLE = _words(  # too vague to answer "what is … doing?"
    "wearing holding having doing being going getting making taking trying using showing appearing preparing attempting "
    "dressing facing covering surrounding containing coming beginning starting keeping putting giving seeming letting "
    "helping enjoying participating overlooking including according following setting performing leading looking passing "
    "moving competing working heading"
)
UNASKED = IDLE - {"holding", "wearing", "using", "following", "leading", "passing"}  # verbs whose object makes no question
AT_REST = _words("sitting standing lying sleeping resting kneeling crouching posing relaxing")
ASKED_WITH = {  # for each preposition, the verbs of "what is … sitting on?"
    "on": AT_REST | _words("riding climbing swinging balancing leaning"),
    "at": _words("looking staring pointing barking gazing"),
    "over": _words("jumping leaping"),
    "with": _words("playing"),
}
TRANSITIVE = _words(  # verbs that need an object: not "is the dog chasing?"
    "carrying chasing catching throwing retrieving hitting pulling pushing kicking chewing watching tossing grabbing biting "
    "hugging fetching wearing holding using facing lifting crossing scaling driving tackling spraying blowing raising "
    "pointing reaching touching picking attacking following leading passing petting giving putting bringing making taking "
    "riding shaking opening feeding licking sniffing approaching enjoying examining cutting grinding rolling trying looking"
)
SPORTS = _words(
    "soccer football basketball tennis hockey volleyball baseball fetch cricket rugby softball lacrosse golf polo croquet"
)
NOUNS_IN_ING = _words(
    "building railing swing ring wing string clothing painting ceiling king earring awning crossing sling spring wedding "
    "thing icing carving drawing bowling opening covering landing lightning siding stocking evening earrings"
)
_KIN = _words("brother sister son daughter mother father mom dad")  # kinship, which photos do not show
SELDOM_TOLD = _UNTOLD | _KIN | BODY | CLOTHES | SPORTS | GROUPS | GATHERED - {"people", "crowd"}
ACTIVITIES = {
    "rest": "sitting lying sleeping resting relaxing napping kneeling crouching squatting",
    "stand": "standing posing waiting",
    "run": "running jumping leaping racing jogging hopping bounding sprinting trotting walking hiking strolling marching",
    "play": "playing dancing flipping wrestling fighting",
    "swim": "swimming diving splashing wading floating paddling surfing snorkeling kayaking rowing wakeboarding",
    "ride": "riding biking skateboarding skating rollerblading cycling pedaling skiing snowboarding sledding sliding",
    "climb": "climbing rappelling",
    "eat": "eating drinking",
    "fly": "flying",
    "dig": "digging",
}
ACTIVITY = {doing: row for row, doings in ACTIVITIES.items() for doing in doings.split()}
EXCLUDED = {  # for each mentioned activity, those that exclude it
    "rest": _words("stand run swim climb fly dig"),
    "stand": _words("rest run swim ride climb fly dig"),
    "run": _words("rest stand swim ride climb eat dig"),
    "play": _words("ride climb eat"),
    "swim": _words("rest stand run ride climb eat fly dig"),
    "ride": _words("run play swim climb eat dig"),
    "climb": _words("rest stand run play swim ride eat fly dig"),
    "eat": _words("run play swim ride climb fly dig"),
    "fly": _words("rest stand swim climb eat dig"),
    "dig": _words("rest stand run swim ride climb eat fly"),
}

ALIKE = (  # words that can refer to the same thing, so that none contradicts another
    "ball football soccer basketball volleyball baseball tennis softball toy",
    "bike bicycle motorcycle motorbike vehicle atv scooter unicycle tricycle biker cyclist bicyclist motorcyclist "
    "racer rider moped",
    "car vehicle truck van jeep bus suv traffic taxi racecar automobile race",
    "water lake ocean river sea pool pond wave stream surf beach creek fountain sprinkler rapids shore waterfall "
    "puddle surfer swimmer",
    "snow ice ski skis skier snowboarder snowboard sled slope snowball snowsuit snowmobile winter",
    "grass field lawn yard park meadow",
    "rock boulder cliff stone mountain climber",
    "stick branch wood toy twig log",
    "frisbee toy disc disk",
    "bench seat chair couch sofa table restaurant",
    "boat kayak canoe raft ship sailboat rowboat vessel kayaker rower",
    "sand beach mud dirt desert sandbox dune",
    "skateboard skateboarder skater board ramp",
    "surfboard surfer board wave",
    "snowboard snowboarder board",
    "building house store shop church restaurant barn city",
    "hat cap helmet",
    "rail railing fence ramp obstacle hurdle bar",
    "bubble soap",
    "swing playground slide ride",
    "slide playground ramp",
    "picture camera photo photographer",
    "instrument guitar drum violin band musician guitarist piano",
    "phone cellphone",
    "food sandwich snack meal ice-cream cake",
    "bird pigeon duck seagull goose swan pelican eagle chicken turkey animal",
    "horse pony donkey animal jockey rodeo",
    "cow bull calf animal",
    "sheep goat lamb ram animal deer",
    "cat kitten animal",
    "dog animal " + " ".join(sorted(BREEDS)),
    "toy ball frisbee stick bone doll",
    "rope leash",
    "flower plant garden",
    "stage concert band",
    "crowd people group audience spectator onlooker fan team parade",
    "umbrella parasol",
    "train subway station railway",
    "swimsuit bikini",
    "trampoline bed",
    "tent camp",
)


def _alike() -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for row in ALIKE:
        for word in row.split():
            found.setdefault(word, {word}).update(row.split())
    for word in PEOPLE:
        found.setdefault(word, {word}).update(PEOPLE - _OTHERS.get(word, frozenset()))
    return {word: frozenset(words) for word, words in found.items()}


_FEMALE, _MALE = WOMEN | GIRLS, MEN | BOYS
_OTHERS = (  # people who are certainly different
    {word: _FEMALE | {"baby", "infant", "toddler"} for word in MEN}
    | {word: _MALE | {"baby", "infant", "toddler"} for word in WOMEN}
    | {word: _FEMALE for word in BOYS}
    | {word: _MALE for word in GIRLS}
    | {word: MEN | WOMEN for word in ("child", "kid", "baby", "toddler", "infant")}
)
SAME = _alike()


def same(word: str) -> frozenset[str]:
    """Words that can refer to the same thing as `word`, itself included."""
    return SAME.get(word, frozenset({word}))
