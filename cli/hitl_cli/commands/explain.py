"""`hitl explain`: what the policies say of a call, step by step, before anything runs."""

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from hitl.policy.explanation import Explanation, explain
from hitl.policy.spec import PodSelector, Policy
from hitl_cli.described import DescribedCall, read_call, stored_call, typed_call
from hitl_cli.exits import Exit
from hitl_cli.lines import line, word
from hitl_cli.options import home_option, namespace_option, output_option, pass_session
from hitl_cli.policies import PolicyFiles, accepted_policies, compiled_for, read_policies
from hitl_cli.render import Output
from hitl_cli.replay import SAMENESS, ledger_of
from hitl_cli.requests import chosen
from hitl_cli.session import Session


@click.command("explain", short_help="What the policies say of a call, step by step.")
@click.argument("name", required=False)
@click.option("-f", "--filename", "paths", metavar="PATH", multiple=True, help="Policies: file, folder, or -.")
@click.option("--call", "file", metavar="FILE", help="The call as JSON: server, tool, arguments …; - for stdin.")
@click.option("--tool", metavar="[SERVER/]TOOL", help="Instead of --call: the tool.")
@click.option("--args", "arguments", metavar="JSON", help="Instead of --call: the arguments.")
@home_option
@namespace_option
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
) -> Exit:
    """Explain a call (--call, or --tool and --args), or the request NAME as the policies of now see it.

    -f takes AgentPolicies, ClusterAgentPolicies and ToolServers; without it those that the home runs are used.
    """
    if sum(given is not None for given in (name, file, tool)) != 1:
        raise click.UsageError("say which call: --call FILE, --tool NAME [--args JSON], or a request's name")
    if arguments is not None and tool is None:
        raise click.UsageError("--args belongs to --tool")
    described = _described(session, name, file, tool, arguments)
    policies = read_policies(paths) if paths else accepted_policies(session.home)
    policies.need_valid()
    explanation = _explained(session, policies, described)
    if session.screen.output.is_for_people:
        first, *rest = explanation.text(session.screen.width).split("\n")
        said, _, tool = first.partition(" ")
        session.screen.data(line(word(said), " ", tool), *rest)
        session.screen.talk(*_notes(policies, described, paths, name))
    else:
        session.screen.document(explanation.to_json())
    return Exit.DONE


def _described(
    session: Session, name: str | None, file: str | None, tool: str | None, arguments: str | None
) -> DescribedCall:
    if tool is not None:
        return typed_call(tool, arguments or "{}")
    if file is not None:
        return read_call(_bytes_of(file), "stdin" if file == "-" else file)
    return asyncio.run(_stored(session, name or ""))


def _bytes_of(file: str) -> bytes:
    return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()


async def _stored(session: Session, name: str) -> DescribedCall:
    async with session.open_store() as store:
        return stored_call(chosen(await store.list(session.namespace), name))


def _explained(session: Session, policies: PolicyFiles, described: DescribedCall) -> Explanation:
    agent = replace(described.agent, namespace=session.namespace or described.agent.namespace)
    config, acting = compiled_for(policies, agent, labels_known=described.labels_known)
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


def _notes(policies: PolicyFiles, described: DescribedCall, paths: Sequence[str], name: str | None) -> list[str]:
    """What the answer rests on, where that is not what was typed."""
    notes = []
    if name is not None:
        notes.append(
            "note: judged from the redacted arguments, without the agent's past and labels, as policies are now"
        )
    if not paths:
        notes.append("note: under the policies that the home's control plane accepted last; others: -f PATH")
    selective = any(isinstance(each, Policy) and each.pod_selector != PodSelector() for each in policies.resources)
    if selective and not described.labels_known and name is None:
        notes.append(
            'note: every policy is taken to select the agent; to say which: "agent": {"labels": {…}} in --call'
        )
    return notes
