"""What an installation puts into a cluster: CRDs, the admission policies that enforce who may do what, and roles.

The files beside this one are the source, written with the names of a default installation; they can be read, and
applied, as they are. Another namespace, ServiceAccount or set of second factors is put in here. What the operator
compares with the cluster (SECURITY C4) is exactly what these functions return.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

from hitl.errors import InvalidInput

_HERE: Final = Path(__file__).parent
_DNS_LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_FACTOR_KEY: Final = re.compile(r"[a-z0-9][a-z0-9./-]{0,252}")
_FACTOR: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,62}")


@dataclass(frozen=True, slots=True)
class Shipped:
    """How one installation differs from the default one.

    Attributes:
        namespace: of the operator.
        service_account: of the operator; together with `namespace` the only writer of requests.
        factor_key: key of `userInfo.extra` under which the API server hands on a login's authentication methods
            (`amr`); an authentication configuration must map the claim to it.
        factors: methods that count as a second factor, as the identity provider spells them (RFC 8176). ``pwd`` must
            never be among them.
        hardware: those of `factors` that prove a hardware key; they satisfy ``secondFactor: Hardware``.
    """

    namespace: str = "hitl-system"
    service_account: str = "hitl-operator"
    factor_key: str = "hitl.dev/amr"
    factors: tuple[str, ...] = ("mfa", "otp", "hwk", "swk", "fpt", "face")
    hardware: tuple[str, ...] = ("hwk",)

    def __post_init__(self) -> None:
        """Refuse what is no such name: these values are put into the text of expressions."""
        for field, value, pattern in (
            ("namespace", self.namespace, _DNS_LABEL),
            ("service_account", self.service_account, _DNS_LABEL),
            ("factor_key", self.factor_key, _FACTOR_KEY),
            *(("factors", each, _FACTOR) for each in self.factors),
        ):
            if not pattern.fullmatch(value):
                raise InvalidInput(
                    f"{field}: {value!r} is not a name that an expression can carry; wanted {pattern.pattern}"
                )
        if not self.factors or "pwd" in self.factors:
            raise InvalidInput("factors: name at least one method, and never pwd: a password is the first factor")
        if foreign := sorted(set(self.hardware) - set(self.factors)):
            raise InvalidInput(f"hardware: {', '.join(foreign)} is not among factors; add it there too")

    @property
    def operator(self) -> str:
        """The operator's user name as the API server sees it."""
        return f"system:serviceaccount:{self.namespace}:{self.service_account}"


DEFAULT: Final = Shipped()

STANDARD: Final = "hitl"
"""Name of the SidecarStandard by which `pods` know what a sidecar of ours looks like."""

# libyaml's reads our files in a tenth of the time; it is not in every build of PyYAML.
_Loader: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


# Whoever changed a field owns it since: without --force-conflicts the command would stop at it.
APPLY: Final = "kubectl apply --server-side --force-conflicts -f -"
"""What takes manifests from a pipe, also where somebody changed them."""


def apply_command(part: str = "") -> str:
    """What puts an installation into a cluster, or puts it back as it was shipped.

    Args:
        part: crds, admission, pods or roles alone; empty: all of it, but for pods.
    """
    only = f" --only {part}" if part else ""
    return f"python -m hitl_operator.manifests{only} | {APPLY}"


def crds() -> tuple[dict[str, Any], ...]:
    """The CustomResourceDefinitions of this release, by file name."""
    return tuple(_documents("crds"))


def admission(shipped: Shipped = DEFAULT) -> tuple[dict[str, Any], ...]:
    """The ValidatingAdmissionPolicies and their bindings, by file name; each policy stands before its binding."""
    return _fitted("admission", shipped)


def pods(shipped: Shipped = DEFAULT) -> tuple[dict[str, Any], ...]:
    """The policies that keep gated pods gated (SECURITY E1), with their bindings; they need a
    SidecarStandard, which the operator makes.

    No vote rests on them, so they are no part of `admission`.
    """
    return _fitted("pods", shipped)


def sidecar_standard(sidecars: Sequence[tuple[str, Sequence[str]]], authorities: Sequence[str]) -> dict[str, Any]:
    """What the sidecar of a new pod may be; the operator writes it.

    Args:
        sidecars: image and whole command line of each that replicas inject.
        authorities: values of the environment variable that tells it whom to trust, certificates in PEM.
    """
    return {
        "apiVersion": "hitl.dev/v1alpha1",
        "kind": "SidecarStandard",
        "metadata": {"name": STANDARD, "labels": {"app.kubernetes.io/part-of": "hitl"}},
        "spec": {
            "sidecars": [{"image": image, "args": list(args)} for image, args in sidecars],
            "authorities": list(authorities),
        },
    }


def roles(shipped: Shipped = DEFAULT) -> tuple[dict[str, Any], ...]:
    """ClusterRoles for people; the operator's own rights with their bindings, which need its namespace."""
    return _fitted("roles", shipped)


def home(shipped: Shipped = DEFAULT) -> tuple[dict[str, Any], ...]:
    """The operator's namespace and ServiceAccount."""
    return (
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": shipped.namespace}},
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": shipped.service_account, "namespace": shipped.namespace},
        },
    )


def _fitted(folder: str, shipped: Shipped) -> tuple[dict[str, Any], ...]:
    fitted: list[dict[str, Any]] = [_replaced(document, shipped) for document in _documents(folder)]
    return tuple(fitted)


def _replaced(value: Any, shipped: Shipped) -> Any:
    """A copy with the default installation's names replaced by this one's."""
    match value:
        case {"kind": "ServiceAccount", "name": DEFAULT.service_account, **others}:
            return {"kind": "ServiceAccount", "name": shipped.service_account, **_replaced(others, shipped)}
        case dict():
            return {key: _replaced(item, shipped) for key, item in value.items()}
        case list():
            return [_replaced(item, shipped) for item in value]
        case DEFAULT.namespace:
            return shipped.namespace
        case str():
            return _PATTERN.sub(lambda found: texts(shipped)[found[0]], value)
    return value


@cache
def texts(shipped: Shipped) -> dict[str, str]:
    """What stands in an expression or message for a default installation, and what for this one."""
    return {
        DEFAULT.operator: shipped.operator,
        repr(DEFAULT.namespace): repr(shipped.namespace),
        DEFAULT.factor_key: shipped.factor_key,
        _listed(DEFAULT.factors): _listed(shipped.factors),
        _listed(DEFAULT.hardware): _listed(shipped.hardware),
    }


def _listed(words: tuple[str, ...]) -> str:
    return f"[{', '.join(repr(word) for word in words)}]"


def _documents(folder: str) -> Iterator[dict[str, Any]]:
    for file in sorted((_HERE / folder).glob("*.yaml")):
        yield from (document for document in yaml.load_all(file.read_text("utf-8"), _Loader) if document)


# All texts at once, so that nothing that was put in is replaced again.
_PATTERN: Final = re.compile("|".join(map(re.escape, texts(DEFAULT))))
