"""Who this operator is to the API server: admission policies let one user say which votes count, and nobody else (C3).

Started as somebody else, with an administrator's kubeconfig, it could see everything and yet no vote would ever count.
"""

import asyncio
from typing import Final

from hitl.errors import ApiError, HitlError
from hitl.kube.api import KubeAPI
from hitl.kube.paths import path_of
from hitl.kube.shipped import Shipped
from hitl_operator.cluster.trouble import Trouble
from hitl_operator.logs import Log

_API: Final = "authentication.k8s.io/v1"
_AGAIN: Final = 1.0  # seconds; a token may be replaced meanwhile

_log = Log(__name__)


class OwnName:
    """Asked until it is the right one.

    Attributes:
        is_right: set once it is, or where the API server tells nobody their names.
        wrong: why it is not, with the next step; empty where it is, or is not known yet.
        trouble: what keeps it from being known.
    """

    def __init__(self, api: KubeAPI, shipped: Shipped) -> None:
        """Does nothing yet; `shipped`: the installation that it should belong to."""
        self.is_right = asyncio.Event()
        self.wrong = ""
        self.trouble = Trouble(api, "own-name-unknown", meaning="nothing is served until it is known")
        self._api = api
        self._shipped = shipped

    async def run(self) -> None:
        """Ask until it is the right one."""
        while True:
            try:
                wrong = self._wrong(await self._asked())
            except HitlError as error:
                self.trouble.tell(error)
            else:
                self.trouble.over()
                if wrong and wrong != self.wrong:
                    _log.error("wrong-identity", problem=wrong)
                self.wrong = wrong
                if not wrong:
                    self.is_right.set()
                    return
            await asyncio.sleep(_AGAIN)

    async def _asked(self) -> str:
        """Its user name. HitlError where that cannot be told now."""
        review = {"apiVersion": _API, "kind": "SelfSubjectReview"}
        try:
            answer = await self._api.create(path_of(_API, "selfsubjectreviews"), review)
        except ApiError as error:
            if error.status not in (403, 404):
                raise
            # Votes count by what the API server's policies refuse, whatever it tells of names.
            _log.warning("own-name-untold", problem=error)
            return self._shipped.operator
        return str(answer["status"]["userInfo"]["username"])

    def _wrong(self, name: str) -> str:
        wanted = self._shipped
        if name == wanted.operator:
            return ""
        return (
            f"the API server {self._api.server} knows this operator as {name}, by {self._api.place}, and admission "
            f"policies let {wanted.operator} alone say which votes count, so none ever would; use its token: "
            f"in a pod of namespace {wanted.namespace} by serviceAccountName: {wanted.service_account}, elsewhere by a "
            f"kubeconfig with what kubectl create token {wanted.service_account} -n {wanted.namespace} prints (where "
            "the policies were made for another one, say so with --namespace and --service-account)"
        )
