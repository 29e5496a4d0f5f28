"""People before a real API server: a namespace in which everybody may write, and every way of writing.

The RBAC rights of these people are wider than any role that is shipped: what is refused here is refused by the CRD or
by an admission policy. Requests are opened by the operator's own user, as the hub does it.
"""

import copy
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson

from cluster_fixtures import a_namespace
from control_plane.installing import applied
from control_plane.running import ControlPlane
from hitl.approvals.requests import RequestSpec
from hitl.errors import ApiError
from hitl.kube.access import Access
from hitl.kube.api import KubeAPI
from hitl.kube.paths import path_of
from hitl.kube.requests import API_VERSION, KIND, spec_to_json
from hitl.kube.shipped import DEFAULT
from stores.asking import a_spec

Json = dict[str, Any]
Change = Callable[[Json, Json], Json]
"""What somebody wants the status to be: (status as it is, whole request) -> status."""

SERIAL = itertools.count(1)
PATIENCE: Final = 60.0  # seconds for the API server, on a machine that others want as well


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with a login, and the roles that are bound to them beside the right to write anything."""

    name: str
    groups: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    factors: tuple[str, ...] = ()

    def with_factors(self, *factors: str) -> "Person":
        """The same person after logging in with these methods."""
        return Person(self.name, self.groups, self.roles, factors)


ANA = Person("ana@example.com", ("support-leads",), ("hitl-reviewer", "hitl-senior-reviewer"))
BO = Person("bo@example.com", ("support-leads", "oncall"), ("hitl-reviewer", "hitl-senior-reviewer"))
MIA = Person("mia@example.com", ("managers",), ("hitl-reviewer", "hitl-senior-reviewer"))
JUNIOR = Person("jun@example.com", ("juniors",), ("hitl-reviewer",))
# What role edit is made of: no controller puts it together here.
EDITOR = Person("edi@example.com", ("developers",), ("system:aggregate-to-edit", "system:aggregate-to-view"))
MASTER = Person("root@example.com", ("system:masters",))
AGENT = Person(
    "system:serviceaccount:shop:support",
    ("system:serviceaccounts", "system:serviceaccounts:shop"),
    ("hitl-senior-reviewer",),
)
# The operator's user, to see what it cannot do whatever it may.
OPERATOR = Person(
    DEFAULT.operator, ("system:serviceaccounts", f"system:serviceaccounts:{DEFAULT.namespace}", "system:authenticated")
)
EVERYBODY: Final = (ANA, BO, MIA, JUNIOR, EDITOR, AGENT, OPERATOR)

# More than any shipped role gives: RBAC stands in nobody's way here, only admission does.
_WRITES_ANYTHING: Final[Json] = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRole",
    "metadata": {"name": "hitl-test-writes-anything"},
    "rules": [
        {
            "apiGroups": ["hitl.dev"],
            "resources": ["approvalrequests", "approvalrequests/status"],
            "verbs": ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"],
        },
        {"apiGroups": [""], "resources": ["serviceaccounts/token"], "verbs": ["create"]},
    ],
}


@dataclass(frozen=True, slots=True)
class Court:
    """A namespace with people in it."""

    plane: ControlPlane
    namespace: str

    def api(self, person: Person) -> AbstractAsyncContextManager[KubeAPI]:
        """A client with this person's login."""
        extra = {DEFAULT.factor_key: person.factors} if person.factors else None
        access = Access.from_kubeconfig(self.plane.kubeconfig(person.name, person.groups, extra=extra))
        return KubeAPI.open(access, deadline=PATIENCE)

    def operator(self) -> AbstractAsyncContextManager[KubeAPI]:
        """A client with the operator's own rights."""
        return self.api(OPERATOR)

    def admin(self) -> AbstractAsyncContextManager[KubeAPI]:
        """A client in system:masters."""
        return KubeAPI.open(Access.from_kubeconfig(self.plane.admin), deadline=PATIENCE)

    def path(self, name: str | None = None, part: str | None = None) -> str:
        """Of the requests, of one, or of its status."""
        return path_of(API_VERSION, "approvalrequests", self.namespace, name, part)

    def let_in(self, person: Person, verbs: Mapping[str, tuple[str, str]]) -> None:
        """Somebody more, with roles of one right each: name -> (resource, verb)."""
        roles: list[Json] = [
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRole",
                "metadata": {"name": name},
                "rules": [{"apiGroups": ["hitl.dev"], "resources": [resource], "verbs": [verb]}],
            }
            for name, (resource, verb) in verbs.items()
        ]
        applied(self.plane, *roles, *(_binding(self.namespace, person, role) for role in person.roles))
        for resource, verb in verbs.values():
            name, _, part = resource.partition("/")
            self.until_allowed(person, verb, name, f"--subresource={part}")

    def let_in_group(self, group: str, *roles: str, member: Person) -> None:
        """Everybody of a group, with these roles; `member` is one of them."""
        subject = {"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": group}
        named = [_binding(self.namespace, replace(member, name=group), role) for role in roles]
        applied(self.plane, *({**each, "subjects": [subject]} for each in named))
        self.until_allowed(member, "approve", "ar", "--subresource=confirm")
        self.until_allowed(member, "delete", "ar")

    def until_allowed(self, person: Person, *wish: str) -> None:
        """Returns when the API server goes by a binding, which it does a moment after it was stored."""
        until = time.monotonic() + PATIENCE
        who = [f"--as={person.name}", *(f"--as-group={group}" for group in person.groups)]
        while True:
            said = self.plane.kubectl("auth", "can-i", *wish, "-n", self.namespace, *who)
            if said.stdout.strip() == "yes":
                return
            assert time.monotonic() < until, f"{person.name} may not {' '.join(wish)}: {said.stdout}{said.stderr}"

    async def ask(
        self, spec: RequestSpec | None = None, *, expires: float | None = None, status: Json | None = None
    ) -> Json:
        """A pending request, made as the operator makes it: created, and nothing written into it yet.

        expires: a deadline that the operator wrote into it, in seconds from now; at the earliest it is the second in
        which the request was made. status: what else the operator wrote.
        """
        asked = spec or a_spec(on_behalf_of="")
        body = {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": {"name": f"create-refund-{next(SERIAL):010d}", "namespace": self.namespace},
            "spec": orjson.loads(spec_to_json(asked)),
        }
        first = dict(status or {})
        async with self.operator() as api:
            made = await api.create(self.path(), body, field_manager="hitl-operator")
            if expires is not None:
                created = datetime.fromisoformat(made["metadata"]["creationTimestamp"])
                ends = max(created, datetime.now(UTC) + timedelta(seconds=expires))
                first["expirationTime"] = ends.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            return await self.outcome(made, first, api) if first else made

    async def outcome(self, request: Json, status: Json, api: KubeAPI) -> Json:
        """The operator's write: only the changed keys, as a compare-and-set is not needed here."""
        path = self.path(request["metadata"]["name"], "status")
        return await api.merge_patch(path, {"status": status}, field_manager="hitl-operator")

    async def end(self, request: Json, state: str) -> None:
        """What the operator writes when it comes to this state; where people must have approved, they have."""
        async with self.operator() as api:
            if state in ("Approved", "Consumed"):
                lead = BO if request["spec"]["requirements"][0].get("approvals", 1) > 1 else None
                for person in (ANA, lead):
                    if person is not None:
                        await self.vote(person, request, vote_of(person, request, groups=["support-leads"]))
                word = {"groups": ["support-leads"], "note": 0}
                voted = [{"reviewer": person.name, **word} for person in (ANA, lead) if person is not None]
                await self.outcome(request, {"verified": voted}, api)
            await self.outcome(request, ending(state), api)

    async def look(self, request: Json) -> Json:
        """The request as it is now."""
        async with self.admin() as api:
            return await api.get(self.path(request["metadata"]["name"]))

    async def vote(self, person: Person, request: Json, entry: Json | None = None, *, manager: str = "") -> Json:
        """A vote as `kubectl hitl` casts it: one entry, applied under a field manager of its own."""
        async with self.api(person) as api:
            return await applies(
                api, self.path(request["metadata"]["name"], "status"), request, [entry or vote_of(person, request)],
                manager=manager or f"hitl-{person.name}-{next(SERIAL)}",
            )  # fmt: skip


