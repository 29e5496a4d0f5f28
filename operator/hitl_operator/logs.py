"""Log lines as ``time level event key=value …``: one line each, never an argument of a call (I10), never a token.

A value that could be mistaken for something else is written as JSON, so that no text from outside draws a line of ours
(SECURITY G1). What libraries say is made plain, and traces, which quote what they stumbled over, stand indented.
"""

import logging
import re
import sys
import time
from typing import TextIO

import orjson

from hitl.logs import PlainFormatter

_PLAIN = re.compile(r"[A-Za-z0-9._:/@+,-]+")
_LONGEST = 2000  # characters of one value
# Exceptions of HTTP libraries carry the headers and addresses that they failed with, and are shown as they are.
_CREDENTIALS = re.compile(r"(\b(?:Bearer|Basic) )[A-Za-z0-9._~+/=-]{8,}|(://)[^\s/@]+(?=@)", re.IGNORECASE)


class Log:
    """Structured lines on top of the standard library's logging."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def debug(self, event: str, **fields: object) -> None:
        """Too frequent for every day."""
        self._write(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: object) -> None:
        """Something happened as it should."""
        self._write(logging.INFO, event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """Somebody should look at this some time."""
        self._write(logging.WARNING, event, fields)

    def error(self, event: str, **fields: object) -> None:
        """Somebody has to mend this."""
        self._write(logging.ERROR, event, fields)

    def exception(self, event: str, **fields: object) -> None:
        """A defect of ours, with the trace of the exception being handled."""
        self._logger.error("%s", render(event, fields), exc_info=True)  # noqa: LOG014 - called from except blocks

    def _write(self, level: int, event: str, fields: dict[str, object]) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, "%s", render(event, fields))


def render(event: str, fields: dict[str, object]) -> str:
    """``event key=value``; empty values are left out."""
    parts = [event]
    for key, value in fields.items():
        text = str(value)[:_LONGEST]
        if text and value is not None:
            # ASCII only inside quotes: bidi and zero-width characters come out as \\u escapes.
            shown = text if _PLAIN.fullmatch(text) else _quoted(text)
            parts.append(f"{key}={shown}")
    return " ".join(parts)


def _quoted(text: str) -> str:
    raw = orjson.dumps(text.encode("utf-8", "backslashreplace").decode()).decode()
    return "".join(
        character if character.isascii() and character != "\x7f" else f"\\u{ord(character):04x}" for character in raw
    )


class _Formatter(PlainFormatter):
    """Leaves out credentials wherever they stand, traces included."""

    def format(self, record: logging.LogRecord) -> str:
        return _CREDENTIALS.sub(lambda found: f"{found[1] or found[2]}[left out]", super().format(record))


def log_to(stream: TextIO = sys.stderr, *, level: int = logging.INFO) -> None:
    """Send every line of this process to `stream`."""
    # What no line of ours shows need not be found out for each (see "Optimization" in the logging documentation).
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None  # noqa: SLF001
    formatter = _Formatter("%(asctime)sZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    logging.basicConfig(level=level, handlers=[handler], force=True)
