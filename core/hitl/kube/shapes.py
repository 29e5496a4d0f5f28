"""How classes are spelled in JSON or YAML: one table per class, read in both directions, so neither forgets a field.

Reading is strict: an unknown field is refused by its path (SECURITY C5), and a missing one too unless its class has a
default. Writing leaves out what equals its default, except where a table says `always`: terms that people agreed to
must still be readable when a default has changed.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from hitl.kube.codecs import Codec, Misfit, shown

T = TypeVar("T")

_ABSENT: Final[Any] = object()


@dataclass(frozen=True, slots=True)
class Field:
    """One line of a table.

    Attributes:
        key: as spelled; ``group.key`` nests one level.
        attribute: of the class.
        codec: how its value is spelled.
        default: what absence means where the class itself has no default.
        always: written even where it equals its default.
    """

    key: str
    attribute: str
    codec: Codec[Any]
    default: Any = _ABSENT
    always: bool = False


class Shape(Generic[T]):
    """The table of one class; itself a codec. Refuses at import to leave an attribute out.

    unspelled: attributes that are never written, and not what was written.
    """

    def __init__(self, made: type[T], *fields: Field, unspelled: frozenset[str] = frozenset()) -> None:
        self._made = made
        defaults = {each.name: _default_of(each) for each in dataclasses.fields(made)}  # type: ignore[arg-type]  # T is always a dataclass
        spelled = sorted(defaults.keys() - unspelled)
        assert spelled == sorted(field.attribute for field in fields), f"the table of {made.__name__} has gaps"
        self._lines: list[tuple[str, str, str, Codec[Any], Any, bool]] = []
        self._known: dict[str, dict[str, None]] = {"": {}}  # keys of each group, in the order of the table
        for field in fields:
            group, _, key = field.key.rpartition(".")
            default = defaults[field.attribute] if field.default is _ABSENT else field.default
            self._lines.append((group, key, field.attribute, field.codec, default, field.always))
            if group:
                self._known[""][group] = None
            self._known.setdefault(group, {})[key] = None

    def write(self, value: T) -> dict[str, Any]:
        document: dict[str, Any] = {}
        for group, key, attribute, codec, default, always in self._lines:
            found = getattr(value, attribute)
            if not always and default is not _ABSENT and found == default:
                continue
            try:
                written = codec.write(found)
            except Misfit as misfit:
                raise misfit.under(f".{group}.{key}" if group else f".{key}") from None
            (document.setdefault(group, {}) if group else document)[key] = written
        return document

    def read(self, document: Any) -> T:
        groups = {group: self._opened(document, group, known) for group, known in self._known.items()}
        found: dict[str, Any] = {}
        for group, key, attribute, codec, default, _ in self._lines:
            value = groups[group].get(key, _ABSENT)
            if value is not _ABSENT:
                try:
                    found[attribute] = codec.read(value)
                except Misfit as misfit:
                    raise misfit.under(f".{group}.{key}" if group else f".{key}") from None
            elif default is _ABSENT:
                raise Misfit("is missing", f".{group}.{key}" if group else f".{key}")
            else:
                found[attribute] = default
        return self._made(**found)

    def _opened(self, document: Any, group: str, known: Mapping[str, None]) -> Mapping[str, Any]:
        """The mapping of one group, "" for the whole, with nothing unknown in it."""
        path = f".{group}" if group else ""
        opened = document.get(group, {}) if group else document
        if not isinstance(opened, Mapping):
            raise Misfit(f"is {shown(opened)}, wanted an object", path)
        for key in opened:
            if key not in known:
                raise Misfit(f"is not a known field; known here: {', '.join(known)}", f"{path}.{key}")
        return opened

    @property
    def codec(self) -> Codec[T]:
        """This table as the codec of a field."""
        return Codec(self.write, self.read)


def _default_of(field: "dataclasses.Field[Any]") -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    return _ABSENT if field.default_factory is dataclasses.MISSING else field.default_factory()
