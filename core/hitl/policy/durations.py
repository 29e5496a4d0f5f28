"""Durations as authors write them (``15m``, ``1h30m``, ``250ms``) and as kubectl prints them."""

import re

_FORM = re.compile(r"(?:[0-9]{1,9}(?:ms|s|m|h|d))+", re.ASCII)
_PART = re.compile(r"([0-9]+)(ms|s|m|h|d)", re.ASCII)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_duration(text: str) -> float:
    """Seconds. ValueError for anything but one or more of ``<digits><ms|s|m|h|d>`` without spaces or a sign."""
    if not _FORM.fullmatch(text):
        raise ValueError(f"{text!r} is not a duration; write digits and a unit, such as 30s, 15m, 24h, 7d or 1h30m")
    return sum(int(digits) * _SECONDS[unit] for digits, unit in _PART.findall(text))


def format_duration(seconds: float) -> str:
    """As kubectl prints ages, ``45s``, ``4m``, ``3d4h``, except that whole hours stay hours (``2h``, not ``120m``)."""
    if seconds <= 0:
        return "0s"
    if seconds < 1:
        return f"{max(1, round(seconds * 1000))}ms"
    whole = int(seconds)
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if whole >= 3600 and whole % 3600 == 0 and hours < 48:
        return f"{hours}h"
    # The steps of HumanDuration in k8s.io/apimachinery: two units while the smaller one still matters.
    if whole < 120 and whole != 60:
        return f"{whole}s"
    if minutes < 10:
        return _two(minutes, "m", whole % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return _two(days, "d", hours % 24, "h")
    return f"{days}d"


def _two(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large}{large_unit}{small}{small_unit}" if small else f"{large}{large_unit}"
