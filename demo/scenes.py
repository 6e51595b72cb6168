"""Scenes of a picture book, and the words for them.

A `Scene` is a place, a time and one to three coloured things. A `Description` is what a caption says of a scene, often
only a part of it; `satisfies` tells whether a scene is as described, `phrase` puts a description into words.
"""

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

KINDS = (
    "ball", "balloon", "bicycle", "bird", "boat", "butterfly", "car", "cat", "chair", "cup",
    "dog", "fish", "flower", "house", "kite", "mushroom", "rocket", "tent", "tree", "umbrella",
)  # fmt: skip
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "white", "black")
PLACES = ("meadow", "sea", "desert", "snow", "city", "mountains")
TIMES = ("day", "night", "sunset", "rain")
FLYING = ("balloon", "bird", "butterfly", "kite", "rocket")
GROUPS = {"animal": ("bird", "cat", "dog", "fish"), "vehicle": ("bicycle", "boat", "car", "rocket")}

# No picture used in training shows one of these; the collection and the held-out figures do.
HELD_OUT = {
    "ball": "purple", "balloon": "blue", "bicycle": "green", "bird": "pink", "boat": "orange", "butterfly": "white",
    "car": "yellow", "cat": "orange", "chair": "pink", "cup": "green", "dog": "white", "fish": "purple",
    "flower": "black", "house": "blue", "kite": "brown", "mushroom": "yellow", "rocket": "black", "tent": "brown",
    "tree": "red", "umbrella": "red",
}  # fmt: skip


@dataclass(frozen=True)
class Thing:
    """A thing in the picture's central square, whose side is 1: the middle of its box, x rightwards and y downwards."""

    kind: str
    colour: str
    x: float
    y: float
    size: float


@dataclass(frozen=True)
class Scene:
    """What a picture shows; `seed` settles clouds, waves and other small details."""

    place: str
    time: str
    things: tuple[Thing, ...]
    seed: int


@dataclass(frozen=True)
class Mention:
    """A thing as a caption names it: `kind` may be a group ("animal"), and the colour may be left out."""

    kind: str
    colour: str | None = None


@dataclass(frozen=True)
class Description:
    """What a caption says; `relation` ("next to", "above" or "under") holds from the first thing to the second."""

    things: tuple[Mention, ...] = ()
    place: str | None = None
    time: str | None = None
    relation: str | None = None


def satisfies(scene: Scene, description: Description) -> bool:
    """Whether everything that the description says is true of the scene; different mentions are different things."""
    if description.place not in (None, scene.place) or description.time not in (None, scene.time):
        return False
    return any(
        all(_fits(thing, mention) for thing, mention in zip(chosen, description.things, strict=True))
        and (description.relation is None or related(chosen[0], chosen[1]) == description.relation)
        for chosen in itertools.permutations(scene.things, len(description.things))
    )


def scene_from(saved: dict[str, Any]) -> Scene:
    """A scene again from what `dataclasses.asdict` made of it."""
    return Scene(**{**saved, "things": tuple(Thing(**thing) for thing in saved["things"])})


def describe(words: str) -> Description:
    """A description from bare canonical words, a colour before its thing: "red car next to tree sea night"."""
    mentions: list[Mention] = []
    said: dict[str, str] = {}
    colour = None
    for word in words.replace("next to", "next_to").split():
        if word in COLOURS:
            colour = word
        elif word in KINDS or word in GROUPS:
            mentions.append(Mention(word, colour))
            colour = None
        elif word in PLACES:
            said["place"] = word
        elif word in TIMES:
            said["time"] = word
        elif word in ("next_to", "above", "under"):
            said["relation"] = word.replace("_", " ")
        else:
            raise ValueError(f"{word!r} in {words!r} is no kind, colour, place, time or relation")
    return Description(tuple(mentions), **said)


def _fits(thing: Thing, mention: Mention) -> bool:
    return thing.kind in GROUPS.get(mention.kind, (mention.kind,)) and mention.colour in (None, thing.colour)


