"""Which pods a policy is for: label selectors as Kubernetes means them."""

from collections.abc import Mapping

from hitl.policy.spec import PodSelector


def selects(selector: PodSelector, labels: Mapping[str, str]) -> bool:
    """Whether a pod with these labels is selected; the empty selector selects every pod."""
    return all(labels.get(key) == value for key, value in selector.match_labels.items()) and all(
        _fits(labels.get(key), operator, values) for key, operator, values in selector.match_expressions
    )


def _fits(value: str | None, operator: str, values: tuple[str, ...]) -> bool:
    match operator:
        case "In":
            return value in values
        case "NotIn":
            return value not in values  # also where the label is absent, as in Kubernetes
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case _:
            raise ValueError(f"{operator!r} is no selector operator")
