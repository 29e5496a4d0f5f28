"""From a CRD to the admission policy that refuses its unknown and its empty fields by name (SECURITY C5).

The objects of such a CRD keep fields that they do not declare, and what may be left out is nullable, so a typo and a
value that was forgotten arrive where they can be named, instead of being pruned in silence: a rule whose `limit` is
misspelled or empty would otherwise be stored as a rule without one. The policy has a pair of expressions for every
place where an object or a mapping stands in the schema. They run on Kubernetes 1.30, whose CEL has neither two-variable
comprehensions nor `flatten`, and stay under the cost limit for one expression with the largest policy that fits: hence
no index is counted and no text is made unless something was found.

An update by client-side `kubectl apply` is a merge patch, and what is null in one is gone before admission looks, also
inside lists. What kubectl was given stands in an annotation, so there its keys are named, without a path.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from hitl.policy import parse, parsing_matchers, parsing_people, parsing_rules

_KEEPS: Final = "x-kubernetes-preserve-unknown-fields"
# A key longer than this is cut in messages.
_LONGEST_KEY: Final = 60
_UNKNOWN: Final = "unknown key; "
_EMPTY: Final = "leave it out, or write what it should hold"
# Says of a schema that it takes any value, and so null as one that is meant.
_OF_ANY_VALUE: Final = frozenset((_KEEPS, "nullable", "description"))
_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
# A JSON text's strings, each with what makes it the key of a null.
_STRINGS: Final = r'"(?:[^"\\]|\\.)*"(?::null)?'


@dataclass(frozen=True, slots=True)
class _Field:
    """One step from an object to a member of it."""

    name: str
    optional: bool
    untyped: bool  # may also hold something else than an object


@dataclass(frozen=True, slots=True)
class _Item:
    """One step from a list to its items."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """One step from a mapping whose keys are the author's own to its values."""


_Step = _Field | _Item | _Entry


@dataclass(frozen=True, slots=True)
class _Place:
    """An object of the schema, or a mapping whose keys are the author's own.

    Attributes:
        steps: how it is reached from the root.
        known: the fields that an object knows; none for a mapping.
        nullable: those of them for which null is a value like any other.
    """

    steps: tuple[_Step, ...]
    known: tuple[str, ...]
    nullable: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """As authors read it: ``spec.rules[].args.*.each``."""
        parts = {_Item: "[]", _Entry: ".*"}
        return "".join(
            f".{step.name}" if isinstance(step, _Field) else parts[type(step)] for step in self.steps
        ).lstrip(".")


def keeps_unknown_fields(crd: Mapping[str, Any]) -> bool:
    """Whether the CRD is one whose unknown fields admission refuses."""
    return bool(_schema_of(crd).get(_KEEPS))


