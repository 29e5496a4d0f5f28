"""`hitl dev call`: one call, sent by hand to a running gate, as an agent would send it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hitl.errors import HitlError, InvalidInput
from hitl.policy.durations import parse_duration
from hitl_cli.exits import Exit
from hitl_cli.lines import line, word
from hitl_cli.options import home_option, output_option, pass_session
from hitl_cli.render import Output
from hitl_cli.session import Session

if TYPE_CHECKING:
    from hitl.v1.gate_pb2 import CheckRequest, CheckResponse

# How much longer than the wait the gate gets before the call counts as unanswered, seconds.
_MARGIN = 5.0

# Everything but ALLOWED means "do not execute"; the code says which kind of no it is.
_EXITS = {
    "ALLOWED": Exit.DONE,
    "PENDING": Exit.NOT_DECISIVE,
    "DENIED": Exit.FORBIDDEN,
    "EXPIRED": Exit.NO_LONGER_PENDING,
    "CANCELLED": Exit.NO_LONGER_PENDING,
    "ALREADY_RELEASED": Exit.NO_LONGER_PENDING,
    "INVALID": Exit.USAGE,
}


@click.command("call", short_help="Send one call to the running gate, as an agent would.")
@click.argument("tool", metavar="[SERVER/]TOOL")
@click.argument("arguments", metavar="[JSON]", default="{}")
@click.option("--wait", metavar="DURATION", default="0s", show_default=True, help="How long to wait for a person.")
@click.option("--call-id", metavar="ID", default="", help="Stable across retries of the same intention.")
@click.option("--session", "conversation", metavar="ID", default="", help="The conversation the call belongs to.")
@click.option("--justification", metavar="TEXT", default="", help="Why, in the agent's words.")
@click.option("--confidence", metavar="PERCENT", type=click.IntRange(0, 100), help="How sure the agent is.")
@click.option("--socket", metavar="PATH", type=click.Path(path_type=Path), help="The gate's socket.  [HOME/gate.sock]")
@home_option
@output_option(Output.TABLE, Output.JSON)
@pass_session
def command(
    session: Session,
    *,
    tool: str,
    arguments: str,
    wait: str,
    call_id: str,
    conversation: str,
    justification: str,
    confidence: int | None,
    socket: Path | None,
) -> Exit:
    """Ask the gate about one call. Nothing is executed: the answer says whether an agent would have run it.

    Exit codes: 0 allowed, 5 pending, 4 denied, 3 expired, cancelled or released before, 2 malformed, 1 no answer.
    """
    try:
        seconds = parse_duration(wait)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--wait") from error
    path = socket or session.home.gate_socket
    request = _request(
        tool,
        arguments,
        wait=seconds,
        call_id=call_id,
        conversation=conversation,
        justification=justification,
        confidence=confidence,
    )
    answer = _ask(path, request, seconds, session)
    if session.screen.output is Output.JSON:
        session.screen.document(_document(answer))
    else:
        _print(session, answer, request)
    return _EXITS.get(_outcome(answer), Exit.ERROR)


def _request(
    tool: str,
    arguments: str,
    *,
    wait: float,
    call_id: str,
    conversation: str,
    justification: str,
    confidence: int | None,
) -> "CheckRequest":
    from google.protobuf.duration_pb2 import Duration  # noqa: PLC0415 - start-up: only this command speaks gRPC

    from hitl.v1 import gate_pb2  # noqa: PLC0415

    server, _, name = tool.rpartition("/")
    patience = Duration()
    patience.FromNanoseconds(int(wait * 1e9))
    return gate_pb2.CheckRequest(
        call=gate_pb2.ToolCall(
            server=server,
            tool=name,
            arguments_json=arguments.encode(),
            call_id=call_id,
            session_id=conversation,
            justification=justification,
            confidence_percent=confidence,
        ),
        wait=patience,
    )


def _ask(path: Path, request: "CheckRequest", wait: float, session: Session) -> "CheckResponse":
    import grpc  # noqa: PLC0415 - start-up: 70 ms that only this command needs

    from hitl.v1 import gate_pb2_grpc  # noqa: PLC0415

    if not path.is_socket():
        raise HitlError(
            f"no gate listens at {path}\nStart one: {session.hint('dev', '-f', 'DIR')}    Another one: --socket PATH"
        )
    with grpc.insecure_channel(f"unix:{path}") as channel:
        stub = gate_pb2_grpc.GateServiceStub(channel)  # type: ignore[no-untyped-call]  # generated
        try:
            answer: CheckResponse = stub.Check(request, timeout=wait + _MARGIN)
        except grpc.RpcError as error:
            problem = f"{error.code().name}: {error.details()}"
            if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
                raise InvalidInput(f"the gate cannot read this call ({problem})") from error
            raise HitlError(
                f"the gate at {path} gave no answer, so an agent must not run the call ({problem})\n"
                f"Is it running? {session.hint('dev', '-f', 'DIR')}"
            ) from error
    return answer


def _outcome(answer: "CheckResponse") -> str:
    from hitl.v1 import gate_pb2  # noqa: PLC0415

    return str(gate_pb2.Outcome.Name(answer.outcome)).removeprefix("OUTCOME_")


def _print(session: Session, answer: "CheckResponse", request: "CheckRequest") -> None:
    outcome = _outcome(answer)
    tool = "/".join(part for part in (request.call.server, request.call.tool) if part)
    session.screen.data(line(word(outcome), "   ", tool, f"   {answer.reason_code}" if answer.reason_code else ""))
    session.screen.talk(*(f"  {each}" for each in answer.message.split("\n")))
    if answer.HasField("arguments_json"):
        session.screen.talk(line("  run with these arguments: ", answer.arguments_json.decode()))
    for review in answer.reviews:
        verb = "approved" if review.approved else "denied"
        reason = f': "{review.reason}"' if review.reason else ""
        session.screen.talk(line("  ", review.reviewer or "a reviewer", f" {verb}", reason))
    if outcome == "PENDING":
        name = answer.handle.rpartition("/")[2]
        session.screen.talk(f"Next: {session.hint('show', name)}    {session.hint('approve', name)}")


def _document(answer: "CheckResponse") -> Any:
    from google.protobuf.json_format import MessageToDict  # noqa: PLC0415 - start-up, as above

    document = MessageToDict(answer)
    document["outcome"] = _outcome(answer)
    if answer.HasField("arguments_json"):
        document["arguments"] = document.pop("argumentsJson")
        document["arguments"] = answer.arguments_json.decode()
    return document
