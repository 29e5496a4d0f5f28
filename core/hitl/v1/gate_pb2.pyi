import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OUTCOME_UNSPECIFIED: _ClassVar[Outcome]
    OUTCOME_ALLOWED: _ClassVar[Outcome]
    OUTCOME_DENIED: _ClassVar[Outcome]
    OUTCOME_PENDING: _ClassVar[Outcome]
    OUTCOME_EXPIRED: _ClassVar[Outcome]
    OUTCOME_CANCELLED: _ClassVar[Outcome]
    OUTCOME_SUGGESTED: _ClassVar[Outcome]
    OUTCOME_CLARIFY: _ClassVar[Outcome]
    OUTCOME_UNAVAILABLE: _ClassVar[Outcome]
    OUTCOME_ALREADY_RELEASED: _ClassVar[Outcome]
    OUTCOME_APPROVED: _ClassVar[Outcome]
    OUTCOME_INVALID: _ClassVar[Outcome]

class Action(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ACTION_UNSPECIFIED: _ClassVar[Action]
    ACTION_ALLOW: _ClassVar[Action]
    ACTION_NOTIFY: _ClassVar[Action]
    ACTION_CONFIRM: _ClassVar[Action]
    ACTION_MULTI_FACTOR: _ClassVar[Action]
    ACTION_SUGGEST: _ClassVar[Action]
    ACTION_DENY: _ClassVar[Action]

class Result(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RESULT_UNSPECIFIED: _ClassVar[Result]
    RESULT_SUCCEEDED: _ClassVar[Result]
    RESULT_FAILED: _ClassVar[Result]
    RESULT_NOT_STARTED: _ClassVar[Result]
OUTCOME_UNSPECIFIED: Outcome
OUTCOME_ALLOWED: Outcome
OUTCOME_DENIED: Outcome
OUTCOME_PENDING: Outcome
OUTCOME_EXPIRED: Outcome
OUTCOME_CANCELLED: Outcome
OUTCOME_SUGGESTED: Outcome
OUTCOME_CLARIFY: Outcome
OUTCOME_UNAVAILABLE: Outcome
OUTCOME_ALREADY_RELEASED: Outcome
OUTCOME_APPROVED: Outcome
OUTCOME_INVALID: Outcome
ACTION_UNSPECIFIED: Action
ACTION_ALLOW: Action
ACTION_NOTIFY: Action
ACTION_CONFIRM: Action
ACTION_MULTI_FACTOR: Action
ACTION_SUGGEST: Action
ACTION_DENY: Action
RESULT_UNSPECIFIED: Result
RESULT_SUCCEEDED: Result
RESULT_FAILED: Result
RESULT_NOT_STARTED: Result

class ToolCall(_message.Message):
    __slots__ = ("server", "tool", "arguments_json", "call_id", "session_id", "agent_path", "justification", "confidence_percent", "claimed_user", "checkpoint", "alternatives", "external_impact", "context_json")
    SERVER_FIELD_NUMBER: _ClassVar[int]
    TOOL_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_JSON_FIELD_NUMBER: _ClassVar[int]
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    AGENT_PATH_FIELD_NUMBER: _ClassVar[int]
    JUSTIFICATION_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_PERCENT_FIELD_NUMBER: _ClassVar[int]
    CLAIMED_USER_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    ALTERNATIVES_FIELD_NUMBER: _ClassVar[int]
    EXTERNAL_IMPACT_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_JSON_FIELD_NUMBER: _ClassVar[int]
    server: str
    tool: str
    arguments_json: bytes
    call_id: str
    session_id: str
    agent_path: _containers.RepeatedScalarFieldContainer[str]
    justification: str
    confidence_percent: int
    claimed_user: str
    checkpoint: str
    alternatives: _containers.RepeatedScalarFieldContainer[str]
    external_impact: bool
    context_json: bytes
    def __init__(self, server: _Optional[str] = ..., tool: _Optional[str] = ..., arguments_json: _Optional[bytes] = ..., call_id: _Optional[str] = ..., session_id: _Optional[str] = ..., agent_path: _Optional[_Iterable[str]] = ..., justification: _Optional[str] = ..., confidence_percent: _Optional[int] = ..., claimed_user: _Optional[str] = ..., checkpoint: _Optional[str] = ..., alternatives: _Optional[_Iterable[str]] = ..., external_impact: _Optional[bool] = ..., context_json: _Optional[bytes] = ...) -> None: ...

class CheckRequest(_message.Message):
    __slots__ = ("call", "wait", "dry_run", "user_token")
    CALL_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    USER_TOKEN_FIELD_NUMBER: _ClassVar[int]
    call: ToolCall
    wait: _duration_pb2.Duration
    dry_run: bool
    user_token: str
    def __init__(self, call: _Optional[_Union[ToolCall, _Mapping]] = ..., wait: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., dry_run: _Optional[bool] = ..., user_token: _Optional[str] = ...) -> None: ...

class CheckResponse(_message.Message):
    __slots__ = ("outcome", "permit", "arguments_json", "handle", "reason_code", "message", "verdict", "expire_time", "retry_after", "reviews", "checkpoint")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    PERMIT_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_JSON_FIELD_NUMBER: _ClassVar[int]
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    REASON_CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_FIELD_NUMBER: _ClassVar[int]
    REVIEWS_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    outcome: Outcome
    permit: str
    arguments_json: bytes
    handle: str
    reason_code: str
    message: str
    verdict: Verdict
    expire_time: _timestamp_pb2.Timestamp
    retry_after: _duration_pb2.Duration
    reviews: _containers.RepeatedCompositeFieldContainer[Review]
    checkpoint: str
    def __init__(self, outcome: _Optional[_Union[Outcome, str]] = ..., permit: _Optional[str] = ..., arguments_json: _Optional[bytes] = ..., handle: _Optional[str] = ..., reason_code: _Optional[str] = ..., message: _Optional[str] = ..., verdict: _Optional[_Union[Verdict, _Mapping]] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., retry_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., reviews: _Optional[_Iterable[_Union[Review, _Mapping]]] = ..., checkpoint: _Optional[str] = ...) -> None: ...

class Verdict(_message.Message):
    __slots__ = ("action", "score", "factors", "rule", "revision", "digest", "would_have", "policy")
    ACTION_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    FACTORS_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    WOULD_HAVE_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    action: Action
    score: int
    factors: _containers.RepeatedCompositeFieldContainer[Factor]
    rule: str
    revision: str
    digest: str
    would_have: Action
    policy: str
    def __init__(self, action: _Optional[_Union[Action, str]] = ..., score: _Optional[int] = ..., factors: _Optional[_Iterable[_Union[Factor, _Mapping]]] = ..., rule: _Optional[str] = ..., revision: _Optional[str] = ..., digest: _Optional[str] = ..., would_have: _Optional[_Union[Action, str]] = ..., policy: _Optional[str] = ...) -> None: ...

class Factor(_message.Message):
    __slots__ = ("name", "points", "reason")
    NAME_FIELD_NUMBER: _ClassVar[int]
    POINTS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    name: str
    points: int
    reason: str
    def __init__(self, name: _Optional[str] = ..., points: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class Review(_message.Message):
    __slots__ = ("reviewer", "approved", "reason", "category", "overridden")
    REVIEWER_FIELD_NUMBER: _ClassVar[int]
    APPROVED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    CATEGORY_FIELD_NUMBER: _ClassVar[int]
    OVERRIDDEN_FIELD_NUMBER: _ClassVar[int]
    reviewer: str
    approved: bool
    reason: str
    category: str
    overridden: bool
    def __init__(self, reviewer: _Optional[str] = ..., approved: _Optional[bool] = ..., reason: _Optional[str] = ..., category: _Optional[str] = ..., overridden: _Optional[bool] = ...) -> None: ...

class AwaitRequest(_message.Message):
    __slots__ = ("handle", "wait")
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    handle: str
    wait: _duration_pb2.Duration
    def __init__(self, handle: _Optional[str] = ..., wait: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class AwaitResponse(_message.Message):
    __slots__ = ("outcome", "message", "reviews", "answer_json", "expire_time", "checkpoint", "reported_result")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    REVIEWS_FIELD_NUMBER: _ClassVar[int]
    ANSWER_JSON_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    REPORTED_RESULT_FIELD_NUMBER: _ClassVar[int]
    outcome: Outcome
    message: str
    reviews: _containers.RepeatedCompositeFieldContainer[Review]
    answer_json: bytes
    expire_time: _timestamp_pb2.Timestamp
    checkpoint: str
    reported_result: Result
    def __init__(self, outcome: _Optional[_Union[Outcome, str]] = ..., message: _Optional[str] = ..., reviews: _Optional[_Iterable[_Union[Review, _Mapping]]] = ..., answer_json: _Optional[bytes] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., checkpoint: _Optional[str] = ..., reported_result: _Optional[_Union[Result, str]] = ...) -> None: ...

class CancelRequest(_message.Message):
    __slots__ = ("handle", "reason")
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    handle: str
    reason: str
    def __init__(self, handle: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class CancelResponse(_message.Message):
    __slots__ = ("outcome",)
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    outcome: Outcome
    def __init__(self, outcome: _Optional[_Union[Outcome, str]] = ...) -> None: ...

class ReportRequest(_message.Message):
    __slots__ = ("permit", "result", "output_json", "duration")
    PERMIT_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_JSON_FIELD_NUMBER: _ClassVar[int]
    DURATION_FIELD_NUMBER: _ClassVar[int]
    permit: str
    result: Result
    output_json: bytes
    duration: _duration_pb2.Duration
    def __init__(self, permit: _Optional[str] = ..., result: _Optional[_Union[Result, str]] = ..., output_json: _Optional[bytes] = ..., duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class ReportResponse(_message.Message):
    __slots__ = ("output_json", "withheld_message", "findings")
    OUTPUT_JSON_FIELD_NUMBER: _ClassVar[int]
    WITHHELD_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    output_json: bytes
    withheld_message: str
    findings: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, output_json: _Optional[bytes] = ..., withheld_message: _Optional[str] = ..., findings: _Optional[_Iterable[str]] = ...) -> None: ...

class DeclareToolsRequest(_message.Message):
    __slots__ = ("server", "tools", "session_id")
    SERVER_FIELD_NUMBER: _ClassVar[int]
    TOOLS_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    server: str
    tools: _containers.RepeatedCompositeFieldContainer[ToolDefinition]
    session_id: str
    def __init__(self, server: _Optional[str] = ..., tools: _Optional[_Iterable[_Union[ToolDefinition, _Mapping]]] = ..., session_id: _Optional[str] = ...) -> None: ...

class ToolDefinition(_message.Message):
    __slots__ = ("name", "definition_json")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DEFINITION_JSON_FIELD_NUMBER: _ClassVar[int]
    name: str
    definition_json: bytes
    def __init__(self, name: _Optional[str] = ..., definition_json: _Optional[bytes] = ...) -> None: ...

class DeclareToolsResponse(_message.Message):
    __slots__ = ("tools",)
    TOOLS_FIELD_NUMBER: _ClassVar[int]
    tools: _containers.RepeatedCompositeFieldContainer[ToolPresentation]
    def __init__(self, tools: _Optional[_Iterable[_Union[ToolPresentation, _Mapping]]] = ...) -> None: ...

class ToolPresentation(_message.Message):
    __slots__ = ("name", "hidden", "best_case", "reason_code")
    NAME_FIELD_NUMBER: _ClassVar[int]
    HIDDEN_FIELD_NUMBER: _ClassVar[int]
    BEST_CASE_FIELD_NUMBER: _ClassVar[int]
    REASON_CODE_FIELD_NUMBER: _ClassVar[int]
    name: str
    hidden: bool
    best_case: Action
    reason_code: str
    def __init__(self, name: _Optional[str] = ..., hidden: _Optional[bool] = ..., best_case: _Optional[_Union[Action, str]] = ..., reason_code: _Optional[str] = ...) -> None: ...

class AskRequest(_message.Message):
    __slots__ = ("session_id", "call_id", "question", "choices", "wait", "checkpoint", "multiple")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    CHOICES_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    MULTIPLE_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    call_id: str
    question: str
    choices: _containers.RepeatedScalarFieldContainer[str]
    wait: _duration_pb2.Duration
    checkpoint: str
    multiple: bool
    def __init__(self, session_id: _Optional[str] = ..., call_id: _Optional[str] = ..., question: _Optional[str] = ..., choices: _Optional[_Iterable[str]] = ..., wait: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., checkpoint: _Optional[str] = ..., multiple: _Optional[bool] = ...) -> None: ...

class AskResponse(_message.Message):
    __slots__ = ("outcome", "answer_json", "handle", "reviewer")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    ANSWER_JSON_FIELD_NUMBER: _ClassVar[int]
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    REVIEWER_FIELD_NUMBER: _ClassVar[int]
    outcome: Outcome
    answer_json: bytes
    handle: str
    reviewer: str
    def __init__(self, outcome: _Optional[_Union[Outcome, str]] = ..., answer_json: _Optional[bytes] = ..., handle: _Optional[str] = ..., reviewer: _Optional[str] = ...) -> None: ...
