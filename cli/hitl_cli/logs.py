"""What libraries log while a command runs, printed like everything else: Python itself would print it as it is (G1)."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from hitl_cli.session import Session

_OURS: Final = ("hitl", "hitl_cli")


class _ScreenHandler(logging.Handler):
    """One line of stderr for each record. Exceptions are left out: their words may hold what nobody should see."""

    def __init__(self, session: Session) -> None:
        super().__init__(logging.WARNING)
        self._session = session

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.name.partition(".")[0] not in _OURS:
            text = text.partition("\n")[0]  # asyncio goes on with the exception as it is
        self._session.screen.error(f"{'error' if record.levelno >= logging.ERROR else 'warning'}: {text}")


@contextmanager
def logs_on_screen(session: Session) -> Iterator[None]:
    """As long as this lasts, warnings and errors that are logged are printed on the session's screen."""
    handler = _ScreenHandler(session)
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
