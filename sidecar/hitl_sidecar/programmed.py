"""The config in force: checked, compiled, and only as good as the hub's last word on it (SECURITY H1, DESIGN 14).

A config that does not compile, is not what its revision says, or belongs to another namespace changes nothing: the last
good one stays in force until `maxStaleness` has passed without the hub saying that it is still the current one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import orjson

from hitl.errors import InvalidInput, Unavailable
from hitl.policy.config import SCHEMA, compile_config, revision_of
from hitl.policy.digest import KEY_BYTES
from hitl.policy.evaluation import redactor_of
from hitl.policy.redaction import Redactor
from hitl.policy.spec import Config, Policy
from hitl.v1 import hub_pb2
from hitl.wire.identity import Identity, identity_from_proto


@dataclass(frozen=True, slots=True, eq=False)
class InForce:
    """A compiled config with everything that came along with it. A new one is a new object.

    Attributes:
        keys: the namespace's keys by id; never logged.
        redactor: hides secrets for this pod.
        minds_novelty: some policy asks what was seen before: hosts, and values of watched arguments.
    """

    config: Config
    identity: Identity
    keys: Mapping[str, bytes] = field(repr=False)
    redactor: Redactor
    minds_novelty: bool

    @property
    def key(self) -> bytes:
        """The key that new digests are made with."""
        return self.keys[self.config.key_id]


class Programmed:
    """Holds the one config in force; the hub's stream feeds it, every call reads it."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock`: monotonic seconds; a jump of the wall clock must neither age nor refresh a config."""
        self._clock = clock
        self._in_force: InForce | None = None
        self._confirmed = 0.0

    @property
    def revision(self) -> str:
        """Of the config in force; empty while there is none."""
        return self._in_force.config.revision if self._in_force else ""

    @property
    def age(self) -> float:
        """Seconds since the hub last said that the config in force is the current one; 0 while there is none."""
        return self._clock() - self._confirmed if self._in_force else 0.0

    def current(self) -> InForce:
        """The config to evaluate under. Unavailable: NO_CONFIG before the first one, STALE_CONFIG past maxStaleness."""
        in_force = self._in_force
        if in_force is None:
            raise Unavailable("NO_CONFIG", "the gate has no policy yet; it comes within seconds once the hub answers")
        most = in_force.config.settings.max_staleness
        if self._clock() - self._confirmed > most:
            raise Unavailable(
                "STALE_CONFIG",
                f"the gate has not heard from its hub for {self.age:.0f} s (at most {most} s are allowed), so its "
                f"policy may be out of date",
            )
        return in_force

    def accept(self, update: hub_pb2.ConfigUpdate) -> InForce:
        """Put a config into force. InvalidInput says why it cannot be, and leaves the one before in force."""
        if self._in_force and update.revision == self._in_force.config.revision:
            self.confirm(update.revision, update.age_seconds)  # sent again after a reconnect
            return self._in_force
        in_force = self._compiled(update)
        self._in_force = in_force
        self._confirmed = self._clock() - update.age_seconds
        return in_force

    def confirm(self, revision: str, age: float = 0.0) -> None:
        """The hub says which revision is the current one, as it knew so many seconds ago: a hub that has lost the API
        server keeps nobody's config fresh. Running another one counts as not hearing from the hub.
        """
        if self._in_force and revision == self._in_force.config.revision:
            self._confirmed = max(self._confirmed, self._clock() - age)

    def _compiled(self, update: hub_pb2.ConfigUpdate) -> InForce:
        try:
            document = orjson.loads(update.document_json)
        except orjson.JSONDecodeError as error:
            raise InvalidInput(f"the config is not JSON ({error})") from None
        if not isinstance(document, dict):
            raise InvalidInput(f"the config is a {type(document).__name__}, not an object")
        if document.get("schema") != SCHEMA:
            raise InvalidInput(
                f"schema {document.get('schema')!r} is unknown here; this sidecar compiles schema {SCHEMA}"
            )
        identity = identity_from_proto(update.identity)
        self._check_place(document, identity)
        revision, config = _compile(document)
        if revision != update.revision:
            raise InvalidInput(f"the config's revision is {revision}, not {update.revision[:80]!r} as the hub says")
        keys = {key.id: key.key for key in update.keys}
        if any(len(key) != KEY_BYTES for key in keys.values()):
            raise InvalidInput(f"a namespace key does not have {KEY_BYTES} bytes")
        if config.key_id not in keys:
            raise InvalidInput(f"the config wants key {config.key_id!r}, which was not sent along")
        return InForce(
            config,
            identity,
            keys,
            redactor=redactor_of(config, identity.agent),
            minds_novelty=any(map(_minds_novelty, (*config.policies, *config.baseline))),
        )

    def _check_place(self, document: Mapping[str, object], identity: Identity) -> None:
        """A config is for one namespace of one cluster, and a sidecar never moves (SECURITY H1)."""
        if document.get("namespaceUID") != identity.namespace_uid:
            raise InvalidInput(
                f"the config is for namespace uid {document.get('namespaceUID')!r}, "
                f"this pod is in {identity.namespace_uid}"
            )
        if document.get("baseline") not in ("present", "none"):
            raise InvalidInput("the config does not say whether there is a baseline (present or none)")
        if self._in_force is None:
            return
        before = self._in_force.identity
        for what, now, was in (
            ("namespace uid", identity.namespace_uid, before.namespace_uid),
            ("cluster uid", identity.cluster_uid, before.cluster_uid),
            ("workload", identity.agent.workload, before.agent.workload),
            ("service account", identity.agent.service_account, before.agent.service_account),
        ):
            if now != was:
                raise InvalidInput(f"the hub says {what} {now!r}, until now it was {was!r}: another hub answers")


def _minds_novelty(policy: Policy) -> bool:
    raisers = policy.raisers
    return bool(raisers.watched) or raisers.novelty is not None or raisers.anomaly is not None


def _compile(document: dict[str, object]) -> tuple[str, Config]:
    try:
        return revision_of(document), compile_config(document)
    except InvalidInput:
        raise
    except Exception as error:
        raise InvalidInput(f"the config cannot be read: {type(error).__name__}: {error}") from error
