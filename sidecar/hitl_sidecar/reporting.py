"""Report: how a released call ended, and what of its result the model may see."""

import logging

from hitl.errors import HitlError, InvalidInput
from hitl.v1 import gate_pb2
from hitl.wire.requests import result_from_proto
from hitl_sidecar.hub import Hub
from hitl_sidecar.permits import Closing, Permits
from hitl_sidecar.programmed import Programmed
from hitl_sidecar.recorder import Recorder

log = logging.getLogger(__name__)

_WITHHELD = "The tool's result cannot be shown: it is not JSON that could be searched for secrets. The tool did run."


class Reports:
    """Closes permits. Redaction of a result does not depend on the permit: a restart must not let secrets through."""

    def __init__(self, *, epoch: str, programmed: Programmed, hub: Hub, recorder: Recorder, permits: Permits) -> None:
        self._epoch = epoch
        self._programmed = programmed
        self._hub = hub
        self._recorder = recorder
        self._permits = permits

    async def report(self, request: gate_pb2.ReportRequest) -> gate_pb2.ReportResponse:
        """Close the permit, once, and hand back what may be shown.

        Raises:
            InvalidInput: that is no permit, or no result of this release.
            Unavailable: there is no config, or nothing can be recorded; send the report again.
        """
        word = result_from_proto(request.result)
        try:
            closing, permit = self._permits.close(request.permit)
        except ValueError as error:
            raise InvalidInput(f"permit: {error}") from error
        response = self._shown(request)
        if closing is Closing.REPEATED:
            return response
        self._recorder.report(permit.tool, permit.handle, word, tuple(response.findings))
        if permit.handle:
            try:
                await self._hub.report(permit.handle, request.result, self._epoch)
            except HitlError as error:
                # The audit log has it; whether the hub knows decides about nothing but what Await tells.
                log.warning("the hub did not take the report on %s: %s", permit.handle, error)
        return response

    def _shown(self, request: gate_pb2.ReportRequest) -> gate_pb2.ReportResponse:
        response = gate_pb2.ReportResponse()
        if not request.HasField("output_json"):
            return response
        in_force = self._programmed.current()
        try:
            shown, findings = in_force.redactor.redact_json(request.output_json)
        except InvalidInput:
            response.withheld_message = _WITHHELD
            return response
        if shown != request.output_json:
            response.output_json = shown
        response.findings.extend(findings)
        return response
