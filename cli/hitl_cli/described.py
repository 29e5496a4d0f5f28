"""CALL.json: a call for `hitl explain`, with whatever else a verdict may depend on.

    {"server": "stripe", "tool": "create_refund", "arguments": {"amount": 15000},
     "sessionID": "s1", "callID": "c1", "justification": "…", "confidencePercent": 93, "externalImpact": false,
     "claimedUser": "ana", "alternatives": ["…"], "agentPath": ["main"], "context": {…},
     "agent": {"namespace": "shop", "serviceAccount": "support", "workload": "deploy/support", "podName": "…",
               "podUID": "…", "labels": {"app": "support"}},
     "onBehalfOf": {"username": "ana@example.com", "verified": true},
     "tainted": false,
     "definition": {"description": "…", "inputSchema": {…}, "annotations": {"readOnlyHint": false}},
     "history": {"calls": 4, "podCalls": 9, "allowed": 211, "allowedWith": [{"amount": 100}], "lastHour": 3,
                 "usual": {"hours": 24, "calls": 2}, "decided": 10, "denied": 1, "clarified": 60,
                 "spent": [{"limit": "AgentPolicy/shop/support#refunds", "by": "", "amount": 95000, "max": 100000,
                            "per": "24h", "kind": "sum"}]}}

Only `tool` must be there. Keys may be written in snake_case; unknown ones are refused by name, because a misspelt one
would change the verdict in silence.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hitl.approvals.requests import ApprovalRequest
from hitl.errors import InvalidCall
from hitl.policy.calls import Agent, OnBehalfOf, ToolCall
from hitl.policy.definitions import definition_of
from hitl.policy.durations import parse_duration
from hitl.policy.envelope import parse_call, parse_json, render_json
from hitl.policy.spec import ToolDefinition
from hitl.policy.verdicts import Charge
from hitl_cli.fields import Fields

# Whoever it is: an agent in the namespace of the policies.
_NOBODY = Agent(namespace="", workload="deploy/agent")


@dataclass(frozen=True, slots=True)
class Past:
    """What the agent's ledger is to hold before the call; numbers of calls unless said otherwise.

    Attributes:
        calls: of this tool and session within the last minute; pod_calls: of other tools of the pod.
        allowed: of this tool, ever; allowed_with: with these arguments.
        last_hour: of this tool; usual: (hours, calls in each of them) before that.
        decided, denied: by people within ten minutes.
        clarified: the confidence with which this very call was answered CLARIFY a minute ago; None: it was not.
        spent: what limits have used up.
    """

    calls: int = 0
    pod_calls: int = 0
    allowed: int = 0
    allowed_with: tuple[Mapping[str, Any], ...] = ()
    last_hour: int = 0
    usual: tuple[int, int] = (0, 0)
    decided: int = 0
    denied: int = 0
    clarified: int | None = None
    spent: tuple[Charge, ...] = ()


@dataclass(frozen=True, slots=True)
class DescribedCall:
    """A call and its circumstances.

    Attributes:
        agent: an empty namespace is that of the policies.
        labels_known: False: nobody said which labels the agent has, so every policy is taken to select it.
    """

    call: ToolCall
    agent: Agent = field(default_factory=lambda: _NOBODY)
    labels_known: bool = False
    on_behalf_of: OnBehalfOf | None = None
    tainted: bool = False
    definition: ToolDefinition | None = None
    past: Past = field(default_factory=Past)


def read_call(document: bytes, source: str) -> DescribedCall:
    """The call that a JSON text describes.

    Raises:
        InvalidCall: naming `source`, what was found, and what was wanted.
    """
    try:
        return _described(Fields(parse_json(document, "the file"), "a call"))
    except InvalidCall as error:
        raise InvalidCall(f"{source}: {error}") from error


def typed_call(tool: str, arguments: str) -> DescribedCall:
    """The call that ``--tool`` and ``--args`` describe. InvalidCall as `read_call`."""
    server, _, name = tool.rpartition("/")
    return DescribedCall(parse_call(server, name, arguments.encode()))


def stored_call(request: ApprovalRequest) -> DescribedCall:
    """The call behind a request as far as it is stored: with the redacted arguments.

    Raises:
        InvalidCall: its arguments were not stored whole.
    """
    spec = request.spec
    try:
        call = parse_call(
            spec.call.server,
            spec.call.tool,
            spec.call.arguments_preview.encode(),
            call_id=spec.call.call_id,
            session_id=spec.session_id,
            justification=spec.justification,
            claimed_user="" if spec.on_behalf_of_verified else spec.on_behalf_of,
        )
    except InvalidCall as error:
        raise InvalidCall(
            f"{request.name}: its arguments were not stored whole, so they cannot be judged: {error}"
        ) from error
    return DescribedCall(
        call,
        agent=Agent(request.namespace, spec.service_account, spec.workload, spec.agent_pod, spec.agent_pod_uid),
        on_behalf_of=OnBehalfOf(spec.on_behalf_of, spec.on_behalf_of_verified) if spec.on_behalf_of else None,
    )


def _described(fields: Fields) -> DescribedCall:
    server, tool = fields.take("server", str, ""), fields.take("tool", str, "")
    if not tool:
        raise InvalidCall('"tool" is missing; a call needs at least {"tool": "server/tool"}')
    # "server/tool" in one word, as the command line has it, is as good as the two apart.
    named, _, name = ("", "", tool) if server else tool.rpartition("/")
    agent = fields.below("agent")
    described = DescribedCall(
        call=parse_call(
            server or named,
            name,
            render_json(fields.take("arguments", dict, {})),
            call_id=fields.take("callID", str, ""),
            session_id=fields.take("sessionID", str, ""),
            agent_path=fields.texts("agentPath"),
            justification=fields.take("justification", str, ""),
            confidence_percent=fields.optional("confidencePercent", int),
            claimed_user=fields.take("claimedUser", str, ""),
            alternatives=fields.texts("alternatives"),
            external_impact=fields.take("externalImpact", bool, default=False),
            context_json=render_json(context) if (context := fields.take("context", dict, {})) else b"",
        ),
        agent=_agent(agent),
        labels_known=agent is not None and agent.has("labels"),
        on_behalf_of=_user(fields.below("onBehalfOf")),
        tainted=fields.take("tainted", bool, default=False),
        definition=_definition(fields.below("definition"), name),
        past=_past(fields.below("history")),
    )
    fields.nothing_left()
    return described


def _agent(fields: Fields | None) -> Agent:
    if fields is None:
        return _NOBODY
    labels = fields.take("labels", dict, {})
    for key, value in labels.items():
        if not isinstance(value, str):
            raise InvalidCall(f'agent.labels: "{key}" is {value!r}, wanted text in quotes')
    agent = Agent(
        namespace=fields.take("namespace", str, ""),
        service_account=fields.take("serviceAccount", str, "default"),
        workload=fields.take("workload", str, ""),
        pod_name=fields.take("podName", str, ""),
        pod_uid=fields.take("podUID", str, ""),
        labels=labels,
    )
    fields.nothing_left()
    return agent


def _user(fields: Fields | None) -> OnBehalfOf | None:
    if fields is None:
        return None
    user = OnBehalfOf(fields.take("username", str, ""), verified=fields.take("verified", bool, default=False))
    fields.nothing_left()
    return user


def _definition(fields: Fields | None, tool: str) -> ToolDefinition | None:
    """An MCP Tool object, of which inference reads title, description, the schema's properties and the annotations."""
    if fields is None:
        return None
    name: str = fields.take("name", str, tool)
    for read, kind in (("title", str), ("description", str), ("inputSchema", dict), ("annotations", dict)):
        fields.take(read, kind, None)  # a wrong type is refused by name; what is right is read below
    for ignored in ("outputSchema", "_meta", "icons", "execution"):
        fields.take(ignored, object, None)
    fields.nothing_left()
    return definition_of(name, fields.whole(dict))


