"""Log lines: one line each, and text from outside cannot draw one of ours."""

import io
import logging
from collections.abc import Iterator

import pytest

from hitl_operator.logs import Log, log_to, render


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """What a process would write to stderr; logging is as before afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    flags = logging.logThreads, logging.logProcesses, logging.logMultiprocessing, logging._srcfile
    text = io.StringIO()
    log_to(text)
    yield text
    root.handlers[:], root.level = handlers, level
    logging.logThreads, logging.logProcesses, logging.logMultiprocessing, logging._srcfile = flags


@pytest.mark.parametrize(
    "text",
    ["a\nb", "a b=c", 'say "no"', "\x1b[2J", "\u202eevil", "zero\u200bwidth", "\udcff", "tab\there", "\x7f"],
)
def test_G1_a_value_cannot_begin_a_line_or_field_of_ours(text: str) -> None:
    """G1: whatever is not plain is quoted and escaped, so a line stays one line of printable ASCII."""
    line = render("opened", {"tool": text, "tier": "confirm"})
    assert line.isascii()
    assert line.isprintable()
    assert line.startswith('opened tool="')
    assert line.endswith('" tier=confirm')


def test_empty_values_are_left_out_and_long_ones_cut() -> None:
    """A line says what there is, at most two thousand characters of each value."""
    assert render("x", {"a": "", "b": None, "c": 0}) == "x c=0"
    assert len(render("x", {"a": "y" * 5000})) == len("x a=") + 2000


def test_a_line_has_time_level_and_event(stream: io.StringIO) -> None:
    """A line can be cut into time, level, event and fields; debug lines are left out by default."""
    Log("hitl_operator.test").info("opened", handle="shop/refund-7f3kq")
    Log("hitl_operator.test").debug("noise")
    (line,) = stream.getvalue().splitlines()
    time, level, event, field = line.split(" ")
    assert time.endswith("Z")
    assert (level, event, field) == ("INFO", "opened", "handle=shop/refund-7f3kq")


def test_G1_no_line_and_no_trace_holds_credentials(stream: io.StringIO) -> None:
    """G1: what an HTTP library keeps with its errors, headers and a proxy's address, is left out of what is logged."""
    headers = "<CIMultiDictProxy('Authorization': 'Bearer CANARY.7f-3_a9', 'Proxy-Authorization': 'Basic Q0FOQVJZ')>"
    text = f"ClientResponseError(RequestInfo({headers}, URL('http://ana:CANARY@proxy:3128')), status=400)"
    log = Log("hitl_operator.test")
    log.error("failed", problem=text)
    logging.getLogger("asyncio").error("Task exception was never retrieved\nexception=%s", text)
    try:
        int(text)
    except ValueError:  # its words repeat what is no number
        log.exception("defect")
    shown = stream.getvalue()
    assert "CANARY" not in shown
    assert "Q0FOQVJZ" not in shown
    assert shown.count("http://[left out]@proxy:3128") == 3
    assert "wanted a bearer token" in said(stream, "wanted a bearer token")


def stumble(over: str) -> None:
    raise ValueError(over)


def said(stream: io.StringIO, text: str) -> str:
    logging.getLogger("hitl_operator.test").error("%s", text)
    return stream.getvalue().splitlines()[-1]


def test_G1_what_libraries_say_and_traces_quote_begins_no_line_of_ours(stream: io.StringIO) -> None:
    """G1: a library's message is one line, a trace is indented line by line, and nothing in either moves a terminal."""
    hostile = "x\n2026-11-21T19:00:00Z INFO enforcement stands=True\r\x1b[2J\u202e"
    logging.getLogger("asyncio").error("Task exception was never retrieved: %s", hostile)
    (line,) = stream.getvalue().splitlines()
    assert line.isprintable()
    try:
        stumble(hostile)
    except ValueError:
        Log("hitl_operator.test").exception("defect", place="policies")
    _, first, *trace = stream.getvalue().split("\n")[:-1]
    assert first.endswith(" ERROR defect place=policies")
    assert any("enforcement stands=True" in each for each in trace)
    assert all(each.startswith("    ") and each.isprintable() for each in trace)
