"""`hitl explain`: what the policies say of a call, step by step, before anything runs."""

import asyncio
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import click

from hitl.approvals.requests import ApprovalRequest
from hitl.policy.explanation import Explanation, explain
from hitl.policy.spec import PodSelector, Policy
from hitl_cli.described import DescribedCall, read_call, stored_call, typed_call
from hitl_cli.exits import Exit
from hitl_cli.lines import Line, hanging, line, word
from hitl_cli.naming import request_names
from hitl_cli.options import namespace_option, output_option, pass_session, person_option, place_option
from hitl_cli.policies import InForce, PolicyFiles, compiled_for, read_policies
from hitl_cli.render import Output
from hitl_cli.replay import SAMENESS, ledger_of
from hitl_cli.requests import chosen, why_of
from hitl_cli.session import Session


@click.command("explain", short_help="What the policies say of a call, step by step.")
@click.argument("name", required=False, shell_complete=request_names)
@click.option("-f", "--filename", "paths", metavar="PATH", multiple=True, help="Policies: file, folder, or -.")
@click.option("--call", "file", metavar="FILE", help="The call as JSON: server, tool, arguments …; - for stdin.")
@click.option("--tool", metavar="[SERVER/]TOOL", help="Instead of --call: the tool.")
@click.option("--args", "arguments", metavar="JSON", help="Instead of --call: the arguments.")
@click.option("--agent", "workload", metavar="WORKLOAD", help="With --tool: who calls, such as deploy/support.")
@place_option
@namespace_option
@person_option
@output_option(Output.TABLE, Output.JSON, Output.YAML)
@pass_session
def command(
    session: Session,
    *,
    name: str | None,
    paths: tuple[str, ...],
    file: str | None,
    tool: str | None,
    arguments: str | None,
    workload: str | None,
) -> Exit:
    """Explain a call (--call, or --tool and --args), or the request NAME: why it was held, and as policies are now.

    -f takes AgentPolicies, ClusterAgentPolicies and ToolServers; without it those that the home or cluster runs.
    """
    if sum(given is not None for given in (name, file, tool)) != 1:
        raise click.UsageError("say which call: --call FILE, --tool NAME [--args JSON], or a request's name")
    if arguments is not None and tool is None:
        raise click.UsageError("--args belongs to --tool")
    if workload is not None and tool is None:
        raise click.UsageError("--agent belongs to --tool; in --call it is the key agent")
    asked = _asked(session, name, file, (tool, arguments or "{}") if tool is not None else None, workload or "")
    given = read_policies(paths) if paths else None
    inside = _given(session, given, asked) if given else asyncio.run(_found(session, asked))
    inside.files.need_valid()
    explanation = _explained(session, inside, asked.described)
    if session.screen.output.is_for_people:
        first, *rest = explanation.text(session.screen.width).split("\n")
        said, _, tool = first.partition(" ")
        session.screen.data(line(word(said), " ", tool), *rest, *_as_held(session, asked.request))
        session.screen.talk(*_notes(inside, asked))
    else:
        held = {"held": _held_document(asked.request)} if asked.request else {}
        session.screen.document({**explanation.to_json(), **held})
    return Exit.DONE


@dataclass(frozen=True, slots=True)
class _Asked:
    """The call in question; `request`: the one that was named, if one was."""

    described: DescribedCall
    request: ApprovalRequest | None = None


def _asked(
    session: Session, name: str | None, file: str | None, typed: tuple[str, str] | None, workload: str
) -> _Asked:
    if typed is not None:
        described = typed_call(*typed)
        agent = replace(described.agent, workload=workload) if workload else described.agent
        return _Asked(replace(described, agent=agent))
    if file is not None:
        return _Asked(read_call(_bytes_of(file), "stdin" if file == "-" else file))
    request = asyncio.run(_stored(session, name or ""))
    return _Asked(stored_call(request), request)


def _bytes_of(file: str) -> bytes:
    return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()


async def _stored(session: Session, name: str) -> ApprovalRequest:
    async with session.place.open(viewed=False) as desk:
        return chosen(await desk.around([name]), name, session.place)


async def _found(session: Session, asked: _Asked) -> InForce:
    described = asked.described
    agent = replace(described.agent, namespace=session.namespace or described.agent.namespace)
    return await session.place.in_force(agent, labels_known=described.labels_known)


def _given(session: Session, files: PolicyFiles, asked: _Asked) -> InForce:
    described = asked.described
    agent = replace(described.agent, namespace=session.namespace or described.agent.namespace)
    return InForce(files, agent, described.labels_known, [])


def _explained(session: Session, inside: InForce, described: DescribedCall) -> Explanation:
    config, acting = compiled_for(inside.files, inside.agent, labels_known=inside.labels_known)
    now = session.now().timestamp()
    return explain(
        config,
        described.call,
        ledger_of(described, config, acting, now),
        now,
        agent=acting,
        on_behalf_of=described.on_behalf_of,
        tainted=described.tainted,
        definition=described.definition,
        sameness=SAMENESS,
    )


def _as_held(session: Session, request: ApprovalRequest | None) -> list[Line]:
    """What was said when the request was opened: that is what reviewers go by, whatever the policies say since."""
    if request is None:
        return []
    points = [f"{factor.points:+d} {factor.reason}" for factor in request.spec.factors if factor.points]
    policies = [f"policy {each.name} gen {each.generation}" for each in request.spec.policies]
    text = "; ".join(filter(None, [request.spec.explanation or why_of(request), ", ".join(points), *policies]))
    return ["", *hanging("  when asked    ", text, session.screen.width)]


def _held_document(request: ApprovalRequest) -> dict[str, object]:
    spec = request.spec
    return {
        "name": request.name,
        "explanation": spec.explanation,
        "rule": spec.rule or None,
        "score": spec.score,
        "factors": [{"points": each.points, "reason": each.reason} for each in spec.factors],
        "policies": [{"kind": p.kind, "name": p.name, "generation": p.generation} for p in spec.policies],
    }


def _notes(inside: InForce, asked: _Asked) -> list[str]:
    """What the answer rests on, where that is not what was typed."""
    notes = []
    if asked.request is not None:
        notes.append(
            "note: judged from the redacted arguments, without the agent's past and labels, as policies are now"
        )
    notes += inside.notes
    selective = any(isinstance(each, Policy) and each.pod_selector != PodSelector() for each in inside.files.resources)
    if selective and not inside.labels_known and asked.request is None:
        notes.append(
            'note: every policy is taken to select the agent; to say which: "agent": {"labels": {…}} in --call'
        )
    return notes