def related(first: Thing, second: Thing) -> str | None:
    """How the first thing stands to the second: "next to", "above", "under", or None where none of these is clear."""
    across, down = abs(first.x - second.x), second.y - first.y
    if abs(down) > 0.3 and across < 0.4:
        return "above" if down > 0 else "under"
    return "next to" if abs(down) < 0.3 and across < 0.6 else None


def random_scene(rng: random.Random, held_out: bool = False) -> Scene:
    """A scene without any held-out pair, or one whose first thing is a held-out pair."""
    count = rng.choices((1, 2, 3), (5, 5, 3))[0]
    pairs: list[tuple[str, str]] = []
    if held_out:
        pairs.append(rng.choice(sorted(HELD_OUT.items())))
    while len(pairs) < count:
        kind, colour = rng.choice(KINDS), rng.choice(COLOURS)
        if HELD_OUT[kind] != colour and kind not in dict(pairs):
            pairs.append((kind, colour))
    place = rng.choice(PLACES)
    time = rng.choice([time for time in TIMES if (place, time) != ("snow", "rain")])
    return Scene(place, time, arrange(pairs, rng), rng.randrange(2**31))


def scene_of(description: Description, rng: random.Random) -> Scene:
    """A scene that is as described and otherwise left to chance."""
    while True:
        pairs = [
            (rng.choice(GROUPS.get(mention.kind, (mention.kind,))), mention.colour or rng.choice(COLOURS))
            for mention in description.things
        ] or [(rng.choice(KINDS), rng.choice(COLOURS))]
        place = description.place or rng.choice(PLACES)
        time = description.time or rng.choice(TIMES)
        scene = Scene(place, time, arrange(pairs, rng), rng.randrange(2**31))
        if satisfies(scene, description) and (place, time) != ("snow", "rain"):
            return scene


def sibling(scene: Scene, rng: random.Random) -> Scene:
    """A scene hard to tell from this one: with two colours swapped, or another kind, colour, place or time."""
    things = list(scene.things)
    change = rng.choice(("kind", "kind", "colour", "place", "time") + ("swap", "swap") * (len(things) > 1))
    pairs = [(thing.kind, thing.colour) for thing in things]
    if change == "swap":
        first, second = rng.sample(range(len(pairs)), 2)
        (kind, colour), (other_kind, other_colour) = pairs[first], pairs[second]
        pairs[first], pairs[second] = (kind, other_colour), (other_kind, colour)
    elif change == "kind":
        pairs[0] = (rng.choice([kind for kind in KINDS if kind not in dict(pairs)]), pairs[0][1])
    elif change == "colour":
        pairs[0] = (pairs[0][0], rng.choice(COLOURS))
    place = rng.choice(PLACES) if change == "place" else scene.place
    time = rng.choice(TIMES) if change == "time" else scene.time
    if any(HELD_OUT[kind] == colour for kind, colour in pairs) or (place, time) == ("snow", "rain"):
        return sibling(scene, rng)
    recoloured = tuple(
        replace(thing, kind=kind, colour=colour) for thing, (kind, colour) in zip(things, pairs, strict=True)
    )
    return Scene(place, time, recoloured, rng.randrange(2**31))


