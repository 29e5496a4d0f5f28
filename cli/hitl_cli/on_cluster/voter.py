"""The caller as one who decides: what their entry carries, and what a refusal means for them."""

from hitl.approvals.requests import ApprovalRequest, Decision, DecisionKind, Note, NoteType, Proof
from hitl.approvals.requirements import fold, requirements_in_force
from hitl.errors import HitlError
from hitl.policy.escaping import as_plain
from hitl.policy.verdicts import SecondFactor
from hitl_cli.on_cluster.place_words import PlaceWords
from hitl_cli.on_cluster.refusals import in_words
from hitl_cli.on_cluster.viewer import ClusterViewer, factor_key
from hitl_cli.requests import tier_of
from hitl_cli.standing import FACTORS, Obstacle, Standing, brings_more_people
from hitl_cli.wishes import Wish

# What lets people do it, weakest first.
_ROLES = {"confirm": "hitl-reviewer", "multi-factor": "hitl-senior-reviewer"}
_BREAK_GLASS = "hitl-breakglass"
_OIDC = "oidc"
# How many of the caller's groups an error repeats.
_GROUPS_SHOWN = 8


class ClusterVoter:
    """The caller."""

    def __init__(self, place: PlaceWords, viewer: ClusterViewer) -> None:
        self._place = place
        self.viewer = viewer

    def decision(self, request: ApprovalRequest, wish: Wish) -> Decision:
        return Decision(
            reviewer=self.viewer.name,
            decision=wish.kind,
            digest=request.spec.digest,
            request_uid=request.uid,
            reason=as_plain(wish.reason.strip()),
            category=wish.category,
            groups=self._groups(request),
            arguments_patch=wish.patch,
            proof=self._proof(request, wish.kind),
        )

    def note(self, request: ApprovalRequest, kind: NoteType, *, minutes: int = 0, reason: str = "") -> Note:
        written = sum(fold(each.reviewer) == fold(self.viewer.name) for each in request.status.notes)
        return Note(
            reviewer=self.viewer.name,
            n=written + 1,
            request_uid=request.uid,
            type=kind,
            minutes=minutes,
            reason=as_plain(reason.strip()),
        )

    def refusal(self, request: ApprovalRequest, verb: str, standing: Standing) -> str:
        who_can = f"Who can: {self._place.hint('show', request.name, about=request)}"
        next_step = f"{who_can}{self._hand_on(request, verb)}"
        match standing.obstacle:
            case Obstacle.PARTY:
                return f"{standing.why_not}; another person must decide.\n{next_step}"
            case Obstacle.NOT_ALLOWED if self.viewer.me.cannot_be_a_reviewer:
                return (
                    f"you are {self.viewer.name}, {self.viewer.me.cannot_be_a_reviewer}; only people decide.\n"
                    "Log in as yourself, or name your own context: --context NAME. Who you are: kubectl auth whoami"
                )
            case Obstacle.NOT_ALLOWED:
                tier = request.spec.tier
                role = _ROLES[tier]
                if verb == "override":
                    role = _BREAK_GLASS
                    bindings = f"kubectl get rolebindings,clusterrolebindings -n {request.namespace} -o wide"
                    next_step = f"Who has it, for whom may look: {bindings} | grep {role}{self._hand_on(request, verb)}"
                return (
                    f"you may not {verb} {tier_of(request)} in namespace {request.namespace}.\n"
                    f"It needs verb {verb} on approvalrequests/{tier}; role {role} has it.\n{next_step}"
                )
            case Obstacle.NOT_IN_GROUP if standing.wanted:
                return (
                    f"you may not {verb} {request.name}: it is for group {' or '.join(standing.wanted)}, "
                    f"and {self._groups_shown()}.\n{next_step}"
                )
            case Obstacle.NO_FACTOR:
                factor = SecondFactor(standing.wanted[0])
                doing = "overriding" if verb == "override" else "approving"
                return (
                    f"{doing} {request.name} needs a {FACTORS[factor]}, and your login shows none "
                    f"({factor_key()}: {', '.join(self.viewer.factors) or 'nothing'}).\n"
                    "Log in again with it, so that your token says so; what the API server sees: kubectl auth whoami"
                )
            case _:
                return f"you may not {verb} {request.name}: {standing.why_not}.\n{next_step}"

    def refused(self, request: ApprovalRequest, error: HitlError) -> HitlError:
        return in_words(error, request, self._place)

    def not_counted(self, request: ApprovalRequest, why: str) -> str:
        return (
            f"your vote on {request.name} does not count: {why}\n"
            f"Who can: {self._place.hint('show', request.name, about=request)}"
        )

    def _hand_on(self, request: ApprovalRequest, verb: str) -> str:
        """How to ask more people, where this person may and the policy names some."""
        may = verb != "escalate" and not self.viewer.why_not("escalate", request)
        if not may or not brings_more_people(request, self._place.now()):
            return ""
        return f"    Hand it on: {self._place.hint('escalate', request.name, about=request)}"

    def _groups(self, request: ApprovalRequest) -> tuple[str, ...]:
        """Those of the caller's groups that somebody asks for: the API server tells everybody who may read them."""
        asked = {group for each in requirements_in_force(request) for group in each.any_of}
        asked |= {group for step in request.spec.escalation for group in step.to}
        return tuple(group for group in dict.fromkeys(self.viewer.me.groups) if group in asked)

    def _proof(self, request: ApprovalRequest, kind: DecisionKind) -> Proof | None:
        asked = any(each.second_factor is not SecondFactor.NONE for each in requirements_in_force(request))
        wanted = asked or kind is DecisionKind.OVERRIDDEN
        if kind is DecisionKind.DENIED or not wanted or not self.viewer.factors:
            return None
        return Proof(_OIDC, factors=self.viewer.factors, time=self._place.now().replace(microsecond=0))

    def _groups_shown(self) -> str:
        groups = [each for each in self.viewer.me.groups if each != "system:authenticated"]
        if not groups:
            return "you are in no group"
        more = f" and {len(groups) - _GROUPS_SHOWN} more" if len(groups) > _GROUPS_SHOWN else ""
        return f"you are in {', '.join(groups[:_GROUPS_SHOWN])}{more}"
