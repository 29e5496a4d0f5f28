"""What the API server refuses the operator itself, in words for who can mend it: which server, what, the next step."""

from typing import Final

from hitl.errors import ApiError, HitlError
from hitl.kube.api import KubeAPI
from hitl.kube.shipped import apply_command
from hitl_operator.logs import Log

MEND: Final = f"apply what this release ships: {apply_command()}"
"""The next step where roles or admission policies are not as they were shipped."""

_log = Log(__name__)


class Trouble:
    """What keeps one thing from being read: said in the log once for every change, in `why` for as long as it lasts.

    Attributes:
        why: for `/readyz`; empty where there is none.
    """

    def __init__(self, api: KubeAPI, event: str, *, meaning: str = "") -> None:
        """`event`: as the log names it; `meaning`: what follows from it."""
        self.why = ""
        self._api = api
        self._event = event
        self._meaning = meaning

    def tell(self, error: HitlError) -> None:
        """It failed, perhaps not for the first time."""
        why = in_words(error, self._api)
        if why != self.why:
            self.why = why
            tell = _log.warning if _refusal(error) is None else _log.error
            tell(self._event, problem=why, meaning=self._meaning)

    def over(self) -> None:
        """It works, perhaps it did before."""
        if self.why:
            self.why = ""
            _log.info("works-again", after=self._event)


def in_words(error: HitlError, api: KubeAPI) -> str:
    """An error of a call that the operator made; that it is not known, or has no right, with server and next step."""
    refusal = _refusal(error)
    match refusal.status if refusal is not None else None:
        case 401:
            return (
                f"the API server {api.server} does not accept the operator's credentials (401 {refusal}), so nothing "
                f"can be read or written; renew the token or certificate of {api.place}"
            )
        case 403:
            return f"the API server {api.server} refuses: {refusal}; {MEND}"
    return str(error)


def _refusal(error: HitlError) -> ApiError | None:
    """The server's own no, where that is what it comes of."""
    found = error if isinstance(error, ApiError) else error.__cause__
    return found if isinstance(found, ApiError) and found.status in (401, 403) else None