def arrange(pairs: Sequence[tuple[str, str]], rng: random.Random) -> tuple[Thing, ...]:
    """Gives (kind, colour) pairs a size and a place: side by side, or those that can be overhead above the others."""

    def vary(middle: float, by: float = 0.03) -> float:
        return middle + rng.uniform(-by, by)

    def standing(pair: tuple[str, str], x: float, size: float) -> Thing:
        return Thing(*pair, x, rng.uniform(0.87, 0.95) - size / 2, size)

    pairs = list(pairs)
    overhead = [pair for pair in pairs if pair[0] in FLYING or pair[0] == "umbrella"]
    if len(pairs) == 1:
        size = vary(0.58, 0.1)
        if overhead and pairs[0][0] != "umbrella":
            return (Thing(*pairs[0], vary(0.5, 0.12), vary(0.44, 0.06), size),)
        return (standing(pairs[0], vary(0.5, 0.12), size),)
    if overhead and rng.random() < 0.65:
        above = rng.choice(overhead)
        below = [pair for pair in pairs if pair != above]
        rng.shuffle(below)
        top = Thing(*above, vary(0.5, 0.06), vary(0.24, 0.02), vary(0.4, 0.03))
        if len(below) == 1:
            return (top, standing(below[0], vary(0.5, 0.08), vary(0.43, 0.03)))
        return (top, *(standing(pair, vary(x), vary(0.42, 0.03)) for pair, x in zip(below, (0.25, 0.75), strict=True)))
    rng.shuffle(pairs)
    if len(pairs) == 2:
        return tuple(standing(pair, vary(x), vary(0.46, 0.03)) for pair, x in zip(pairs, (0.26, 0.74), strict=True))
    return tuple(standing(p, vary(x, 0.02), vary(0.35, 0.02)) for p, x in zip(pairs, (0.17, 0.5, 0.83), strict=True))


# fmt: off
# The first word for each is the one that titles use.
KIND_WORDS = {
    "ball": ("ball", "beach ball"),
    "balloon": ("balloon", "toy balloon"),
    "bicycle": ("bicycle", "bike", "cycle"),
    "bird": ("bird", "songbird", "birdie"),
    "boat": ("boat", "sailboat", "ship", "sailing boat", "yacht"),
    "butterfly": ("butterfly", "moth"),
    "car": ("car", "automobile", "auto", "motorcar"),
    "cat": ("cat", "kitten", "kitty", "pussycat"),
    "chair": ("chair", "seat"),
    "cup": ("cup", "mug", "teacup", "cup of coffee", "coffee"),
    "dog": ("dog", "puppy", "hound", "pup"),
    "fish": ("fish", "goldfish"),
    "flower": ("flower", "blossom", "bloom"),
    "house": ("house", "cottage", "home", "cabin"),
    "kite": ("kite", "paper kite"),
    "mushroom": ("mushroom", "toadstool"),
    "rocket": ("rocket", "spaceship", "spacecraft"),
    "tent": ("tent", "camping tent"),
    "tree": ("tree", "leafy tree"),
    "umbrella": ("umbrella", "parasol", "brolly"),
    "animal": ("animal", "creature", "pet"),
    "vehicle": ("vehicle", "means of transport"),
}
COLOUR_WORDS = {
    "red": ("red", "scarlet", "crimson"),
    "orange": ("orange", "tangerine"),
    "yellow": ("yellow", "golden", "gold"),
    "green": ("green", "emerald"),
    "blue": ("blue", "azure"),
    "purple": ("purple", "violet"),
    "pink": ("pink", "rosy"),
    "brown": ("brown", "chestnut"),
    "white": ("white", "pure white"),
    "black": ("black", "jet black"),
}
WHERE_WORDS = {
    "meadow": ("in a meadow", "in a field", "on the grass", "in the countryside", "on a green hill", "in the grass"),
    "sea": ("by the sea", "on the beach", "at the seaside", "by the ocean", "on the shore", "at the coast", "at sea"),
    "desert": ("in the desert", "among the dunes", "on the sand dunes", "in a dry desert", "with a cactus"),
    "snow": ("in the snow", "in winter", "on a snowy hill", "in the cold", "in the falling snow", "on the snow"),
    "city": ("in the city", "in town", "on a street", "in front of tall buildings", "downtown", "in the street"),
    "mountains": ("in the mountains", "near the mountains", "below the peaks", "in the alps", "before a mountain"),
}
WHEN_WORDS = {
    "day": ("in the daytime", "by day", "on a sunny day", "in the sunshine", "in the sun", "under a blue sky"),
    "night": ("at night", "in the dark", "by moonlight", "under the stars", "after dark", "at midnight", "tonight"),
    "sunset": ("at sunset", "at dusk", "in the evening", "as the sun sets", "at sundown", "in the evening light"),
    "rain": ("in the rain", "on a rainy day", "in wet weather", "while it rains", "in a shower", "in pouring rain"),
}
PLACE_NOUNS = {
    "meadow": ("meadow", "a green field", "grass", "a meadow", "hills"),
    "sea": ("sea", "the beach", "ocean", "beach", "the seaside", "a beach", "coast"),
    "desert": ("desert", "sand dunes", "the desert", "a desert", "a cactus", "cactus"),
    "snow": ("snow", "winter", "a snowy landscape", "a snowman", "snowy hills"),
    "city": ("city", "the town", "tall buildings", "a city street", "skyscrapers", "a city"),
    "mountains": ("mountains", "a mountain", "snowy peaks", "the alps", "mountain peaks"),
}
TIME_NOUNS = {
    "day": ("day", "sunshine", "a sunny day", "blue sky", "daylight"),
    "night": ("night", "the moon", "a starry night", "darkness", "stars", "midnight", "dark sky", "moonlight"),
    "sunset": ("sunset", "dusk", "an evening", "the setting sun", "evening light"),
    "rain": ("rain", "a rainy day", "bad weather", "wet weather", "a rain shower"),
}
TIME_ADJECTIVES = {"day": "sunny", "night": "dark", "sunset": "evening", "rain": "rainy"}
RELATION_WORDS = {
    "next to": ("next to", "beside", "near", "by", "alongside", "close to"),
    "above": ("above", "over", "high above"),
    "under": ("under", "below", "beneath", "underneath"),
}
OPENINGS = ("a picture of", "a drawing of", "a photo of", "an image of", "there is", "a scene with", "look at", "i see")
# fmt: on