def strict_fields(crd: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The policy and its binding, as manifests."""
    plural = crd["spec"]["names"]["plural"]
    name = f"hitl-strict-fields-{plural}"
    places = list(_places(_schema_of(crd), ()))
    variables: list[dict[str, str]] = []
    validations: list[dict[str, str]] = []
    known = _Lists(variables)
    for place in places:
        path = place.name or "the resource"
        if place.known:
            hints = _hints_of(place)
            number = known.number(place.known, hints)
            leaf = _Leaf(_knows(number, place.nullable), _said(number, hinted=bool(hints)))
            message = f"{path} has a field that is not known there, or null; kubectl hitl check -f FILE names it"
        else:
            leaf = _Leaf("{base}[k] != null", f"{_KEY} + ': null; {_EMPTY}'")
            message = f"{path} has an entry that is null; kubectl hitl check -f FILE names it"
        validations.append(
            {
                "expression": _is_fine(place.steps, "object", leaf),
                "messageExpression": _first(place.steps, "object", leaf, root=True),
                "message": message,
                "reason": "Invalid",
            }
        )
    variables.extend(_applied_variables())
    validations.append(_APPLIED_VALIDATION)
    policy = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/part-of": "hitl"}},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {
                "resourceRules": [
                    {
                        "apiGroups": [crd["spec"]["group"]],
                        "apiVersions": ["*"],
                        "operations": ["CREATE", "UPDATE"],
                        "resources": [plural],
                    }
                ]
            },
            # What was stored before this policy stood must still be deletable, which may need updates of its metadata.
            "matchConditions": [
                {
                    "name": "changed",
                    "expression": "request.operation == 'CREATE' || object.spec != oldObject.spec || "
                    f"object.exists(k, !(k in oldObject)) || {_applied('object')} != {_applied('oldObject')}",
                }
            ],
            "variables": variables,
            "validations": validations,
        },
    }
    binding = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/part-of": "hitl"}},
        "spec": {"policyName": name, "validationActions": ["Deny", "Audit"]},
    }
    return [policy, binding]


class _Lists:
    """The lists of known fields, each a variable once.

    ``listN`` has them in the schema's order, ``isN`` for fast look-up; ``hintN`` is what to say of some unknown ones.
    """

    def __init__(self, variables: list[dict[str, str]]) -> None:
        self._variables = variables
        self._numbers: dict[tuple[str, ...], int] = {}

    def number(self, known: tuple[str, ...], hints: Mapping[str, str]) -> int:
        if known not in self._numbers:
            number = self._numbers[known] = len(self._numbers)
            self._add(f"list{number}", f"[{', '.join(map(_quoted, known))}]")
            self._add(f"is{number}", f"{{{', '.join(f'{_quoted(name)}: true' for name in known)}}}")
            if hints:
                entries = ", ".join(f"{_quoted(key)}: {_quoted(text)}" for key, text in hints.items())
                self._add(f"hint{number}", f"{{{entries}}}")
        return self._numbers[known]

    def _add(self, name: str, expression: str) -> None:
        self._variables.append({"name": name, "expression": expression})


def _schema_of(crd: Mapping[str, Any]) -> Mapping[str, Any]:
    schema: Mapping[str, Any] = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def _places(schema: Mapping[str, Any], steps: tuple[_Step, ...]) -> Iterator[_Place]:
    """Every object in a schema that keeps unknown fields, from the outside in."""
    properties: Mapping[str, Any] = schema.get("properties", {})
    if schema.get(_KEEPS) and properties:
        # Every resource has these, whether its schema says so or not.
        own = () if steps else tuple(name for name in ("apiVersion", "kind", "metadata") if name not in properties)
        nullable = tuple(name for name, inner in properties.items() if _OF_ANY_VALUE.issuperset(inner))
        yield _Place(steps, (*own, *properties), nullable)
    for name, inner in properties.items():
        optional = name not in schema.get("required", ())
        yield from _places(inner, (*steps, _Field(name, optional, "type" not in inner)))
    if "items" in schema:
        yield from _places(schema["items"], (*steps, _Item()))
    if isinstance(schema.get("additionalProperties"), Mapping):
        if schema["additionalProperties"].get("nullable"):
            yield _Place(steps, ())
        yield from _places(schema["additionalProperties"], (*steps, _Entry()))


def _applied(base: str) -> str:
    """CEL: what client-side `kubectl apply` was given, as JSON; empty if nobody applied so."""
    of = f"{base}.metadata.annotations"
    return f"(has({of}) && {_quoted(_APPLIED)} in {of} ? {of}[{_quoted(_APPLIED)}] : '')"


def _applied_variables() -> list[dict[str, str]]:
    # kubectl sorts keys, so what stands behind the first is the spec; before it, tools write creationTimestamp: null.
    spec = "variables.applied.substring(variables.appliedSpec)"
    return [
        {"name": "applied", "expression": _applied("object")},
        {"name": "appliedSpec", "expression": "variables.applied.indexOf('\"spec\":{')"},
        {
            "name": "emptied",
            "expression": "variables.appliedSpec < 0 || !variables.applied.contains(':null') ? [] : "
            f"{spec}.findAll({_quoted(_STRINGS)}).filter(t, t.endsWith(':null'))",
        },
    ]


_APPLIED_VALIDATION: Final = {
    "expression": "variables.emptied.size() == 0",
    "messageExpression": "'kubectl apply was given null for ' + variables.emptied.map(t, t.substring(1, t.size() - 6))"
    f".join(', ') + ', which it drops; {_EMPTY} (for equals: null write in: [null])'",
    "message": "kubectl apply was given a field that is null; kubectl hitl check -f FILE names it",
    "reason": "Invalid",
}


@dataclass(frozen=True, slots=True)
class _Leaf:
    """What is asked of every key `k` of an object, and what is said of the first for which it does not hold.

    Both are CEL; `fine` has ``{base}`` where the object stands.
    """

    fine: str
    said: str

    def at(self, base: str) -> str:
        return self.fine.replace("{base}", base)


def _is_fine(steps: tuple[_Step, ...], base: str, leaf: _Leaf, depth: int = 0) -> str:
    """CEL: whether what is asked holds of every object that is reached by these steps."""
    if not steps:
        return f"{base}.all(k, {leaf.at(base)})"
    step, rest = steps[0], steps[1:]
    match step:
        case _Field():
            inner = f"{base}.{step.name}"
            guards = [f"!has({inner})"] if step.optional else []
            guards += [f"type({inner}) != map"] if step.untyped else []
            return " || ".join([*guards, _is_fine(rest, inner, leaf, depth)])
        case _Item():
            return f"{base}.all(x{depth}, {_is_fine(rest, f'x{depth}', leaf, depth + 1)})"
        case _Entry():
            return f"{base}.all(x{depth}, {_is_fine(rest, f'{base}[x{depth}]', leaf, depth + 1)})"


def _first(steps: tuple[_Step, ...], base: str, leaf: _Leaf, depth: int = 0, *, root: bool = False) -> str:
    """CEL: path, key and next step of the first field that is not fine; evaluated only where there is one."""
    if not steps:
        dot = "" if root else "'.' + "
        return f"{base}.filter(k, !({leaf.at(base)})).map(k, {dot}{leaf.said})[0]"
    step, rest = steps[0], steps[1:]
    match step:
        case _Field():
            dot = "" if root else "."
            return f"'{dot}{step.name}' + {_first(rest, f'{base}.{step.name}', leaf, depth)}"
        case _Item():
            each = f"x{depth}"
            wrong = f"!({_is_fine(rest, each, leaf, depth + 1)})"
            inner = _first(rest, each, leaf, depth + 1)
            return (
                f"{base}.filter({each}, {wrong}).map({each}, '[' + string({base}.indexOf({each})) + ']' + {inner})[0]"
            )
        case _Entry():
            each = f"x{depth}"
            value = f"{base}[{each}]"
            wrong = f"!({_is_fine(rest, value, leaf, depth + 1)})"
            inner = _first(rest, value, leaf, depth + 1)
            return f"{base}.filter({each}, {wrong}).map({each}, '.' + {each} + {inner})[0]"


_KEY: Final = f"(k.size() > {_LONGEST_KEY} ? k.substring(0, {_LONGEST_KEY}) : k)"


def _knows(number: int, nullable: tuple[str, ...]) -> str:
    """CEL over `k`: whether it is a known field and not null where null means nothing."""
    value = "{base}[k] != null"
    meant = "".join(f" || k == {_quoted(name)}" for name in nullable)
    return f"k in variables.is{number} && ({value}{meant})" if meant else f"k in variables.is{number} && {value}"


def _said(number: int, *, hinted: bool) -> str:
    """CEL over `k`: the key and what to write instead; a near name is one that begins or ends alike."""
    near = (
        f"variables.list{number}.filter(n, n.lowerAscii() == k.lowerAscii() || "
        "(k.size() > 1 && n.lowerAscii().startsWith(k.lowerAscii().substring(0, 2))) || "
        "(k.size() > 3 && n.lowerAscii().endsWith(k.lowerAscii().substring(k.size() - 3))))"
    )
    known = f"'known here: ' + variables.list{number}.join(', ')"
    guess = f"{near}.size() > 0 ? 'did you mean ' + {near}.join(' or ') + '?' : {known}"
    if hinted:
        guess = f"k in variables.hint{number} ? variables.hint{number}[k] : ({guess})"
    return f"{_KEY} + (k in variables.is{number} ? ': null; {_EMPTY}' : ': unknown field; ' + ({guess}))"


def _hints_of(place: _Place) -> Mapping[str, str]:
    """What the compiler says of some keys that authors try; it says it of files, too."""
    found: Mapping[str, str]
    match place.name.split(".each")[0]:
        case "spec" if "rules" in place.known:
            found = parse.HINTS | (
                {} if "forbid" in place.known else {"forbid": "only a ClusterAgentPolicy can forbid"}
            )
        case "spec.approval":
            found = parsing_people.HINTS
        case "spec.rules[]":
            found = parsing_rules.HINTS
        case "spec.rules[].args.*" | "spec.rules[].ensure.*":
            found = parsing_matchers.HINTS
        case _:
            found = {}
    return {key: text.removeprefix(_UNKNOWN) for key, text in found.items()}


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
