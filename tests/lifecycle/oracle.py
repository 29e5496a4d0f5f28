"""What must hold, in other words than the code's: the explorer believes nothing that the code says of itself."""

from datetime import timedelta

from hitl.approvals.requests import ApprovalRequest, DecisionKind
from lifecycle.scenario import ARGUMENTS, PATCH, Scenario, digest_of
from lifecycle.steps import Stage, State, Step

FINAL = {"Denied", "Expired", "Cancelled", "Consumed"}
OUTCOMES = FINAL | {"Approved"}


def true_outcomes(request: ApprovalRequest) -> dict[str, str]:
    return {
        each.type: repr(each) for each in request.status.conditions if each.type in OUTCOMES and each.status == "True"
    }


def broken_history(old: ApprovalRequest, new: ApprovalRequest) -> str:
    """I5: what a write took back, or added after the end."""
    before, after = true_outcomes(old), true_outcomes(new)
    if any(after.get(kind) != text for kind, text in before.items()):
        return "an outcome was changed or removed"
    if len(FINAL & set(after)) > 1 or {"Denied", "Approved"} <= set(after):
        return f"outcomes that exclude each other: {sorted(after)}"
    if any(each.type in OUTCOMES and each.status != "True" for each in new.status.conditions):
        return "an outcome that is not True"
    if "Consumed" in after and "Approved" not in after:
        return "consumed without approval"
    if FINAL & set(before) and after != before:
        return "something followed an end"
    if any(each not in new.status.decisions for each in old.status.decisions):
        return "a decision was changed or removed"
    if before and len(new.status.decisions) > len(old.status.decisions):
        return "a decision was added after an outcome"
    people = [each.reviewer.lower() for each in new.status.decisions]
    if len(set(people)) < len(people):
        return "somebody voted twice"
    if new.status.expiration_time and new.status.expiration_time > new.created + timedelta(days=7):
        return "open for more than seven days"
    return ""


def unfounded_approval(request: ApprovalRequest) -> str:
    """Approved means: in time, nobody verified said no, and enough people for one call, or an override."""
    approved = next((each for each in request.status.conditions if each.type == "Approved"), None)
    if approved is None:
        return ""
    status, spec = request.status, request.spec
    if status.expiration_time is None or approved.last_transition_time >= status.expiration_time:
        return "approved at or after the deadline"
    verified = {each.reviewer for each in status.verified if not each.refused}
    votes = [each for each in status.decisions if each.reviewer in verified and each.reviewer not in spec.excluded]
    if any(each.decision is DecisionKind.DENIED for each in votes):
        return "approved over a denial"
    if any(each.decision is DecisionKind.OVERRIDDEN and each.reason and each.proof is not None for each in votes):
        return ""
    places = sum(each.approvals for each in spec.requirements) or 1
    votes = [each for each in votes if each.decision is DecisionKind.APPROVED]
    plain = [each for each in votes if each.arguments_patch is None]
    edited = [each for each in votes if each.arguments_patch is not None]
    if len(plain) < places and not (edited and places == 1):
        return f"approved with {len(plain)} of {places} approvals"
    return ""


def wrong_digest(request: ApprovalRequest, digest: str, arguments: dict[str, object]) -> str:
    """I7: what ran is what people approved: the call as asked, or as one approving person changed it."""
    if request.status.consumed_digest != digest:
        return "what ran is not what is recorded"
    verified = {each.reviewer for each in request.status.verified if not each.refused}
    approvals = [
        each
        for each in request.status.decisions
        if each.decision is not DecisionKind.DENIED and each.reviewer in verified
    ]
    fits = set()
    if any(each.arguments_patch is None for each in approvals):
        fits.add(request.spec.digest)
    if any(each.arguments_patch is not None for each in approvals):
        fits.add(digest_of({**arguments, **PATCH}))
    return "" if digest in fits else "what ran is not what was approved"


def released_late(scenario: Scenario, request: ApprovalRequest, policy: int) -> str:
    """I8: the policy in force when the hub read the request live must not ask for more than what was approved."""
    asked_under = next(
        number
        for number, verdict in enumerate(scenario.policies)
        if verdict.terms is not None and verdict.terms.requirements == request.spec.requirements
    )
    return "" if policy <= asked_under else f"asked under policy {asked_under}, released under {policy}"


class Oracle:
    """Judges states and steps. Equal questions are asked once."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._judged: dict[tuple[int, int], tuple[str, str]] = {}

    def of_step(self, before: State, step: Step) -> tuple[str, str]:
        """(invariant, what is wrong) about a step; empty if nothing is."""
        if step.wrong:
            return "I5", f"our own code proposed a write that the life cycle refuses: {step.wrong}"
        if step.state.store is not before.store:
            for place, number in enumerate(step.state.store):
                old = before.store[place] if place < len(before.store) else number
                found = self._change(old, number)
                if found[0]:
                    return found
        if step.release is not None:
            place, policy = step.release
            request = self._stage.requests[step.state.store[place]]
            if late := released_late(self._stage.scenario, request, policy):
                return "I8", late
        if len(step.state.ran) > len(before.ran):
            return self._runs(step.state)
        return "", ""

    def of_end(self, state: State) -> tuple[str, str]:
        """At the last instant: whoever settles an open request must end it."""
        for number in state.store:
            request = self._stage.requests[number]
            if not request.status.state.is_terminal and not self._ends(number, state.instant):
                return "I13", f"{request.name} stays open after every deadline"
        return "", ""

    def _change(self, old: int, new: int) -> tuple[str, str]:
        if (old, new) not in self._judged:
            requests = self._stage.requests
            self._judged[old, new] = "", ""
            if wrong := broken_history(requests[old], requests[new]):
                self._judged[old, new] = "I5", wrong
            elif wrong := unfounded_approval(requests[new]):
                self._judged[old, new] = "I1", wrong
        return self._judged[old, new]

    def _runs(self, state: State) -> tuple[str, str]:
        for place, digest, by in state.ran:
            request = self._stage.requests[state.store[place]]
            if sum(place == other for other, _, _ in state.ran) > 1:
                return "I6", f"{request.name} released more than one execution"
            if request.status.state.value != "Consumed" or request.status.consumed_by != by:
                return "I6", f"{by} ran {request.name}, which was not released to it"
            held = {**ARGUMENTS, **PATCH} if request.spec.excluded else dict(ARGUMENTS)
            if wrong := wrong_digest(request, digest, held):
                return "I7", wrong
        return "", ""

    def _ends(self, number: int, instant: int) -> bool:
        key = (number, -1 - instant)
        if key not in self._judged:
            outcome = self._stage.code.settle(self._stage.requests[number], self._stage.scenario.now(instant)).outcome
            self._judged[key] = ("", "") if outcome.value in FINAL else ("I13", outcome.value)
        return not self._judged[key][0]
