"""From a CRD to the admission policy that refuses its unknown fields by name (SECURITY C5).

The objects of such a CRD keep fields that they do not declare, so a typo arrives where it can be named, instead of
being pruned in silence: a rule whose `limit` is misspelled would otherwise be stored as a rule without one. The policy
has a pair of expressions for every place where an object stands in the schema. They run on Kubernetes 1.30, whose CEL
has neither two-variable comprehensions nor `flatten`, and stay under the cost limit for one expression with the largest
policy that fits: hence no index is counted and no text is made unless something was found.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from hitl.policy import parse, parsing_matchers, parsing_rules

_KEEPS: Final = "x-kubernetes-preserve-unknown-fields"
# A key longer than this is cut in messages.
_LONGEST_KEY: Final = 60
_UNKNOWN: Final = "unknown key; "


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
    """An object of the schema: how it is reached from the root, and the fields that it knows."""

    steps: tuple[_Step, ...]
    known: tuple[str, ...]

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
        hints = _hints_of(place)
        number = known.number(place.known, hints)
        path = place.name or "the resource"
        validations.append(
            {
                "expression": _is_fine(place.steps, "object", f"variables.is{number}"),
                "messageExpression": f"{_first(place.steps, 'object', number, hinted=bool(hints), root=True)}",
                "message": f"{path} has a field that is not known there; kubectl hitl check -f FILE names it",
                "reason": "Invalid",
            }
        )
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
                    "object.exists(k, !(k in oldObject))",
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
        yield _Place(steps, (*own, *properties))
    for name, inner in properties.items():
        optional = name not in schema.get("required", ())
        yield from _places(inner, (*steps, _Field(name, optional, "type" not in inner)))
    if "items" in schema:
        yield from _places(schema["items"], (*steps, _Item()))
    if isinstance(schema.get("additionalProperties"), Mapping):
        yield from _places(schema["additionalProperties"], (*steps, _Entry()))


def _is_fine(steps: tuple[_Step, ...], base: str, known: str, depth: int = 0) -> str:
    """CEL: whether every object that is reached by these steps has known fields only."""
    if not steps:
        return f"{base}.all(k, k in {known})"
    step, rest = steps[0], steps[1:]
    match step:
        case _Field():
            inner = f"{base}.{step.name}"
            guards = [f"!has({inner})"] if step.optional else []
            guards += [f"type({inner}) != map"] if step.untyped else []
            return " || ".join([*guards, _is_fine(rest, inner, known, depth)])
        case _Item():
            return f"{base}.all(x{depth}, {_is_fine(rest, f'x{depth}', known, depth + 1)})"
        case _Entry():
            return f"{base}.all(x{depth}, {_is_fine(rest, f'{base}[x{depth}]', known, depth + 1)})"


def _first(
    steps: tuple[_Step, ...], base: str, number: int, depth: int = 0, *, hinted: bool, root: bool = False
) -> str:
    """CEL: path, key and next step of the first unknown field; evaluated only where there is one."""
    if not steps:
        dot = "" if root else "'.' + "
        return f"{base}.filter(k, !(k in variables.is{number})).map(k, {dot}{_said(number, hinted=hinted)})[0]"
    step, rest = steps[0], steps[1:]
    match step:
        case _Field():
            dot = "" if root else "."
            return f"'{dot}{step.name}' + {_first(rest, f'{base}.{step.name}', number, depth, hinted=hinted)}"
        case _Item():
            each = f"x{depth}"
            wrong = f"!({_is_fine(rest, each, f'variables.is{number}', depth + 1)})"
            inner = _first(rest, each, number, depth + 1, hinted=hinted)
            return (
                f"{base}.filter({each}, {wrong}).map({each}, '[' + string({base}.indexOf({each})) + ']' + {inner})[0]"
            )
        case _Entry():
            each = f"x{depth}"
            value = f"{base}[{each}]"
            wrong = f"!({_is_fine(rest, value, f'variables.is{number}', depth + 1)})"
            inner = _first(rest, value, number, depth + 1, hinted=hinted)
            return f"{base}.filter({each}, {wrong}).map({each}, '.' + {each} + {inner})[0]"


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
    key = f"(k.size() > {_LONGEST_KEY} ? k.substring(0, {_LONGEST_KEY}) : k)"
    return f"{key} + ': unknown field; ' + ({guess})"


def _hints_of(place: _Place) -> Mapping[str, str]:
    """What the compiler says of some keys that authors try; it says it of files, too."""
    found: Mapping[str, str]
    match place.name.split(".each")[0]:
        case "spec" if "rules" in place.known:
            found = parse.HINTS | (
                {} if "forbid" in place.known else {"forbid": "only a ClusterAgentPolicy can forbid"}
            )
        case "spec.rules[]":
            found = parsing_rules.HINTS
        case "spec.rules[].args.*" | "spec.rules[].ensure.*":
            found = parsing_matchers.HINTS
        case _:
            found = {}
    return {key: text.removeprefix(_UNKNOWN) for key, text in found.items()}


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
