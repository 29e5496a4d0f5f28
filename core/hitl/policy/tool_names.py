"""Reading a tool's name as verb and object."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import re2

from hitl.policy.lexicon import (
    CHANGED_NOUNS,
    GENERIC,
    INSTEAD,
    NOUNS_TOO,
    PRODUCTS,
    READ_NOUNS,
    STOPS,
    VERBS,
    Act,
    Stake,
    Thing,
)
from hitl.policy.names import words_of

_Class = TypeVar("_Class", Stake, Thing)

_OPENING = re2.compile(
    r"^(?:use (?:this|it)(?: tool)?(?: whenever| when| if)?[^,.]{0,60}? to "
    r"|this (?:tool|operation|function|endpoint) (?:is used to |can |will |allows you to )?"
    r"|(?:mcp )?tool (?:to|for|that) |allows? (?:you )?to |lets you |(?:a )?(?:powerful )?tool that )"
)
_WORDS = re2.compile(r"[a-z][a-z0-9_-]*")
# Acts that outweigh a harmless first verb: confirm_delete_group deletes.
_HARMLESS_FIRST = (Act.READ, Act.COMPUTE, Act.CREATE, Act.START)
_GRAVE = (Act.DELETE, Act.PAY, Act.GRANT, Act.DEPLOY, Act.STOP, Act.SEND)


@dataclass(frozen=True, slots=True)
class Reading:
    """A tool's name and words, understood as far as the lexicon goes.

    Attributes:
        words: of the name, lower case, without the server's.
        verb: the word that says what it does, empty if none does.
        act: the verb's class.
        shown: the object in words, for reasons.
        stake: what is at stake if the object is read.
        thing: what is at stake if it is changed.
        head_fact: the object's last noun is a mere fact about it (a status, a schema).
        only_nouns: every word of the name is a noun we know, so that no unknown verb can be among them.
        text: the description, lower case, without its opening phrase.
        names: argument names.
    """

    words: tuple[str, ...]
    verb: str
    act: Act
    shown: str
    stake: Stake
    thing: Thing
    head_fact: bool
    only_nouns: bool
    text: str
    names: frozenset[str]


def read_name(server: str, tool: str, description: str, arguments: Collection[str]) -> Reading:
    """Reads one tool."""
    words = list(words_of(tool))
    own = set(words_of(server))
    while len(words) > 1 and words[0] in own and words[0] not in VERBS:
        del words[0]
    if len(words) > 1 and words[-1] == "tool":
        del words[-1]
    text = _OPENING.sub("", description.strip().lower())
    told = _WORDS.findall(text[:160])
    verb, act, objects = _verb_and_object(words, told)
    stake_noun, stake = _first(objects, READ_NOUNS, Stake.UNKNOWN)
    thing_noun, thing = _changed(objects)
    act = INSTEAD.get((verb, thing), act)
    noun = stake_noun if act in (Act.READ, Act.COMPUTE) else thing_noun
    return Reading(
        words=tuple(words),
        verb=verb,
        act=act,
        shown=f'"{noun or " ".join(objects) or "nothing named"}"',
        stake=stake,
        thing=thing,
        head_fact=bool(objects) and READ_NOUNS.get(_singular(objects[-1])) is Stake.FACT,
        only_nouns=all(_is_known_noun(word) for word in words),
        text=text,
        names=frozenset("_".join(words_of(name)) for name in arguments),
    )


def _verb_and_object(words: list[str], told: list[str]) -> tuple[str, Act, tuple[str, ...]]:
    places = [
        at
        for at, word in enumerate(words)
        if word in VERBS and (at == 0 or word not in NOUNS_TOO or at == len(words) - 1)
    ]
    told_verb = next((lemma for lemma in _lemmas(told[0]) if lemma in VERBS), "") if told else ""
    told_object = _phrase(told[1:9]) if told_verb else ()
    if not places:
        objects = _phrase(words)
        if told_object and not any(map(_is_known_noun, objects)):
            objects = told_object
        return told_verb, VERBS.get(told_verb, Act.UNKNOWN), objects
    place = places[0]
    verb, act = words[place], VERBS[words[place]]
    for other in places[1:]:
        second = VERBS[words[other]]
        linked = words[other - 1] in ("and", "or", "then")
        follows = other == place + 1 and words[other] not in NOUNS_TOO and second in _GRAVE
        if act in _HARMLESS_FIRST and second not in _HARMLESS_FIRST[:2] and (linked or follows):
            place, verb, act = other, words[other], second
    objects = _phrase(words[place + 1 :]) or _phrase(words[:place])
    return verb, act, objects or told_object


def _phrase(words: Iterable[str]) -> tuple[str, ...]:
    """The words up to the first preposition: what follows it only says more about the object."""
    found: list[str] = []
    for word in words:
        if word in STOPS:
            if found:
                break
            continue
        if word not in ("a", "an", "the", "and", "or", "new", "existing", "specific", "my", "your", "its", "all"):
            found.append(word)
    return tuple(found)


def _first(objects: tuple[str, ...], table: Mapping[str, _Class], unknown: _Class) -> tuple[str, _Class]:
    """The noun that decides: the last known one, two words before one."""
    nouns = [_singular(word) for word in objects]
    for at in reversed(range(len(nouns))):
        pair = f"{objects[at - 1]}_{nouns[at]}" if at else ""
        for noun in (pair, nouns[at]):
            if noun in table:
                return noun.replace("_", " "), table[noun]
    return "", unknown


def _changed(objects: tuple[str, ...]) -> tuple[str, Thing]:
    noun, thing = _first(objects, CHANGED_NOUNS, Thing.UNKNOWN)
    if noun in GENERIC and len(objects) > 1:
        before, other = _first(objects[:-1], CHANGED_NOUNS, Thing.UNKNOWN)
        if other in (Thing.ACCESS, Thing.MONEY):
            return f"{before} {noun}", other
    return noun, thing


def _is_known_noun(word: str) -> bool:
    noun = _singular(word)
    return noun in READ_NOUNS or noun in CHANGED_NOUNS or noun in PRODUCTS or word.isdigit()


def _lemmas(word: str) -> tuple[str, ...]:
    """What a verb's third person or gerund may come from."""
    bases = [word]
    for ending, instead in (("ies", "y"), ("es", ""), ("s", ""), ("ing", ""), ("ing", "e")):
        if word.endswith(ending) and len(word) > len(ending) + 1:
            bases.append(word[: -len(ending)] + instead)
    return tuple(bases)


def _singular(noun: str) -> str:
    if noun in READ_NOUNS or noun in CHANGED_NOUNS:
        return noun
    for ending, instead in (("ies", "y"), ("sses", "ss"), ("xes", "x"), ("ches", "ch"), ("shes", "sh"), ("s", "")):
        if noun.endswith(ending):
            return noun[: -len(ending)] + instead
    return noun
