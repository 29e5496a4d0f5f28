"""The six actions in their order of strictness, and the four of them that are tiers."""

from enum import IntEnum
from typing import Self


class Action(IntEnum):
    """What a policy says about a call; a greater value is stricter. The numbers are those of the wire."""

    ALLOW = 1
    NOTIFY = 2
    CONFIRM = 3
    MULTI_FACTOR = 4
    SUGGEST = 5
    DENY = 6

    @property
    def word(self) -> str:
        """As written in YAML, JSON, command line and labels: ``Allow`` … ``MultiFactor`` … ``Deny``."""
        return _WORDS[self]

    @property
    def tier(self) -> str | None:
        """None|Notify|Confirm|MultiFactor as words for the four tiers; ``None`` for Suggest and Deny."""
        if self > Action.MULTI_FACTOR:
            return None
        return "None" if self is Action.ALLOW else self.word

    @property
    def holds(self) -> bool:
        """Whether a person must act before anything runs."""
        return Action.CONFIRM <= self <= Action.SUGGEST

    @property
    def kebab(self) -> str:
        """``spec.tier`` and the RBAC subresource: ``confirm`` or ``multi-factor``; a Suggestion uses confirm."""
        return "multi-factor" if self is Action.MULTI_FACTOR else "confirm"

    @classmethod
    def parse(cls, word: str) -> Self:
        """The action a word means; ValueError for any other word, also for the right one in other capitals."""
        for action, known in _WORDS.items():
            if known == word:
                return cls(action)
        raise ValueError(f"{word!r} is not an action; write one of {', '.join(_WORDS.values())}")


_WORDS = {
    Action.ALLOW: "Allow",
    Action.NOTIFY: "Notify",
    Action.CONFIRM: "Confirm",
    Action.MULTI_FACTOR: "MultiFactor",
    Action.SUGGEST: "Suggest",
    Action.DENY: "Deny",
}
