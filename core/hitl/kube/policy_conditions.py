"""The conditions in `status.conditions` of AgentPolicy, ClusterAgentPolicy and ToolServer: every type, every reason.

A condition has the shape of ``metav1.Condition``; `observedGeneration` is the generation of the spec that it speaks of.
Only the replica that leads writes them. A person reads the message; what programs may rely on is type, status and
reason. The CRDs repeat these words for ``kubectl explain``, and a test holds the two together.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class PolicyCondition(StrEnum):
    """The types. A condition that is absent has not been looked at yet."""

    ACCEPTED = "Accepted"
    """Whether the spec of `observedGeneration` was understood and may take effect. Always there. False means that the
    last generation that was accepted stays in force, and none if there never was one (SECURITY C6)."""

    PROGRAMMED = "Programmed"
    """Whether the sidecars of the pods that the policy selects run it. Not on ToolServers."""

    REVIEWERS_AVAILABLE = "ReviewersAvailable"
    """Whether the groups that the policy names may decide what it holds. Not on ToolServers."""

    REVIEW_DUE = "ReviewDue"
    """Whether somebody should read the policy again. Only where `spec.review` asks for it. Not on ToolServers."""


class Accepted(StrEnum):
    """Reasons of `Accepted`."""

    VALID = "Valid"
    """True. The spec compiles; the message says how many rules there are and what each of them matches."""

    INVALID = "Invalid"
    """False. Something in the spec cannot be read; the message names each field's path, what was found and what to
    write. A generation accepted before stays in force, and past `invalidGrace` (15 m) what it lets run by itself waits
    for a person."""

    CONFLICTED = "Conflicted"
    """False. The spec compiles alone, but not together with others: a ClusterAgentPolicy forbids what it uses, or two
    ToolServers fall on one name. The message names the other resource."""

    FACTOR_UNAVAILABLE = "FactorUnavailable"
    """False. A requirement asks for a second factor that nobody could give here, so every call it holds would expire.
    Clears by itself once the factor is configured."""

    EXCESSIVE = "Excessive"
    """False. The namespace has more policies and tool servers, or heavier ones, than are read of one namespace; the
    oldest are. The message says how many there are and may be. Clears by itself once some of them are removed."""


class Programmed(StrEnum):
    """Reasons of `Programmed`."""

    CURRENT = "Current"
    """True. Every connected sidecar that the policy selects runs the accepted generation."""

    PENDING = "Pending"
    """False. Some of them still run an earlier one; `status.sidecars.behind` names them. Usually for seconds."""

    REJECTED = "Rejected"
    """False. At least one of them refused the config that holds the policy, and keeps the one before; the message gives
    its reason. Typical while an upgrade is half done."""

    UNMATCHED = "Unmatched"
    """Unknown. No connected sidecar is selected: no pod of the namespace has these labels, or none that has them
    carries a sidecar (`kubectl hitl status`)."""

    NOT_ACCEPTED = "NotAccepted"
    """False. No generation of it was ever accepted, so no sidecar can run it; see `Accepted`."""


class ReviewersAvailable(StrEnum):
    """Reasons of `ReviewersAvailable`. Asked with a SubjectAccessReview for each named group and tier, every minute."""

    BOUND = "Bound"
    """True. Every group that the policy names may approve the tiers it is asked about, in every namespace concerned."""

    UNBOUND = "Unbound"
    """False. At least one group may not, and nobody is bound by name there: calls that need it expire. The message
    names group, tier and the role that would help."""

    BOUND_BY_NAME = "BoundByName"
    """Unknown. No binding names a group, but people are bound by name there; whether they are in the group is known to
    their login alone."""

    UNNAMED = "Unnamed"
    """Unknown. The policy names no group: whoever the API server lets approve the tier decides, which nobody can
    count."""

    UNCHECKED = "Unchecked"
    """Unknown. The API server did not answer the question, or the operator may not read who is bound by name; it is
    asked again within a minute."""


class ReviewDue(StrEnum):
    """Reasons of `ReviewDue`."""

    OVERDUE = "Overdue"
    """True. Longer than `spec.review.every` ago that the spec was changed or marked as reviewed."""

    REVIEWED = "Reviewed"
    """False. Changed or marked as reviewed within `spec.review.every`; the message says when the next look is due."""


REASONS: Final[Mapping[PolicyCondition, type[StrEnum]]] = {
    PolicyCondition.ACCEPTED: Accepted,
    PolicyCondition.PROGRAMMED: Programmed,
    PolicyCondition.REVIEWERS_AVAILABLE: ReviewersAvailable,
    PolicyCondition.REVIEW_DUE: ReviewDue,
}
"""The reasons of each type; no other is ever written."""
