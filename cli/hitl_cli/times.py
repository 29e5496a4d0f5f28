"""Times as people read them: kubectl's durations, and the clock on their wall."""

from datetime import datetime, timedelta

from hitl.policy.durations import format_duration

# Below this tenths of a second matter to whoever waits for an answer.
_SHORT = 10.0


def since(moment: datetime, now: datetime) -> str:
    """How long ago, e.g. ``4m``; a moment in the future is ``0s``."""
    return format_duration(max(int((now - moment).total_seconds()), 0))


def until(moment: datetime, now: datetime) -> str:
    """How long from now, e.g. ``11m``; a moment in the past is ``0s``."""
    return since(now, moment)


def clock(moment: datetime, now: datetime, *, zone: bool = True) -> str:
    """Local time of day with its zone; with the date where that is not today."""
    local = moment.astimezone()
    form = "%H:%M:%S" if local.date() == now.astimezone().date() else "%Y-%m-%d %H:%M:%S"
    return local.strftime(f"{form} %Z" if zone else form).rstrip()


def took(length: timedelta) -> str:
    """A length of time, e.g. ``0.2s`` or ``48s``; a negative one, from two clocks that differ, is ``0.0s``."""
    seconds = max(length.total_seconds(), 0)
    return f"{seconds:.1f}s" if seconds < _SHORT else format_duration(int(seconds))
