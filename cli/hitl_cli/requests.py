"""Requests as rows and words: what each surface of the command line calls the same things."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from hitl.approvals.keys import match_prefix, tells
from hitl.approvals.requests import ApprovalRequest, Kind, State
from hitl.errors import AmbiguousName, NotFound
from hitl.policy.verdicts import Reason
from hitl_cli.lines import shown

RESOURCE = "approvalrequest.hitl.dev"
# What a name may stand behind: as `-o name` prints it, and as kubectl takes it.
_BEFORE_NAMES = (f"{RESOURCE}/", "approvalrequests.hitl.dev/", "approvalrequests/", "approvalrequest/", "ar/")
# How many requests an ambiguous name lists: more are no help in telling them apart.
_CANDIDATES = 10

_TIERS = {"confirm": "Confirm", "multi-factor": "MultiFactor"}
_WHY = {
    Reason.NOVEL: "novel",
    Reason.EXTERNAL_IMPACT: "external",
    Reason.TAINTED_EGRESS: "tainted",
    Reason.ANOMALY: "anomaly",
    Reason.HIGH_RISK: "high risk",
    Reason.POLICY_BOUNDARY: "boundary",
    Reason.TOOL_CHANGED: "tool changed",
    Reason.LOW_CONFIDENCE: "confidence",
}


def tier_of(request: ApprovalRequest) -> str:
    """The tier as people read it; what is no call is named after its kind."""
    return _TIERS[request.spec.tier] if request.spec.kind is Kind.TOOL_CALL else request.spec.kind.value


def agent_of(request: ApprovalRequest) -> str:
    """The agent's short name: of ``deploy/support`` it is ``support``."""
    spec = request.spec
    return spec.workload.rpartition("/")[2] or spec.service_account or spec.agent_pod


def why_of(request: ApprovalRequest) -> str:
    """What held the call, in the words of UX 1. A score stands there only where it decided."""
    spec = request.spec
    if spec.rule:
        return f"rule {spec.rule.rpartition('#')[2]}"
    for reason, words in _WHY.items():
        if reason in spec.reasons:
            return words
    return f"score {spec.score}" if spec.score is not None else "-"


def tool_of(request: ApprovalRequest) -> str:
    """``server/tool``."""
    return f"{request.spec.call.server}/{request.spec.call.tool}"


@dataclass(frozen=True, slots=True)
class Group:
    """Similar requests that are shown as one row; most have one member."""

    members: tuple[ApprovalRequest, ...]

    @property
    def first(self) -> ApprovalRequest:
        """The one that ends first; it lends its name to the row."""
        return self.members[0]

    @property
    def label(self) -> str:
        """Its name, and how many more there are."""
        more = len(self.members) - 1
        return f"{self.first.name} +{more}" if more else self.first.name

    @property
    def what(self) -> str:
        """What would happen."""
        size = len(self.members)
        return self.first.spec.summary if size == 1 else f"{size} similar: {self.first.spec.summary}"


def grouped(requests: Iterable[ApprovalRequest]) -> list[Group]:
    """Requests with one group key in one namespace as one group, in the order of their first members.

    MultiFactor is decided one by one (SECURITY D4), so each stands alone.
    """
    groups: dict[tuple[str, str], list[ApprovalRequest]] = {}
    for request in requests:
        key = request.uid if request.spec.tier == "multi-factor" else request.spec.group_key or request.uid
        groups.setdefault((request.namespace, key), []).append(request)
    return [Group(tuple(members)) for members in groups.values()]


class Named(Protocol):
    """What an error about names says of the place; see `hitl_cli.place.Place`."""

    @property
    def where(self) -> str: ...

    def hint(self, *words: str) -> str: ...


def is_whole_name(request: ApprovalRequest, typed: str) -> bool:
    """Whether `typed` is the request's full name, not only the beginning of it."""
    return _bare(typed).lower() == request.name


def is_telling(request: ApprovalRequest, typed: str) -> bool:
    """Whether `typed` means this request and can mean no other one, also none that is asked for later."""
    return tells(request.name, _bare(typed))


def fits(request: ApprovalRequest, typed: str) -> bool:
    """Whether `typed` is the request's name or the beginning of it."""
    return request.name.startswith(_bare(typed).lower())


def _bare(typed: str) -> str:
    """`typed` without the resource before it."""
    name = typed.strip()
    before = next((each for each in _BEFORE_NAMES if name.lower().startswith(each)), "")
    return name[len(before) :]


def chosen(requests: Sequence[ApprovalRequest], typed: str, place: Named) -> ApprovalRequest:
    """The one request that `typed` means: its name, or a prefix that only one has; those that wait count first.

    Raises:
        AmbiguousName: several begin with it; the message lists them.
        NotFound: none does.
    """
    typed = _bare(typed)
    waiting = [request for request in requests if request.status.state is State.PENDING]
    try:
        try:
            name = match_prefix((request.name for request in waiting), typed)
        except NotFound:
            name = match_prefix((request.name for request in requests), typed)
    except NotFound as error:
        raise NotFound(
            f'no request is named "{shown(typed)}" or begins so in {place.where}; if there was one, it has ended and '
            f"was cleaned up\nWhich there are: {place.hint('list')}"
        ) from error
    except AmbiguousName as error:
        fitting = [request for request in requests if request.name in error.candidates]
        lines = [f"  {request.name}   {shown(request.spec.summary)}" for request in fitting[:_CANDIDATES]]
        if len(fitting) > _CANDIDATES:
            lines.append(f"  … {len(fitting) - _CANDIDATES} more")
        raise AmbiguousName(
            "\n".join(
                [
                    f'"{shown(typed)}" fits {len(fitting)} requests; give more letters',
                    *lines,
                    f"Look:  {place.hint('show', fitting[0].name)}    All:  {place.hint('list')}",
                ]
            ),
            error.candidates,
        ) from None
    named = [request for request in waiting if request.name == name] or [
        request for request in requests if request.name == name
    ]
    if len(named) > 1:
        spaces = tuple(request.namespace for request in named)
        raise AmbiguousName(f"{name} stands in several namespaces: {', '.join(spaces)}; say which: -n NS", spaces)
    return named[0]
