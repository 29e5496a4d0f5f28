import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from hitl.v1 import gate_pb2 as _gate_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SyncRequest(_message.Message):
    __slots__ = ("hello", "ack", "activity", "audit_head", "usage")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    ACTIVITY_FIELD_NUMBER: _ClassVar[int]
    AUDIT_HEAD_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    ack: Ack
    activity: Activity
    audit_head: AuditHead
    usage: Usage
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., ack: _Optional[_Union[Ack, _Mapping]] = ..., activity: _Optional[_Union[Activity, _Mapping]] = ..., audit_head: _Optional[_Union[AuditHead, _Mapping]] = ..., usage: _Optional[_Union[Usage, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("epoch", "schemas", "compiler", "revision")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SCHEMAS_FIELD_NUMBER: _ClassVar[int]
    COMPILER_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    epoch: str
    schemas: _containers.RepeatedScalarFieldContainer[int]
    compiler: str
    revision: str
    def __init__(self, epoch: _Optional[str] = ..., schemas: _Optional[_Iterable[int]] = ..., compiler: _Optional[str] = ..., revision: _Optional[str] = ...) -> None: ...

class Ack(_message.Message):
    __slots__ = ("revision", "accepted", "reason")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    revision: str
    accepted: bool
    reason: str
    def __init__(self, revision: _Optional[str] = ..., accepted: _Optional[bool] = ..., reason: _Optional[str] = ...) -> None: ...

class Activity(_message.Message):
    __slots__ = ("records",)
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    records: _containers.RepeatedCompositeFieldContainer[ActivityRecord]
    def __init__(self, records: _Optional[_Iterable[_Union[ActivityRecord, _Mapping]]] = ...) -> None: ...

class ActivityRecord(_message.Message):
    __slots__ = ("time", "action", "tool", "why", "summary")
    TIME_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    TOOL_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    time: _timestamp_pb2.Timestamp
    action: _gate_pb2.Action
    tool: str
    why: str
    summary: str
    def __init__(self, time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., action: _Optional[_Union[_gate_pb2.Action, str]] = ..., tool: _Optional[str] = ..., why: _Optional[str] = ..., summary: _Optional[str] = ...) -> None: ...

class Usage(_message.Message):
    __slots__ = ("policies",)
    POLICIES_FIELD_NUMBER: _ClassVar[int]
    policies: _containers.RepeatedCompositeFieldContainer[PolicyUsage]
    def __init__(self, policies: _Optional[_Iterable[_Union[PolicyUsage, _Mapping]]] = ...) -> None: ...

class PolicyUsage(_message.Message):
    __slots__ = ("policy", "action", "calls")
    POLICY_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    CALLS_FIELD_NUMBER: _ClassVar[int]
    policy: str
    action: _gate_pb2.Action
    calls: int
    def __init__(self, policy: _Optional[str] = ..., action: _Optional[_Union[_gate_pb2.Action, str]] = ..., calls: _Optional[int] = ...) -> None: ...

class AuditHead(_message.Message):
    __slots__ = ("epoch", "sequence", "head")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    HEAD_FIELD_NUMBER: _ClassVar[int]
    epoch: str
    sequence: int
    head: str
    def __init__(self, epoch: _Optional[str] = ..., sequence: _Optional[int] = ..., head: _Optional[str] = ...) -> None: ...

class SyncResponse(_message.Message):
    __slots__ = ("config", "heartbeat", "trust")
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    TRUST_FIELD_NUMBER: _ClassVar[int]
    config: ConfigUpdate
    heartbeat: Heartbeat
    trust: TrustBundle
    def __init__(self, config: _Optional[_Union[ConfigUpdate, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., trust: _Optional[_Union[TrustBundle, _Mapping]] = ...) -> None: ...

class TrustBundle(_message.Message):
    __slots__ = ("ca_pem",)
    CA_PEM_FIELD_NUMBER: _ClassVar[int]
    ca_pem: str
    def __init__(self, ca_pem: _Optional[str] = ...) -> None: ...

class ConfigUpdate(_message.Message):
    __slots__ = ("document_json", "revision", "keys", "identity", "age_seconds")
    DOCUMENT_JSON_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    AGE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    document_json: bytes
    revision: str
    keys: _containers.RepeatedCompositeFieldContainer[NamespaceKey]
    identity: AgentIdentity
    age_seconds: int
    def __init__(self, document_json: _Optional[bytes] = ..., revision: _Optional[str] = ..., keys: _Optional[_Iterable[_Union[NamespaceKey, _Mapping]]] = ..., identity: _Optional[_Union[AgentIdentity, _Mapping]] = ..., age_seconds: _Optional[int] = ...) -> None: ...

class NamespaceKey(_message.Message):
    __slots__ = ("id", "key")
    ID_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    id: str
    key: bytes
    def __init__(self, id: _Optional[str] = ..., key: _Optional[bytes] = ...) -> None: ...

class AgentIdentity(_message.Message):
    __slots__ = ("namespace", "namespace_uid", "cluster_uid", "service_account", "workload", "pod_name", "pod_uid", "labels")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_UID_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_UID_FIELD_NUMBER: _ClassVar[int]
    SERVICE_ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    WORKLOAD_FIELD_NUMBER: _ClassVar[int]
    POD_NAME_FIELD_NUMBER: _ClassVar[int]
    POD_UID_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    namespace_uid: str
    cluster_uid: str
    service_account: str
    workload: str
    pod_name: str
    pod_uid: str
    labels: _containers.ScalarMap[str, str]
    def __init__(self, namespace: _Optional[str] = ..., namespace_uid: _Optional[str] = ..., cluster_uid: _Optional[str] = ..., service_account: _Optional[str] = ..., workload: _Optional[str] = ..., pod_name: _Optional[str] = ..., pod_uid: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ("revision", "age_seconds")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    AGE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    revision: str
    age_seconds: int
    def __init__(self, revision: _Optional[str] = ..., age_seconds: _Optional[int] = ...) -> None: ...

class HoldRequest(_message.Message):
    __slots__ = ("ref", "open", "watch", "drop")
    REF_FIELD_NUMBER: _ClassVar[int]
    OPEN_FIELD_NUMBER: _ClassVar[int]
    WATCH_FIELD_NUMBER: _ClassVar[int]
    DROP_FIELD_NUMBER: _ClassVar[int]
    ref: str
    open: OpenHold
    watch: WatchHold
    drop: DropHold
    def __init__(self, ref: _Optional[str] = ..., open: _Optional[_Union[OpenHold, _Mapping]] = ..., watch: _Optional[_Union[WatchHold, _Mapping]] = ..., drop: _Optional[_Union[DropHold, _Mapping]] = ...) -> None: ...

class OpenHold(_message.Message):
    __slots__ = ("spec_json", "epoch", "audit_head", "supersedes")
    SPEC_JSON_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    AUDIT_HEAD_FIELD_NUMBER: _ClassVar[int]
    SUPERSEDES_FIELD_NUMBER: _ClassVar[int]
    spec_json: bytes
    epoch: str
    audit_head: AuditHead
    supersedes: bool
    def __init__(self, spec_json: _Optional[bytes] = ..., epoch: _Optional[str] = ..., audit_head: _Optional[_Union[AuditHead, _Mapping]] = ..., supersedes: _Optional[bool] = ...) -> None: ...

class WatchHold(_message.Message):
    __slots__ = ("handle", "epoch", "holding")
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    HOLDING_FIELD_NUMBER: _ClassVar[int]
    handle: str
    epoch: str
    holding: bool
    def __init__(self, handle: _Optional[str] = ..., epoch: _Optional[str] = ..., holding: _Optional[bool] = ...) -> None: ...

class DropHold(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class HoldResponse(_message.Message):
    __slots__ = ("ref", "handle", "outcome", "ready", "reason_code", "message", "reviews", "expire_time", "arguments_patch_json", "editor", "checkpoint", "reported_result", "create_time", "terms_json", "attached", "proofs", "traceparent")
    REF_FIELD_NUMBER: _ClassVar[int]
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    REASON_CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    REVIEWS_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_PATCH_JSON_FIELD_NUMBER: _ClassVar[int]
    EDITOR_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    REPORTED_RESULT_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    TERMS_JSON_FIELD_NUMBER: _ClassVar[int]
    ATTACHED_FIELD_NUMBER: _ClassVar[int]
    PROOFS_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    ref: str
    handle: str
    outcome: _gate_pb2.Outcome
    ready: bool
    reason_code: str
    message: str
    reviews: _containers.RepeatedCompositeFieldContainer[_gate_pb2.Review]
    expire_time: _timestamp_pb2.Timestamp
    arguments_patch_json: bytes
    editor: str
    checkpoint: str
    reported_result: _gate_pb2.Result
    create_time: _timestamp_pb2.Timestamp
    terms_json: bytes
    attached: bool
    proofs: _containers.RepeatedScalarFieldContainer[str]
    traceparent: str
    def __init__(self, ref: _Optional[str] = ..., handle: _Optional[str] = ..., outcome: _Optional[_Union[_gate_pb2.Outcome, str]] = ..., ready: _Optional[bool] = ..., reason_code: _Optional[str] = ..., message: _Optional[str] = ..., reviews: _Optional[_Iterable[_Union[_gate_pb2.Review, _Mapping]]] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., arguments_patch_json: _Optional[bytes] = ..., editor: _Optional[str] = ..., checkpoint: _Optional[str] = ..., reported_result: _Optional[_Union[_gate_pb2.Result, str]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., terms_json: _Optional[bytes] = ..., attached: _Optional[bool] = ..., proofs: _Optional[_Iterable[str]] = ..., traceparent: _Optional[str] = ...) -> None: ...

class ConsumeRequest(_message.Message):
    __slots__ = ("handle", "digest", "revision", "epoch", "original_digest", "audit_head")
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    ORIGINAL_DIGEST_FIELD_NUMBER: _ClassVar[int]
    AUDIT_HEAD_FIELD_NUMBER: _ClassVar[int]
    handle: str
    digest: str
    revision: str
    epoch: str
    original_digest: str
    audit_head: AuditHead
    def __init__(self, handle: _Optional[str] = ..., digest: _Optional[str] = ..., revision: _Optional[str] = ..., epoch: _Optional[str] = ..., original_digest: _Optional[str] = ..., audit_head: _Optional[_Union[AuditHead, _Mapping]] = ...) -> None: ...

class ConsumeResponse(_message.Message):
    __slots__ = ("release", "outcome", "reason_code", "message", "reviews")
    class Release(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        RELEASE_UNSPECIFIED: _ClassVar[ConsumeResponse.Release]
        RELEASE_RELEASED: _ClassVar[ConsumeResponse.Release]
        RELEASE_SPENT: _ClassVar[ConsumeResponse.Release]
        RELEASE_ENDED: _ClassVar[ConsumeResponse.Release]
        RELEASE_NOT_READY: _ClassVar[ConsumeResponse.Release]
        RELEASE_REFUSED: _ClassVar[ConsumeResponse.Release]
    RELEASE_UNSPECIFIED: ConsumeResponse.Release
    RELEASE_RELEASED: ConsumeResponse.Release
    RELEASE_SPENT: ConsumeResponse.Release
    RELEASE_ENDED: ConsumeResponse.Release
    RELEASE_NOT_READY: ConsumeResponse.Release
    RELEASE_REFUSED: ConsumeResponse.Release
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    REASON_CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    REVIEWS_FIELD_NUMBER: _ClassVar[int]
    release: ConsumeResponse.Release
    outcome: _gate_pb2.Outcome
    reason_code: str
    message: str
    reviews: _containers.RepeatedCompositeFieldContainer[_gate_pb2.Review]
    def __init__(self, release: _Optional[_Union[ConsumeResponse.Release, str]] = ..., outcome: _Optional[_Union[_gate_pb2.Outcome, str]] = ..., reason_code: _Optional[str] = ..., message: _Optional[str] = ..., reviews: _Optional[_Iterable[_Union[_gate_pb2.Review, _Mapping]]] = ...) -> None: ...

class HubServiceCancelRequest(_message.Message):
    __slots__ = ("handle", "reason", "condition_reason")
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    CONDITION_REASON_FIELD_NUMBER: _ClassVar[int]
    handle: str
    reason: str
    condition_reason: str
    def __init__(self, handle: _Optional[str] = ..., reason: _Optional[str] = ..., condition_reason: _Optional[str] = ...) -> None: ...

class HubServiceCancelResponse(_message.Message):
    __slots__ = ("outcome",)
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    outcome: _gate_pb2.Outcome
    def __init__(self, outcome: _Optional[_Union[_gate_pb2.Outcome, str]] = ...) -> None: ...

class HubServiceReportRequest(_message.Message):
    __slots__ = ("handle", "result", "epoch")
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    handle: str
    result: _gate_pb2.Result
    epoch: str
    def __init__(self, handle: _Optional[str] = ..., result: _Optional[_Union[_gate_pb2.Result, str]] = ..., epoch: _Optional[str] = ...) -> None: ...

class HubServiceReportResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ShipRequest(_message.Message):
    __slots__ = ("lines",)
    LINES_FIELD_NUMBER: _ClassVar[int]
    lines: bytes
    def __init__(self, lines: _Optional[bytes] = ...) -> None: ...

class ShipResponse(_message.Message):
    __slots__ = ("archived",)
    ARCHIVED_FIELD_NUMBER: _ClassVar[int]
    archived: bool
    def __init__(self, archived: _Optional[bool] = ...) -> None: ...