def _past(fields: Fields | None) -> Past:
    if fields is None:
        return Past()
    usual = fields.below("usual")
    hours = (usual.count("hours"), usual.count("calls")) if usual else (0, 0)
    if usual:
        usual.nothing_left()
    past = Past(
        calls=fields.count("calls"),
        pod_calls=fields.count("podCalls"),
        allowed=fields.count("allowed"),
        allowed_with=tuple(each.whole(dict) for each in fields.each("allowedWith")),
        last_hour=fields.count("lastHour"),
        usual=hours,
        decided=fields.count("decided"),
        denied=fields.count("denied"),
        clarified=fields.optional("clarified", int),
        spent=tuple(_spent(each) for each in fields.each("spent")),
    )
    fields.nothing_left()
    return past


def _spent(fields: Fields) -> Charge:
    per = fields.take("per", str, "")
    try:
        seconds = parse_duration(per)
    except ValueError as error:
        raise InvalidCall(f"{fields.place}: per: {error}") from error
    charge = Charge(
        limit_id=fields.take("limit", str, ""),
        key=fields.take("by", str, ""),
        amount=float(fields.take("amount", (int, float), 0)),
        maximum=float(fields.take("max", (int, float), 0)),
        per=int(seconds),
        kind=fields.take("kind", str, "calls"),
    )
    if charge.kind not in ("calls", "sum"):
        raise InvalidCall(f'{fields.place}: kind is "{charge.kind}", wanted calls or sum')
    fields.nothing_left()
    return charge
