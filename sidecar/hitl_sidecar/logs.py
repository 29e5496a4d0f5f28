"""Log lines of the sidecar: one line each, whatever agents, policies or the hub had to say (SECURITY G1)."""

import logging
import sys
from types import TracebackType
from typing import TextIO

from hitl.policy.escaping import as_plain

_Raised = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class _Formatter(logging.Formatter):
    """Shows what cannot be seen, and lets no text but ours begin a line: what a trace quotes stands indented."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        record.message = as_plain(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: _Raised) -> str:  # noqa: N802 - as above
        return "\n".join(f"    {as_plain(line)}" for line in super().formatException(ei).split("\n"))


def log_to(stream: TextIO = sys.stderr, *, level: int = logging.INFO) -> None:
    """Send every line of this process to `stream`."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_Formatter("%(asctime)s sidecar %(levelname)s %(message)s"))
    logging.basicConfig(level=level, handlers=[handler], force=True)