def random_description(scene: Scene, rng: random.Random) -> Description:
    """Something that is true of the scene: seldom all of it, as people search."""
    count = rng.choices(range(len(scene.things) + 1), (1, 8, 8, 8)[: len(scene.things) + 1])[0]
    chosen = rng.sample(scene.things, count)
    coloured, often = rng.choice((0, 0.7, 1)), rng.choice((0.2, 0.8))
    mentions = [_mention(thing, coloured, rng) for thing in chosen]
    place = scene.place if rng.random() < often else None
    time = scene.time if rng.random() < often or (count == 0 and place is None) else None
    relation = related(*chosen[:2]) if count > 1 and rng.random() < 0.75 else None
    return Description(tuple(mentions), place, time, relation)


def full_description(scene: Scene, rng: random.Random) -> Description:
    """All that can be said of the scene, its things in any order."""
    chosen = rng.sample(scene.things, len(scene.things))
    relation = related(*chosen[:2]) if len(chosen) > 1 else None
    return Description(tuple(Mention(thing.kind, thing.colour) for thing in chosen), scene.place, scene.time, relation)


def _mention(thing: Thing, coloured: float, rng: random.Random) -> Mention:
    kind = thing.kind
    if rng.random() < 0.04:
        kind = next((group for group, kinds in GROUPS.items() if kind in kinds), kind)
    return Mention(kind, thing.colour if rng.random() < coloured else None)


def phrase(description: Description, rng: random.Random) -> str:
    """The description in words: one of many ways to say it."""
    place, time = description.place, description.time
    if not description.things:
        return _phrase_setting(place, time, rng)
    if rng.random() < 0.12:
        return _phrase_keywords(description, rng)
    things = _phrase_things(description, rng)
    where = rng.choice(WHERE_WORDS[place]) if place else ""
    when = rng.choice(WHEN_WORDS[time]) if time else ""
    opening = rng.choice(OPENINGS) if rng.random() < 0.65 else ""
    posture = rng.choice(("", "", "", "standing", "seen", "shown")) if len(description.things) == 1 else ""
    orders = (
        (opening, things, posture, where, when),
        (opening, things, when, where),
        (where, when, ",", things),
        (when, rng.choice(("there is", "we see", "")), things, where),
    )
    words = " ".join(word for word in rng.choices(orders, (6, 3, 2, 2))[0] if word)
    return words.replace(" ,", ",").removeprefix(", ")


