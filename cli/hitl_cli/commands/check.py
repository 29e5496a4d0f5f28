"""`hitl check`: mistakes in policies, by file and line, with codes that can be looked up."""

import shlex
from collections.abc import Sequence

import click

from hitl.policy.problem_codes import CODES
from hitl_cli.exits import Exit
from hitl_cli.lines import Line, Tint, line, tinted, wrapped
from hitl_cli.options import output_option, pass_session
from hitl_cli.policies import Found, PolicyFiles, linted, read_policies
from hitl_cli.render import Output
from hitl_cli.session import Session

# Paths up to this length are aligned, and a message beside one gets at least so much room.
_WIDEST_PLACE = 40
_LEAST_MESSAGE = 36
_NO_POLICY = "no policy here: the built-in one would decide; a first policy: {program} init"


@click.command("check", short_help="Find mistakes in policies, by file and line.")
@click.option("-f", "--filename", "paths", metavar="PATH", multiple=True, help="File, folder, or - for stdin.")
@click.option("--explain", "code", metavar="CODE", help="What a code means, and how to mend it.")
@output_option(Output.TABLE, Output.JSON, Output.YAML)
@pass_session
def command(session: Session, *, paths: tuple[str, ...], code: str | None) -> Exit:
    """Check AgentPolicies, ClusterAgentPolicies and ToolServers. Exit code 1: something is refused."""
    if code is not None:
        return _explain(session, code)
    if not paths:
        raise click.UsageError("say what to check: -f PATH", click.get_current_context())
    files = read_policies(paths)
    everything = linted(files)
    if session.screen.output.is_for_people:
        places = min(max((len(found.place) for found in everything), default=0), _WIDEST_PLACE)
        session.screen.data(*(each for found in everything for each in _lines(found, places, session.screen.width)))
        if files.manifests or everything:
            session.screen.talk(_summary(files, everything, session.program))
            if session.plugin and not any(found.is_error for found in everything):
                session.screen.talk(f"Next: kubectl apply -n NS {' '.join(f'-f {shlex.quote(p)}' for p in paths)}")
    else:
        session.screen.document([_document(found) for found in everything])
    if not files.manifests and not everything:
        session.screen.error(f"warning: {', '.join(paths)}: {_NO_POLICY.format(program=session.program)}")
        return Exit.ERROR
    return Exit.ERROR if any(found.is_error for found in everything) else Exit.DONE


def _explain(session: Session, code: str) -> Exit:
    wanted = code.upper()
    if wanted not in CODES:
        raise click.BadParameter(f"there is no code {code}; known: {', '.join(sorted(CODES))}", param_hint="--explain")
    if not session.screen.output.is_for_people:
        session.screen.document({"code": wanted, "meaning": CODES[wanted]})
        return Exit.DONE
    session.screen.data(wanted, *(f"  {each}" for each in wrapped(CODES[wanted], session.screen.width - 2)))
    return Exit.DONE


def _lines(found: Found, places: int, width: int) -> list[Line]:
    severity = "error" if found.is_error else "warning"
    tint = Tint.REFUSED if found.is_error else Tint.CONFIRM
    place = found.place.ljust(places)
    head = line(f"{place}  ", tinted(severity, tint), " " * (9 - len(severity)), found.code)
    size = len(place) + 2 + 9 + len(found.code) + 2
    # A deep path leaves little room beside it: then the message starts below.
    indent = size if width - size >= _LEAST_MESSAGE else 4
    first, *rest = wrapped(found.message, width - indent)
    lines: list[Line] = [line(head, "  ", first)] if indent == size else [head, " " * indent + first]
    return [*lines, *(" " * indent + piece for piece in rest)]


def _summary(files: PolicyFiles, everything: Sequence[Found], program: str) -> str:
    errors = sum(found.is_error for found in everything)
    warnings = len(everything) - errors
    if not everything:
        return f"{_count(len(files.manifests), 'resource')} in {_count(files.files, 'file')}: nothing to mend."
    parts = [_count(errors, "error")] if errors else []
    parts += [_count(warnings, "warning")] if warnings else []
    return f"{', '.join(parts)}. What a code means: {program} check --explain {everything[0].code}"


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _document(found: Found) -> dict[str, object]:
    return {
        "file": found.file,
        "line": found.line,
        "severity": "error" if found.is_error else "warning",
        "code": found.code,
        "message": found.message,
    }
