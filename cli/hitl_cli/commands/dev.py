"""`hitl dev`: a control plane and one sidecar on this machine, and what a developer does with them."""

import shlex
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click

from hitl.errors import HitlError
from hitl_cli.commands import dev_call, dev_reviewer
from hitl_cli.exits import Exit
from hitl_cli.home import Home
from hitl_cli.options import home_option
from hitl_cli.processes import Programs
from hitl_cli.session import Session


@click.group("dev", invoke_without_command=True, short_help="Run a control plane and a sidecar on this machine.")
@click.option(
    "-f",
    "--policies",
    metavar="PATH",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    help="Policies: file or folder; watched, so that changes count at once.",
)
@click.option(
    "--settings",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The operator's settings: flood control, limits on what waits, staleness.",
)
@click.option("--tcp", metavar="HOST:PORT", help="Let agents connect over loopback TCP too.")
@home_option
@click.pass_context
def command(context: click.Context, policies: tuple[Path, ...], settings: Path | None, tcp: str | None) -> Exit:
    """Run a control plane and one sidecar until Ctrl-C; requests and keys stay in the home.

    Cooperative: one account can read every key in the home. It shows the product, it does not guard a machine.
    """
    session = context.ensure_object(Session)
    if context.invoked_subcommand is not None:
        return Exit.DONE
    if not policies:
        raise click.UsageError("say where the policies are: -f DIR (a first one: hitl init)", context)
    return _run(session, session.home, policies, settings, tcp)


command.add_command(dev_call.command)
command.add_command(dev_reviewer.command)


def _run(session: Session, home: Home, policies: Sequence[Path], settings: Path | None, tcp: str | None) -> Exit:
    home.need_socket_room()
    home.need_nobody()
    home.path.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _ended_by_signals(), Programs() as programs:
        try:
            hub = programs.start(
                "control plane",
                "hitl_operator.standalone",
                [
                    "--home",
                    str(home.path),
                    "-f",
                    *map(str, policies),
                    *(["--settings", str(settings)] if settings else []),
                ],
            )
            hub.wait_until_serving(home.hub_socket)
            gate = programs.start(
                "sidecar",
                "hitl_sidecar",
                [
                    *("--socket", str(home.gate_socket)),
                    *("--hub", f"unix:{home.hub_socket}"),
                    *("--state", str(home.sidecar_state)),
                    *(("--tcp", tcp) if tcp else ()),
                ],
            )
            gate.wait_until_serving(home.gate_socket)
            _greet(session, home, tcp)
            ended = programs.wait_for_an_end()
        except KeyboardInterrupt:
            session.screen.talk("", "stopping; what waits stays in the home until it is decided or expires")
            return Exit.DONE
    again = session.hint("dev", *(shlex.join(["-f", str(path)]) for path in policies))
    raise HitlError(
        f"the {ended.name} ended (exit code {ended.exit_code}); see above. The other one was ended too\n"
        f"Nothing is lost; start again: {again}"
    )


def _greet(session: Session, home: Home, tcp: str | None) -> None:
    session.screen.data(
        f"gate      {home.gate_socket}", *([f"          {tcp}"] if tcp else []), f"home      {home.path}"
    )
    lines = [
        "",
        "Cooperative: this account can read every key in the home, so it could approve its own calls.",
        f"Call      {session.hint('dev', 'call', 'shop/refund', _QUOTED)}",
        f"Look      {session.hint('list')}",
        f"Decide    {session.hint('approve', 'NAME')}    {session.hint('deny', 'NAME', '--reason', _REASON)}",
    ]
    if not home.key_names():
        lines.append(f"Nobody may decide yet: {session.hint('dev', 'reviewer', 'add', 'NAME')}")
    session.screen.talk(*lines, "Ctrl-C ends both.")


_QUOTED = """'{"amount": 7500}'"""
_REASON = '"…"'


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """SIGTERM and a closed terminal end us the way Ctrl-C does, so that no child outlives us."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
