"""What kube-score finds and we want so, each with the reason. One that nothing matches any more is itself a finding."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Exclusion:
    """One finding that is no mistake.

    Attributes:
        check: kube-score's name of the check.
        about: the kind and name of the object, e.g. `Deployment hitl-operator`; empty: of any.
        summary: how kube-score words it; a check has several findings.
        reason: why it is right as it is.
    """

    check: str
    about: str
    summary: str
    reason: str


EXCLUSIONS = (
    Exclusion(
        "container-resources",
        "",
        "CPU limit is not set",
        "a throttled hub holds up calls that a person has released; memory and ephemeral storage are limited",
    ),
    Exclusion(
        "container-image-pull-policy",
        "",
        "ImagePullPolicy is not set to Always",
        "tags here are never moved, and digests cannot be: asking the registry at each start would keep the operator, "
        "and with it every new pod of a gated namespace, down while the registry is; image.pullPolicy sets it",
    ),
    Exclusion(
        "deployment-has-host-podantiaffinity",
        "Deployment hitl-operator",
        "Deployment does not have a host podAntiAffinity set",
        "topologySpreadConstraints spread the replicas over nodes and zones, which this check does not look at",
    ),
    Exclusion(
        "pod-networkpolicy",
        "Pod hitl-ready",
        "The pod does not have a matching NetworkPolicy",
        "it lives for the seconds of `helm test`, listens on nothing and has no ServiceAccount token",
    ),
)
