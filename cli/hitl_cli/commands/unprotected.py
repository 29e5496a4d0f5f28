"""`hitl unprotected`: pods of gated namespaces that run without a gate, why, and what puts one before them."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from hitl.kube.marks import INJECTION
from hitl_cli.exits import Exit
from hitl_cli.lines import Column
from hitl_cli.options import (
    all_namespaces_option,
    namespace_option,
    output_option,
    pass_session,
    person_option,
    place_option,
)
from hitl_cli.render import Output
from hitl_cli.session import Session
from hitl_cli.times import since

if TYPE_CHECKING:
    from hitl.kube.unprotected import Unprotected
    from hitl_cli.on_cluster.unprotected import Looked

_STEPS = 5  # that are printed; each workload has one


@click.command("unprotected", short_help="Pods that run without a gate though their namespace is gated.")
@place_option
@namespace_option
@all_namespaces_option
@person_option
@output_option(Output.TABLE, Output.JSON, Output.YAML, Output.NAME)
@pass_session
def command(session: Session) -> Exit:
    """Pods of a gated namespace (of all of them with -A) that have no sidecar, and how to have them made anew.

    They were made before the namespace was labelled, or opted out, or came while nothing put a sidecar in. Exit code 1:
    there are some that did not opt out.
    """
    from hitl.kube.unprotected import Why  # noqa: PLC0415 - start-up: as below
    from hitl_cli.on_cluster.unprotected import looked  # noqa: PLC0415 - start-up: other commands need it not

    found = asyncio.run(looked(session.need_cluster("unprotected")))
    match session.screen.output:
        case Output.NAME:
            session.screen.data(*(f"pod/{each.name}" for each in found.pods))
        case Output.JSON | Output.YAML:
            session.screen.document([_document(each) for each in found.pods])
        case Output.TABLE | Output.WIDE:
            _print(session, found)
    return Exit.ERROR if any(each.why is not Why.OPTED_OUT for each in found.pods) else Exit.DONE


def _print(session: Session, found: "Looked") -> None:
    screen, everywhere = session.screen, session.all_namespaces
    if not found.namespaces:
        screen.talk(
            "No namespace is gated, so no pod has to be.",
            f"The first one: kubectl label namespace NS {INJECTION}=enabled",
        )
        return
    gated = len(found.namespaces)
    where = f"{gated} gated namespace{'' if gated == 1 else 's'}" if everywhere else f"namespace {found.namespaces[0]}"
    if not found.pods:
        screen.talk(f"Every pod that runs in {where} has a gate.")
        return
    names = [*(["NAMESPACE"] if everywhere else []), "POD", "OWNER", "SINCE", "WHY"]
    now = session.now()
    rows = [
        [*([each.namespace] if everywhere else []), each.name, each.owner, since(each.since, now), each.why.words]
        for each in found.pods
    ]
    screen.table([Column(name) for name in names], rows)
    count = len(found.pods)
    screen.talk(f"{count} pod{' runs' if count == 1 else 's run'} without a gate in {where}.", *_steps(found.pods))


def _steps(pods: Sequence["Unprotected"]) -> list[str]:
    """One for each workload, which makes the others of it anew as well."""
    steps = list({(each.namespace, each.owner): each.step for each in reversed(pods)}.values())[::-1]
    steps = list(dict.fromkeys(steps))
    more = [f"      … and {len(steps) - _STEPS} more: -o json has them all"] if len(steps) > _STEPS else []
    return [f"{'Next:' if at == 0 else '     '} {step}" for at, step in enumerate(steps[:_STEPS])] + more


def _document(found: "Unprotected") -> dict[str, object]:
    return {
        "namespace": found.namespace,
        "pod": found.name,
        "owner": found.owner,
        "since": found.since.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "why": found.why.value,
        "next": found.step,
    }