def a_court(plane: ControlPlane) -> Court:
    """A namespace with everybody in it."""
    namespace = a_namespace(plane)
    applied(plane, _WRITES_ANYTHING)
    bindings = [
        _binding(namespace, person, role)
        for person in EVERYBODY
        for role in (*person.roles, "hitl-test-writes-anything")
    ]
    applied(plane, *bindings)
    court = Court(plane, namespace)
    court.until_allowed(EVERYBODY[-1], "delete", "ar")  # bindings are taken up in order: the last one came last
    return court


def vote_of(person: Person, request: Json, decision: str = "Approved", /, **changes: Any) -> Json:
    """A decision as it should be, with `changes`; a value of None leaves the key out."""
    entry = {
        "reviewer": person.name,
        "decision": decision,
        "digest": request["spec"]["digest"],
        "requestUID": request["metadata"]["uid"],
        **({"reason": "not this customer"} if decision == "Denied" else {}),
        **changes,
    }
    return {key: value for key, value in entry.items() if value is not None}


def note_of(person: Person, request: Json, kind: str = "Extend", number: int = 1, /, **changes: Any) -> Json:
    """A note as it should be, with `changes`; a value of None leaves the key out."""
    entry = {
        "reviewer": person.name,
        "n": number,
        "requestUID": request["metadata"]["uid"],
        "type": kind,
        **({"minutes": 15} if kind == "Extend" else {}),
        **({"reason": "it went well"} if kind == "Feedback" else {}),
        **changes,
    }
    return {key: value for key, value in entry.items() if value is not None}


