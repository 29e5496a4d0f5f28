"""`python -m hitl_operator.manifests`: what an installation applies, as YAML for `kubectl apply --server-side -f -`."""

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

import yaml

from hitl.errors import InvalidInput
from hitl.kube.shipped import DEFAULT, Shipped, admission, crds, home, pods, roles

# In this order: policies stand before anybody could write what they guard.
_PARTS: Final[dict[str, Callable[[Shipped], tuple[dict[str, Any], ...]]]] = {
    "admission": admission,
    "crds": lambda _: crds(),
    "pods": pods,
    "roles": lambda shipped: (*home(shipped), *roles(shipped)),
}
# These refuse every pod of a gated namespace that nothing puts a sidecar into, so they come with injection alone.
_WITH_INJECTION: Final = "pods"


class _Quoting(yaml.SafeDumper):
    """Quotes y and n, which kubectl reads as true and false (YAML 1.1) and PyYAML does not."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - the library's signature
        """Spell everything out: what is compared and read by people carries no references."""
        return True


_Quoting.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("[yYnN]"), list("yYnN"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the manifests; 2 where the options name no possible installation."""
    parser = argparse.ArgumentParser(prog="python -m hitl_operator.manifests", description=__doc__)
    parser.add_argument("--namespace", default=DEFAULT.namespace, help="of the operator (%(default)s)")
    parser.add_argument("--service-account", default=DEFAULT.service_account, help="of the operator (%(default)s)")
    parser.add_argument(
        "--factor-key",
        default=DEFAULT.factor_key,
        help="key of userInfo.extra that carries the login's authentication methods (%(default)s)",
    )
    parser.add_argument("--factors", default=",".join(DEFAULT.factors), help="methods that count (%(default)s)")
    parser.add_argument("--hardware", default=",".join(DEFAULT.hardware), help="those that are keys (%(default)s)")
    parser.add_argument(
        "--injection",
        action="store_true",
        help="print also what refuses pods of gated namespaces that come without the operator's sidecar",
    )
    parser.add_argument("--only", choices=sorted(_PARTS), help="print this part alone")
    given = parser.parse_args(arguments)
    try:
        shipped = Shipped(
            given.namespace,
            given.service_account,
            given.factor_key,
            _words(given.factors),
            _words(given.hardware),
        )
    except InvalidInput as error:
        parser.error(str(error))
    parts = [given.only] if given.only else [part for part in _PARTS if given.injection or part != _WITH_INJECTION]
    documents = [document for part in parts for document in _PARTS[part](shipped)]
    sys.stdout.write(yaml.dump_all(documents, Dumper=_Quoting, sort_keys=False, allow_unicode=True, width=120))
    return 0


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for each in text.split(",") if (word := each.strip()))


if __name__ == "__main__":
    sys.exit(main())
