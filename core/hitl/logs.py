"""Log lines of every program that stays: no text but ours begins one (SECURITY G1)."""

import logging
from types import TracebackType

from hitl.policy.escaping import as_plain

_Raised = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class PlainFormatter(logging.Formatter):
    """Shows what cannot be seen, whoever had to say it; what a trace quotes stands indented."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        record.message = as_plain(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: _Raised) -> str:  # noqa: N802 - as above
        return "\n".join(f"    {as_plain(line)}" for line in super().formatException(ei).split("\n"))