def proof(*factors: str, at: datetime | None = None, **changes: Any) -> Json:
    """What an OIDC login shows."""
    return {
        "type": "oidc",
        "factors": list(factors),
        "time": (at or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        **changes,
    }


def adding(entry: Json, where: str = "decisions") -> Change:
    """One more entry beside those that are there."""
    return lambda status, _: {**status, where: [*status.get(where, []), entry]}


def condition(kind: str, reason: str = "RequirementsMet", status: str = "True", message: str = "so it is") -> Json:
    """A condition as the operator writes it."""
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": "2026-05-01T02:47:10.123456Z",
    }


def ending(state: str) -> Json:
    """What the operator writes when a request comes to this state."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    reached = ["Approved", "Consumed"] if state == "Consumed" else [state]
    released = {"consumedTime": now, "consumedDigest": "19c4d2f8" * 8, "consumedBy": "pod-uid/epoch-1"}
    return {
        "state": state,
        "conditions": [condition(each) for each in reached],
        "resolvedTime": now,
        **(released if state == "Consumed" else {}),
    }


# --- every way of writing


async def replaces(api: KubeAPI, path: str, request: Json, status: Json | None, manager: str) -> Json:
    """PUT of the whole object."""
    whole = {key: value for key, value in request.items() if key != "status"}
    return await api.replace(path, whole if status is None else {**whole, "status": status}, field_manager=manager)


async def merges(api: KubeAPI, path: str, request: Json, status: Json | None, manager: str) -> Json:
    """JSON Merge Patch: null for what should go."""
    if status is None:
        return await api.merge_patch(path, {"status": None}, field_manager=manager)
    gone = {key: None for key in request.get("status", {}) if key not in status}
    return await api.merge_patch(path, {"status": {**gone, **status}}, field_manager=manager)


async def patches(api: KubeAPI, path: str, request: Json, status: Json | None, manager: str) -> Json:
    """JSON Patch: the status as a whole."""
    step = {"op": "remove", "path": "/status"} if status is None else {"op": "add", "path": "/status", "value": status}
    return await api.json_patch(path, [step], field_manager=manager)


async def takes_over(api: KubeAPI, path: str, request: Json, status: Json | None, manager: str) -> Json:
    """Server-side apply of the status as a whole, by force."""
    body = {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": request["metadata"]["name"]}}
    return await api.apply(path, {**body, "status": status or {}}, field_manager=manager, force=True)


async def applies(
    api: KubeAPI, path: str, request: Json, entries: Sequence[Json], *, manager: str, where: str = "decisions"
) -> Json:
    """Server-side apply of these entries alone, as reviewers do it."""
    body = {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": request["metadata"]["name"]}}
    return await api.apply(path, {**body, "status": {where: list(entries)}}, field_manager=manager)


WAYS: Final[Mapping[str, Callable[..., Any]]] = {
    "replace": replaces,
    "merge patch": merges,
    "JSON patch": patches,
    "apply": takes_over,
}


@dataclass(slots=True)
class Attempts:
    """What came of trying one thing in every way."""

    refusals: dict[str, ApiError] = field(default_factory=dict)
    went_through: list[str] = field(default_factory=list)

    @property
    def messages(self) -> list[str]:
        """What the API server said, each text once."""
        return list(dict.fromkeys(str(error) for error in self.refusals.values()))


async def tries(
    court: Court, person: Person, request: Json, change: Change | None, *, ways: Sequence[str] = tuple(WAYS)
) -> Attempts:
    """Lets somebody write the changed status in every way; None drops the status."""
    found = Attempts()
    live = await court.look(request)
    path = court.path(request["metadata"]["name"], "status")
    async with court.api(person) as api:
        for way in ways:
            status = None if change is None else change(copy.deepcopy(live["status"]), live)
            try:
                await WAYS[way](api, path, live, status, f"hitl-{next(SERIAL)}")
            except ApiError as error:
                found.refusals[way] = error
            else:
                found.went_through.append(way)
    return found


async def refused(
    court: Court,
    person: Person,
    request: Json,
    change: Change | None,
    words: str | tuple[str, ...],
    **options: Any,
) -> None:
    """Nobody gets through in any way, each is told (one of) `words`, and what is stored is what was stored."""
    before = await court.look(request)
    found = await tries(court, person, request, change, **options)
    assert found.went_through == [], f"{person.name} got through by {found.went_through}"
    assert {error.status for error in found.refusals.values()} <= {403, 422}, found.messages
    for message in found.messages:
        assert any(each in message for each in ((words,) if isinstance(words, str) else words)), message
    after = await court.look(request)
    assert after == before


def _binding(namespace: str, person: Person, role: str) -> Json:
    name = f"{role}-{person.name}".replace("@", ".").replace(":", ".")
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": name, "namespace": namespace},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": person.name}],
    }
