"""How much of its node a sidecar asks for and may take, and the annotations by which authors change that."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

PREFIX: Final = "hitl.dev/sidecar-"
_QUANTITY: Final = re.compile(r"(\d{1,12}(?:\.\d{0,6})?)(m|[kMGTPE]|[KMGTPE]i|)", re.ASCII)
_POWERS: Final = {
    "m": Decimal("0.001"),
    "": Decimal(1),
    **{unit: Decimal(1000) ** power for power, unit in enumerate("kMGTPE", 1)},
    **{f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", 1)},
}
# An idle sidecar takes up to 55 MiB, so less would end it before its pod ever starts.
_LEAST_MEMORY: Final = Decimal(64 * 1024**2)
_MI: Final = Decimal(1024**2)  # with less somebody wrote 128m for 128Mi: the former is an eighth of a byte
_LEAST_CPU: Final = Decimal("0.001")


@dataclass(frozen=True, slots=True)
class _Kind:
    """What can be asked for.

    Attributes:
        request, limit: where nothing is annotated.
        least: of a request, and of a limit.
        wanted: what may be written, for who wrote something else.
    """

    name: str
    request: str
    limit: str
    least: tuple[Decimal, Decimal]
    wanted: str


# Limits are set although a CPU limit can only slow things: a LimitRange or quota that wants them refuses pods without.
_KINDS: Final = (
    _Kind("cpu", "50m", "1", (_LEAST_CPU, _LEAST_CPU), "a quantity of CPU from 1m on, such as 50m or 0.5"),
    _Kind(
        "memory", "64Mi", "384Mi", (_MI, _LEAST_MEMORY), "a quantity of memory, such as 128Mi; as a limit 64Mi or more"
    ),
)

ANNOTATIONS: Final = frozenset(f"{PREFIX}{kind.name}-{which}" for kind in _KINDS for which in ("request", "limit"))
"""All that authors may annotate of resources."""


def resources_of(annotations: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """`resources` of the sidecar, and what is wrong with the annotations: which, what stands there, what is wanted."""
    found: dict[str, dict[str, str]] = {"requests": {}, "limits": {}}
    wrong: list[str] = []
    for kind in _KINDS:
        request, limit = f"{PREFIX}{kind.name}-request", f"{PREFIX}{kind.name}-limit"
        texts = annotations.get(request, kind.request), annotations.get(limit, kind.limit)
        sizes = [_quantity(text) for text in texts]
        for key, text, size, least in zip((request, limit), texts, sizes, kind.least, strict=True):
            if size is None or size < least:
                wrong.append(f'annotation {key} is "{text}", wanted {kind.wanted}')
        if sizes[0] is not None and sizes[1] is not None and sizes[0] > sizes[1]:
            wrong.append(
                f'annotation {request} ("{texts[0]}") is more than {limit} ("{texts[1]}"); raise the limit with it'
            )
        found["requests"][kind.name], found["limits"][kind.name] = texts
    return found, wrong


def _quantity(text: str) -> Decimal | None:
    """In cores or bytes; None for what is none. Forms that people write: no exponent, no sign."""
    match = _QUANTITY.fullmatch(text)
    return Decimal(match[1]) * _POWERS[match[2]] if match else None
