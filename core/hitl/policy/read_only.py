"""Which scored calls autonomy ReadOnly lets run (DESIGN 18)."""

from functools import lru_cache
from itertools import pairwise
from typing import Final

from hitl.policy.capabilities import Observed
from hitl.policy.lexicon import VERBS, Act
from hitl.policy.names import word_set, words_of
from hitl.policy.spec import Level, ToolDeclaration

_READ_VERBS: Final = word_set("get list read search find show describe count view stat diff")
_DESTRUCTIVE: Final = frozenset(word for word, act in VERBS.items() if act is Act.DELETE) | word_set(
    "kill terminate overwrite revoke cancel stop"
)


def is_read_only(name: str, declaration: ToolDeclaration | None, rule_level: Level | None, observed: Observed) -> bool:
    """Whether autonomy ReadOnly lets a scored call run (DESIGN 18). No hint of the tool's own is looked at.

    Declared: level low or medium, without write, process or environment capability. Undeclared: the name begins with
    a reading word, no destructive word follows, and no argument is a URL, a command or SQL.
    """
    if (rule_level or Level.LOW) > Level.MEDIUM:
        return False
    if declaration is not None:
        if declaration.writes or declaration.process or declaration.environment:
            return False
        if declaration.level is not None:
            return declaration.level <= Level.MEDIUM
    return not (observed.has_url or observed.has_command or observed.has_sql) and _reads_by_name(name)


@lru_cache(maxsize=8192)
def _reads_by_name(name: str) -> bool:
    words = words_of(name.rpartition("/")[2])
    if not words or words[0] not in _READ_VERBS:
        return False
    if any(word in _DESTRUCTIVE for word in words[1:]):
        return False
    # "get_or_create", "find_and_replace": the second verb may be any that changes something.
    joined = (word for before, word in pairwise(words) if before in ("and", "or", "then"))
    return all(VERBS.get(word, Act.READ) in (Act.READ, Act.COMPUTE) for word in joined)
