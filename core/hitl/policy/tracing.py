"""What `explain` wants to know beyond the verdict, noted by evaluation itself as it goes: one logic, one trace."""

from dataclasses import dataclass, field

from hitl.policy.situations import Situation
from hitl.policy.voices import Candidate, Judgement, Voice


@dataclass(frozen=True, slots=True)
class Tried:
    """One rule that names the tool, tried on the arguments.

    Attributes:
        fits: whether it matched.
        detail: what decided that: ``/amount is 15000, wants <= 5000``; redacted and escaped.
        wanted: what would have made it match: ``amount <= 5000``; empty if that cannot be said so.
    """

    candidate: Candidate
    fits: bool
    detail: str
    wanted: str = ""


@dataclass(slots=True)
class Trace:
    """Filled during one evaluation.

    Attributes:
        situation: the call with everything around it; None where evaluation ended before there was one.
        flood: (calls of the tool and session, calls of the pod) in the last minute.
        freeze: who stopped the call and why; empty where nobody did.
        path_hits: what was found of protected paths, one line each.
        tried: rules in the order in which they were tried, by voice.
        judgements: what each voice that spoke said.
        decider: the judgement that the verdict rests on.
    """

    situation: Situation | None = None
    flood: tuple[int, int] = (0, 0)
    freeze: str = ""
    path_hits: list[str] = field(default_factory=list)
    tried: dict[Voice, list[Tried]] = field(default_factory=dict)
    judgements: list[Judgement] = field(default_factory=list)
    decider: Judgement | None = None

    def rule(self, candidate: Candidate, detail: str, *, fits: bool, wanted: str = "") -> None:
        """One more rule was tried."""
        self.tried.setdefault(candidate.voice, []).append(Tried(candidate, fits, detail, wanted))
