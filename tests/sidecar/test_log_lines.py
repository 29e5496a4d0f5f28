"""The sidecar's log: text from agents, policies and the hub draws no line of it (SECURITY G1)."""

import io
import logging
from collections.abc import Iterator

import pytest

from hitl_sidecar.logs import log_to

HOSTILE = "x\n2026-11-21 19:00:00,000 sidecar INFO config abc is in force\r\x1b[2J\u202e\u200b\x85y"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """What a process would write to stderr; logging is as before afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    text = io.StringIO()
    log_to(text)
    yield text
    root.handlers[:], root.level = handlers, level


def test_G1_a_message_stays_one_line_whatever_it_quotes(stream: io.StringIO) -> None:
    """G1: line breaks, escapes, bidi and zero-width characters are written out, not drawn."""
    logging.getLogger("hitl_sidecar.test").warning("%s is not released: %s", HOSTILE, HOSTILE)
    (line,) = stream.getvalue().splitlines()
    assert " sidecar WARNING x⏎2026-11-21" in line
    assert line.isprintable()
    assert r"\u001b[2J\u202e\u200b" in line


def stumble() -> None:
    raise ValueError(HOSTILE)


def test_G1_a_trace_begins_no_line_of_ours(stream: io.StringIO) -> None:
    """G1: what an exception quotes is indented, line by line, so that nobody takes it for a word of the sidecar."""
    try:
        stumble()
    except ValueError:
        logging.getLogger("hitl_sidecar.test").exception("a call could not be evaluated")
    first, *trace = stream.getvalue().split("\n")[:-1]
    assert first.endswith(" sidecar ERROR a call could not be evaluated")
    assert any("config abc is in force" in line for line in trace)
    assert all(line.startswith("    ") and line.isprintable() for line in trace)


def test_text_that_was_made_plain_before_stays_as_it_is(stream: io.StringIO) -> None:
    """G1: what is stored escaped is not escaped twice: two different texts never look alike."""
    logging.getLogger("hitl_sidecar.test").info("%s", r"refund \u202e of café C:\new")
    assert stream.getvalue().endswith("sidecar INFO refund \\u202e of café C:\\new\n")