def _phrase_setting(place: str | None, time: str | None, rng: random.Random) -> str:
    if place and time:
        where, when = rng.choice(WHERE_WORDS[place]), rng.choice(WHEN_WORDS[time])
        return rng.choice((
            f"{rng.choice(PLACE_NOUNS[place])} {when}", f"{rng.choice(TIME_NOUNS[time])} {where}", f"{when} {where}",
            f"{TIME_ADJECTIVES[time]} {rng.choice(PLACE_NOUNS[place]).removeprefix('a ').removeprefix('the ')}",
        ))  # fmt: skip
    if place:
        return rng.choice(rng.choice((PLACE_NOUNS, PLACE_NOUNS, WHERE_WORDS))[place])
    return rng.choice(rng.choice((TIME_NOUNS, TIME_NOUNS, WHEN_WORDS))[time]) if time else "a picture"


def _phrase_keywords(description: Description, rng: random.Random) -> str:
    """Bare words, as some type them: the setting after the things."""
    words = [word for mention in description.things for word in (mention.colour, rng.choice(KIND_WORDS[mention.kind]))]
    setting = [rng.choice(PLACE_NOUNS[description.place])] if description.place else []
    setting += [rng.choice(TIME_NOUNS[description.time])] if description.time else []
    rng.shuffle(setting)
    return " ".join(word for word in (*words, *setting) if word)


def _phrase_things(description: Description, rng: random.Random) -> str:
    nouns = [_phrase_thing(mention, rng) for mention in description.things]
    if len(nouns) == 1:
        return nouns[0]
    if description.relation is None:
        joints = [", "] * (len(nouns) - 2) + [rng.choice((" and ", " and ", " with ", ", "))]
        return nouns[0] + "".join(joint + noun for joint, noun in zip(joints, nouns[1:], strict=True))
    related_pair = f"{nouns[0]} {rng.choice(RELATION_WORDS[description.relation])} {nouns[1]}"
    return " and ".join([related_pair, *nouns[2:]])


def _phrase_thing(mention: Mention, rng: random.Random) -> str:
    noun = rng.choice(KIND_WORDS[mention.kind]) if rng.random() < 0.6 else KIND_WORDS[mention.kind][0]
    if mention.colour is None:
        return _plural(noun) if rng.random() < 0.12 else _with_article(noun, rng)
    colour = rng.choice(COLOUR_WORDS[mention.colour]) if rng.random() < 0.35 else mention.colour
    if rng.random() < 0.1:
        return f"{_with_article(noun, rng)} {rng.choice(('that is', 'which is', 'in', 'coloured', 'painted'))} {colour}"
    return _with_article(f"{colour} {noun}", rng)


def _with_article(noun: str, rng: random.Random) -> str:
    article = "an" if noun[0] in "aeiou" else "a"
    forms = (f"{article} {noun}", noun, f"the {noun}", f"one {noun}", f"a little {noun}")
    return rng.choices(forms, (7, 2, 1.5, 0.3, 0.6))[0]


def _plural(noun: str) -> str:
    """Many for one, as people search ("cars at night")."""
    if noun.endswith(("fish", "transport")):
        return noun
    return noun[:-1] + "ies" if noun.endswith("y") else noun + "s"


def title(scene: Scene) -> str:
    """The scene in full and in plain words, first letter large."""
    first, *others = [
        f"{'an' if thing.colour == 'orange' else 'a'} {thing.colour} {thing.kind}" for thing in scene.things
    ]
    relation = related(*scene.things[:2]) if others else None
    # Three in a row are all next to each other; of three that are not, the first is above the other two.
    joint = ", " if len(others) == 2 and relation == "next to" else f" {relation} "
    words = joint.join([first, " and ".join(others)]) if others else first
    words += f" {WHERE_WORDS[scene.place][0]}" + (f" {WHEN_WORDS[scene.time][0]}" if scene.time != "day" else "")
    return words[0].upper() + words[1:]
