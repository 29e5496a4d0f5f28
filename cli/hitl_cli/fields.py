"""Reading a JSON object strictly: every key is asked for once, and what nobody asked for is refused by name."""

from typing import Any, TypeVar

from hitl.errors import InvalidCall

T = TypeVar("T")

# A call a minute for a week: more would only make `explain` slow, not different.
_MOST = 10_080


class Fields:
    """The keys of one object, each taken once; what is left at the end was misspelt."""

    def __init__(self, value: Any, place: str) -> None:
        self.place = place
        self._value = value
        if not isinstance(value, dict):
            raise InvalidCall(f"{place} is {_shown(value)}, wanted an object")
        self._left: dict[str, tuple[str, Any]] = {}
        self._known: list[str] = []
        for key, each in value.items():
            if (plain := _plain(key)) in self._left:
                raise InvalidCall(f'{place}: "{key}" and "{self._left[plain][0]}" are the same key')
            self._left[plain] = (key, each)

    def has(self, name: str) -> bool:
        """Whether a key was there."""
        return any(_plain(key) == _plain(name) for key in self._value)

    def whole(self, kind: type[T]) -> T:
        """The object itself."""
        assert isinstance(self._value, kind), "it was checked when it was made"
        return self._value

    def take(self, name: str, kind: Any, default: Any) -> Any:
        """One value of a type, or the default where it is absent."""
        self._known.append(name)
        if _plain(name) not in self._left:
            return default
        key, value = self._left.pop(_plain(name))
        # In Python a bool is an int; in a call it is not.
        if not isinstance(value, kind) or (isinstance(value, bool) and kind not in (bool, object)):
            raise InvalidCall(f'{self.place}: "{key}" is {_shown(value)}, wanted {_wanted(kind)}')
        return value

    def optional(self, name: str, kind: type[T]) -> T | None:
        """One value of a type, or None."""
        found: T | None = self.take(name, kind, None)
        return found

    def count(self, name: str) -> int:
        """A number of calls."""
        number: int = self.take(name, int, 0)
        if not 0 <= number <= _MOST:
            raise InvalidCall(f'{self.place}: "{name}" is {number}, wanted 0 to {_MOST}')
        return number

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts."""
        values = self.take(name, list, [])
        for value in values:
            if not isinstance(value, str):
                raise InvalidCall(f'{self.place}: "{name}" holds {_shown(value)}, wanted texts')
        return tuple(values)

    def below(self, name: str) -> "Fields | None":
        """The object under a key, or None."""
        value = self.take(name, object, None)
        return None if value is None else Fields(value, name)

    def each(self, name: str) -> "list[Fields]":
        """The objects of a list."""
        return [Fields(value, f"{name}[{at}]") for at, value in enumerate(self.take(name, list, []))]

    def nothing_left(self) -> None:
        """Refuse what nobody asked for."""
        for key, _ in self._left.values():
            raise InvalidCall(f'{self.place}: unknown key "{key}"; known here: {", ".join(self._known)}')


def _plain(name: str) -> str:
    return name.replace("_", "").lower()


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def _wanted(kind: Any) -> str:
    words = {str: "text", int: "a whole number", bool: "true or false", dict: "an object", list: "a list"}
    return words.get(kind, "a number")
