"""`hitl`: finds the command that was typed, loads only that one, and turns its ending into an exit code."""

import gc
import importlib
import os
import sys
from collections.abc import Sequence
from enum import Enum, auto
from pathlib import Path
from typing import Any, NamedTuple

import click
from click.core import ParameterSource

from hitl import __version__
from hitl.errors import HitlError
from hitl_cli.exits import Exit
from hitl_cli.options import anywhere_option
from hitl_cli.session import Session


class _Where(Enum):
    """Where a command has something to do."""

    EVERYWHERE = auto()
    MACHINE = auto()
    """On this machine alone: `kubectl hitl` does not have it."""
    CLUSTER = auto()
    """On a cluster alone: `hitl` has it with --context or --kubeconfig."""


class _Entry(NamedTuple):
    """Where a command lives below hitl_cli, and its line in `hitl --help`: printing the help loads no command."""

    section: str
    module: str
    about: str
    where: _Where = _Where.EVERYWHERE


_COMMANDS = {
    "list": _Entry("Reviewers", "commands.list", "What waits for a decision (also: inbox)."),
    "show": _Entry("Reviewers", "commands.show", "Exactly what one request would run, and why it is held."),
    "approve": _Entry("Reviewers", "commands.approve", "Let a call run, once."),
    "deny": _Entry("Reviewers", "commands.deny", "Refuse a call; the agent reads the reason."),
    "escalate": _Entry("Reviewers", "commands.escalate", "Ask more people to decide a request."),
    "extend": _Entry("Reviewers", "commands.extend", "Give a request more time."),
    "history": _Entry("Reviewers", "commands.history", "Past requests and how they ended."),
    "activity": _Entry("Reviewers", "commands.activity", "What ran, or was refused, without asking anyone."),
    "init": _Entry("Authors", "commands.init", "Write a first policy to start from."),
    "check": _Entry("Authors", "commands.check", "Find mistakes in policies, by file and line."),
    "explain": _Entry("Authors", "commands.explain", "What the policies say of a call, step by step."),
    "status": _Entry("Operators", "commands.status", "Whether anything is wrong on the cluster.", _Where.CLUSTER),
    "unprotected": _Entry("Operators", "commands.unprotected", "Pods that run without a gate.", _Where.CLUSTER),
    "freeze": _Entry("Operators", "commands.freeze", "Stop agents: every call is refused."),
    "thaw": _Entry("Operators", "commands.thaw", "Let agents go on that were frozen."),
    "doctor": _Entry("Operators", "commands.doctor", "Whether hitl is installed as it should be.", _Where.CLUSTER),
    "breakglass": _Entry("Operators", "commands.breakglass", "Let a held call run against its policy, alone."),
    "audit": _Entry("Operators", "commands.audit", "Verify audit logs."),
    "demo": _Entry("Local", "commands.demo", "See all of it work on this machine, in a minute.", _Where.MACHINE),
    "dev": _Entry("Local", "commands.dev", "Run a control plane and a sidecar on this machine.", _Where.MACHINE),
}
_ALIASES = {"inbox": "list"}


class _Lazy(click.Group):
    """A group that imports a command when it is typed: `hitl list` must not pay for `hitl dev`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_offered(ctx))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        name = _ALIASES.get(cmd_name, cmd_name)
        if name in _COMMANDS and name not in _offered(ctx):
            raise click.UsageError(f"{name} is for this machine, not for a cluster: hitl {name}", ctx)
        if name not in _COMMANDS:
            self._correct(ctx, cmd_name)
            return None
        module = importlib.import_module(f"hitl_cli.{_COMMANDS[name].module}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None and not ctx.resilient_parsing:
            _need_use(ctx, command)
        return name, command, rest

    def _correct(self, ctx: click.Context, typed: str) -> None:
        """Refuse a command that is nearly one of ours with the one that was meant."""
        from difflib import get_close_matches  # noqa: PLC0415 - start-up: only a slip of the fingers needs it

        near = get_close_matches(typed, [*_offered(ctx), *_ALIASES], n=1)
        if near and not ctx.resilient_parsing:
            raise click.UsageError(f"there is no command {typed!r}; did you mean {near[0]}?", ctx)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        from click.shell_completion import CompletionItem  # noqa: PLC0415 - start-up: only completion needs it

        names = [
            CompletionItem(name, help=entry.about)
            for name, entry in _offered(ctx).items()
            if name.startswith(incomplete)
        ]
        return [*names, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if not _is_plugin(ctx):
            super().format_help_text(ctx, formatter)
            return
        first, *_ = (self.help or "").split("\n")
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(first)
            formatter.write_paragraph()
            formatter.write_text(
                "It works on the cluster of your kubeconfig, as you; for one machine alone there is hitl."
            )

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        offered = _offered(ctx)
        for section in dict.fromkeys(entry.section for entry in offered.values()):
            with formatter.section(section):
                formatter.write_dl([(n, e.about) for n, e in offered.items() if e.section == section])


def _offered(context: click.Context) -> dict[str, _Entry]:
    """The commands of the program that was started: `hitl` has all, `kubectl hitl` none for this machine alone."""
    plugin = _is_plugin(context)
    return {name: entry for name, entry in _COMMANDS.items() if not (plugin and entry.where is _Where.MACHINE)}


def _is_plugin(context: click.Context) -> bool:
    return isinstance(context.obj, Session) and context.obj.plugin


def _need_use(context: click.Context, command: click.Command) -> None:
    """Refuse what was typed before a command that has no such option: to pass over it would be to do something else."""
    used = _option_names(command)
    for each in context.command.params:
        given = context.get_parameter_source(each.name or "") is ParameterSource.COMMANDLINE
        if given and each.name not in used:
            raise click.UsageError(f"{command.name} has no option {each.opts[-1]}; leave it out", context)


def _option_names(command: click.Command) -> set[str]:
    names = {each.name for each in command.params if each.name}
    if isinstance(command, click.Group):
        names.update(*map(_option_names, command.commands.values()))
    return names


@click.group(
    cls=_Lazy,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done, 1 error, 2 usage, 3 no longer pending, 4 forbidden, 5 recorded but not yet decisive.",
)
@anywhere_option
@click.version_option(__version__, prog_name="hitl", message="%(prog)s %(version)s")
def cli() -> None:
    """A person decides the tool calls that matter. The rest just run.

    kubectl hitl works on the cluster of your kubeconfig. hitl works on the home of a standalone control plane (--home,
    else HITL_HOME, else ~/.hitl); with --context or --kubeconfig on a cluster, too.
    """


def run(arguments: Sequence[str], program: str = "hitl") -> int:
    """Run one command line. The exit code; everything there is to say was printed."""
    from hitl_cli.logs import logs_on_screen  # noqa: PLC0415 - keeps the plain path short

    session = Session(plugin=program.startswith("kubectl"))
    with logs_on_screen(session):
        return _ended(session, arguments)


def _ended(session: Session, arguments: Sequence[str]) -> int:
    from hitl_cli.edge import INTERRUPTED, exit_code_of, words_for  # noqa: PLC0415 - as above

    name = "kubectl hitl" if session.plugin else "hitl"
    try:
        ended = cli.main(list(arguments), prog_name=name, standalone_mode=False, obj=session)
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
    # Start-up makes some 50 000 objects that all stay: looking for dead circles among them takes a list 13 ms on its
    # way and 40 ms at its end, where `freeze` says that nobody need look.
    gc.set_threshold(100_000, 10, 10)
    code = run(sys.argv[1:], Path(sys.argv[0]).name)
    gc.freeze()
    sys.exit(code)


if __name__ == "__main__":
    main()
