"""Whether the API server went back in time, as after a restore of etcd: PURE (SECURITY D2).

What was released after the moment that it went back to looks unreleased then, and could be released once more. Resource
versions of one collection only grow (Kubernetes says so since 1.35, etcd always did), so a lower one gives it away.
The record in the Secret goes back together with everything else: it is the running replicas that remember. A restore
during which none of them ran cannot be told from the cluster alone.
"""

import re
from collections.abc import Mapping
from typing import Final

from hitl_operator.cluster.enforcement_record import Back, Record
from hitl_operator.cluster.shared_record import ACKNOWLEDGE, NAME
from hitl_operator.standing import REWOUND, Lost

# "ana@example.com: restored from the snapshot of 02:00": who, and in words why.
_WORDS: Final = re.compile(r"\s*\S[^:]*:\s*\S.{7,}", re.DOTALL)


class Highest:
    """The highest version seen of each collection."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}

    def before(self) -> Mapping[str, int]:
        """What was seen so far: ask before a question is put, since answers may overtake each other."""
        return dict(self._seen)

    def take(self, before: Mapping[str, int], served: Mapping[str, int]) -> Back | None:
        """Note an answer to a question that was put when `before` was all that was seen."""
        for collection, version in served.items():
            if version < before.get(collection, 0):
                back = Back(before[collection], version)
                self._seen = dict(served)
                return back
            self._seen[collection] = max(self._seen.get(collection, 0), version)
        return None


def behind(record: Record, served: Mapping[str, int]) -> Back | None:
    """As `Highest.take`, by what the replicas wrote down. `record` was read before `served`."""
    highest = max(served.values())
    return Back(record.seen, highest) if highest < record.seen else None


def is_acknowledgement(words: str) -> bool:
    """Whether somebody says with his name and a reason that he knows."""
    return _WORDS.fullmatch(words) is not None


def lost(record: Record) -> Lost | None:
    """Why nothing is released, for an agent; None where nothing has to be acknowledged."""
    if record.rewound is None:
        return None
    return Lost(
        REWOUND,
        "The cluster's storage went back in time, so a call that ran may look as if it had not. Nothing runs until an "
        "administrator has said that he knows. Tell the user; try again later.",
    )


def how_to_acknowledge(namespace: str) -> str:
    """The command, for logs and Events."""
    return f"kubectl annotate secret {NAME} -n {namespace} {ACKNOWLEDGE}='YOUR-NAME: why it went back'"
