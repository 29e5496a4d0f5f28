"""Log lines of the sidecar: one line each, whatever agents, policies or the hub had to say (SECURITY G1)."""

import logging
import sys
from typing import TextIO

from hitl.logs import PlainFormatter


def log_to(stream: TextIO = sys.stderr, *, level: int = logging.INFO) -> None:
    """Send every line of this process to `stream`."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(PlainFormatter("%(asctime)s sidecar %(levelname)s %(message)s"))
    logging.basicConfig(level=level, handlers=[handler], force=True)
