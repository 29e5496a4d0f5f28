"""Hypothesis strategies for everything that a request can hold."""

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import strategies as st

from hitl.approvals.requests import (
    ApprovalRequest,
    CallShown,
    Category,
    Condition,
    Decision,
    DecisionKind,
    Kind,
    Note,
    NoteType,
    Proof,
    RequestSpec,
    RequestStatus,
    State,
    Touches,
    Verified,
)
from hitl.policy.verdicts import EscalationStep, Factor, OnTimeout, PolicyRef, Reason, Requirement, SecondFactor

WEEK = 7 * 86_400
words = st.text(max_size=12)
lists = st.lists(words, max_size=3).map(tuple)
counts = st.integers(0, 1000)
times = st.datetimes(
    min_value=datetime(2000, 1, 1),  # noqa: DTZ001 - Hypothesis wants naive bounds and adds the zone itself
    max_value=datetime(2200, 1, 1),  # noqa: DTZ001
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45))]),
)
json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)


def some(items: st.SearchStrategy) -> st.SearchStrategy:
    return st.lists(items, max_size=2).map(tuple)


requirements = st.builds(
    Requirement,
    name=words,
    approvals=st.integers(1, 10),
    any_of=lists,
    second_factor=st.sampled_from(SecondFactor),
    or_second_person=st.booleans(),
    origin=words,
)
proofs = st.builds(Proof, type=words, signature=words, factors=lists, time=times)
decisions = st.builds(
    Decision,
    reviewer=words,
    decision=st.sampled_from(DecisionKind),
    digest=words,
    request_uid=words,
    reason=words,
    category=st.none() | st.sampled_from(Category),
    groups=lists,
    arguments_patch=st.none() | st.dictionaries(words, json, max_size=3),
    answer=json,
    proof=st.none() | proofs,
    time=st.none() | times,
)
notes = st.builds(
    Note,
    reviewer=words,
    n=st.integers(1, 8),
    request_uid=words,
    type=st.sampled_from(NoteType),
    minutes=counts,
    reason=words,
    category=st.none() | st.sampled_from(Category),
    time=st.none() | times,
    proof=st.none() | proofs,
)
specs = st.builds(
    RequestSpec,
    kind=st.sampled_from(Kind),
    summary=words,
    requester=words,
    requester_uid=words,
    agent_pod=words,
    agent_pod_uid=words,
    service_account=words,
    workload=words,
    session_id=words,
    call=st.builds(
        CallShown,
        server=words,
        tool=words,
        arguments_preview=words,
        call_id=words,
        version=words,
        tool_definition_digest=words,
    ),
    digest=words,
    key=words,
    sameness=words,
    tier=st.sampled_from(["confirm", "multi-factor"]),
    requirements=some(requirements),
    timeout=st.integers(1, WEEK),
    on_timeout=st.sampled_from(OnTimeout),
    denials_to_end=st.integers(1, 9),
    denial_cooldown=st.integers(0, WEEK),
    escalation=some(st.builds(EscalationStep, after=st.integers(0, WEEK), to=lists, origin=words)),
    remind=st.none() | st.integers(1, WEEK),
    reason_required=lists,
    on_behalf_of=words,
    on_behalf_of_verified=st.booleans(),
    on_behalf_of_may_approve=st.booleans(),
    touches=st.builds(Touches, network=lists, reads=lists, writes=lists, environment=lists),
    effects=lists,
    undo=words,
    group_key=words,
    score=st.none() | st.integers(0, 100),
    factors=some(st.builds(Factor, name=words, points=st.integers(-100, 100), reason=words)),
    reasons=some(st.sampled_from(Reason)),
    rule=words,
    explanation=words,
    because=words,
    justification=words,
    alternatives=lists,
    context=words,
    policies=some(st.builds(PolicyRef, kind=words, namespace=words, name=words, generation=counts)),
    revision=words,
    checkpoint=words,
    traceparent=words,
    earlier=words,
    excluded=lists,
    patchable=lists,
)
statuses = st.builds(
    RequestStatus,
    state=st.sampled_from(State),
    expiration_time=st.none() | times,
    requirements=some(requirements),
    decisions=some(decisions),
    notes=some(notes),
    verified=some(
        st.builds(
            Verified,
            reviewer=words,
            groups=lists,
            second_factor=words,
            hardware=st.booleans(),
            refused=words,
            note=st.integers(0, 8),
        )
    ),
    conditions=some(
        st.builds(
            Condition,
            type=words,
            status=st.sampled_from(["True", "False", "Unknown"]),
            reason=words,
            message=words,
            last_transition_time=times,
        )
    ),
    rounds=counts,
    escalated=counts,
    notes_applied=counts,
    resolved_time=st.none() | times,
    consumed_time=st.none() | times,
    consumed_digest=words,
    consumed_by=words,
    result=st.sampled_from(["", "Succeeded", "Failed", "NotStarted"]),
)
requests = st.builds(
    ApprovalRequest,
    namespace=words,
    name=words,
    uid=words,
    version=words,
    created=times,
    spec=specs,
    status=statuses,
    labels=st.dictionaries(words, words, max_size=2),
)
