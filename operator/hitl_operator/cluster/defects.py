"""What somebody wrote and we stumbled over must neither end nor stall what concerns others (SECURITY H1, I13)."""

from hitl_operator.logs import Log
from hitl_operator.metrics import HubMetrics

_log = Log(__name__)


def note_defect(metrics: HubMetrics, where: str, **about: object) -> None:
    """Log the exception that is being handled, and count it: a defect of ours, after which work goes on.

    Args:
        metrics: get `hitl_defects_total`.
        where: in what work.
        about: what it happened with.
    """
    metrics.defects.labels(where).inc()
    _log.exception("defect", where=where, **about)
