"""`hitl`: finds the command that was typed, loads only that one, and turns its ending into an exit code."""

import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click

from hitl import __version__
from hitl.errors import HitlError
from hitl_cli.exits import Exit
from hitl_cli.options import home_option
from hitl_cli.session import Session


class _Entry(NamedTuple):
    """Where a command lives below hitl_cli, and its line in `hitl --help`: printing the help loads no command."""

    section: str
    module: str
    about: str


_COMMANDS = {
    "list": _Entry("Reviewers", "commands.list", "What waits for a decision (also: inbox)."),
    "show": _Entry("Reviewers", "commands.show", "Exactly what one request would run, and why it is held."),
    "approve": _Entry("Reviewers", "commands.approve", "Let a call run, once."),
    "deny": _Entry("Reviewers", "commands.deny", "Refuse a call; the agent reads the reason."),
    "history": _Entry("Reviewers", "commands.history", "Past requests and how they ended."),
    "activity": _Entry("Reviewers", "commands.activity", "What ran, or was refused, without asking anyone."),
    "init": _Entry("Authors", "commands.init", "Write a first policy to start from."),
    "check": _Entry("Authors", "commands.check", "Find mistakes in policies, by file and line."),
    "explain": _Entry("Authors", "commands.explain", "What the policies say of a call, step by step."),
    "audit": _Entry("Operators", "commands.audit", "Verify audit logs."),
    "demo": _Entry("Local", "commands.demo", "See all of it work on this machine, in a minute."),
    "dev": _Entry("Local", "commands.dev", "Run a control plane and a sidecar on this machine."),
}
_ALIASES = {"inbox": "list"}
_NO_CLUSTER = (
    "error: kubectl hitl works on a cluster, and this version has no cluster part yet; nothing was read or changed",
    "On this machine: hitl (same commands), e.g. hitl dev -f DIR, then hitl list",
)


class _Lazy(click.Group):
    """A group that imports a command when it is typed: `hitl list` must not pay for `hitl dev`."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click calls it so
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as above
        name = _ALIASES.get(cmd_name, cmd_name)
        if name not in _COMMANDS:
            return None
        module = importlib.import_module(f"hitl_cli.{_COMMANDS[name].module}")
        command: click.Command = module.command
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        from click.shell_completion import CompletionItem  # noqa: PLC0415 - start-up: only completion needs it

        names = [
            CompletionItem(name, help=entry.about) for name, entry in _COMMANDS.items() if name.startswith(incomplete)
        ]
        return [*names, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - as above
        for section in dict.fromkeys(entry.section for entry in _COMMANDS.values()):
            with formatter.section(section):
                formatter.write_dl([(n, e.about) for n, e in _COMMANDS.items() if e.section == section])


@click.group(
    cls=_Lazy,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done, 1 error, 2 usage, 3 no longer pending, 4 forbidden, 5 recorded but not yet decisive.",
)
@home_option
@click.version_option(__version__, prog_name="hitl", message="%(prog)s %(version)s")
def cli() -> None:
    """A person decides the tool calls that matter. The rest just run.

    hitl works on the home of a standalone control plane: --home, else HITL_HOME, else ~/.hitl.
    """


def run(arguments: Sequence[str], program: str = "hitl") -> int:
    """Run one command line. The exit code; everything there is to say was printed."""
    from hitl_cli.edge import INTERRUPTED, exit_code_of, words_for  # noqa: PLC0415 - keeps the plain path short

    session = Session()
    if program.startswith("kubectl"):
        session.screen.error(*_NO_CLUSTER)
        return Exit.ERROR
    try:
        ended = cli.main(list(arguments), prog_name="hitl", standalone_mode=False, obj=session)
        sys.stdout.flush()
        return int(ended) if isinstance(ended, int) else Exit.DONE
    except BrokenPipeError:
        # The reader has seen enough (`| head`). Python would complain about it once more when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.ERROR
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except click.UsageError as error:
        session.screen.error(*words_for(error))
        return Exit.USAGE
    except HitlError as error:
        session.screen.error(*words_for(error))
        return exit_code_of(error)
    except Exception as error:  # noqa: BLE001 - the edge: whatever it is, people get words and scripts a code
        session.screen.error(*words_for(error))
        return Exit.ERROR


def main() -> None:
    """The console script `hitl`, and `kubectl-hitl` for kubectl."""
    sys.exit(run(sys.argv[1:], Path(sys.argv[0]).name))


if __name__ == "__main__":
    main()
