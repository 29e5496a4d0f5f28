"""I9: what agents read. Each outcome has words of its own and says what to do next."""

from dataclasses import replace

import pytest

from approvals.asked import DIGEST, a_request, at, voted, written
from hitl.approvals import conditions, messages
from hitl.approvals.conditions import CancelReason
from hitl.approvals.cooldown import refusal
from hitl.approvals.messages import AgentOutcome, Answer, answer
from hitl.approvals.requests import ApprovalRequest, Category, DecisionKind, Kind, State
from hitl.approvals.settle import approve_unheld, cancel, consume, report, settle
from hitl.policy.actions import Action
from hitl.policy.verdicts import ApprovalTerms, Requirement, SecondFactor
from hitl.policy.wording import agent_hears, authors_words
from hitl.v1 import gate_pb2

NAME = "create-refund-7f3kq00000"


def told(request: ApprovalRequest, seconds: float) -> Answer:
    return answer(request, settle(request, at(seconds)))


def denied(reason: str = "C-20817 was refunded yesterday", category: Category | None = None) -> ApprovalRequest:
    return voted(a_request(), "bo", DecisionKind.DENIED, reason=reason, category=category)


def approved() -> ApprovalRequest:
    request = voted(a_request(), "ana")
    return written(request, approve_unheld(request, at(40)))


def consumed() -> ApprovalRequest:
    request = voted(a_request(), "ana")
    return written(request, consume(request, at(50), digest=DIGEST, by="pod/1").status)  # type: ignore[arg-type]


def test_pending_says_whom_it_waits_for_until_when_and_what_to_do() -> None:
    """PENDING as UX 8 has it: other work first, then the same call; it will not run twice."""
    request = a_request(requirements=(Requirement("lead", any_of=("support-leads",)),))
    assert told(request, 10) == Answer(
        AgentOutcome.PENDING,
        "WAITING",
        f"Waiting for one of support-leads ({NAME}, until 03:02 UTC). Do other work, then make the same call again; it "
        "will not run twice.",
    )


@pytest.mark.parametrize(
    ("requirements", "words"),
    [
        ((), "a reviewer "),
        ((Requirement("r", 2),), "two reviewers "),
        ((Requirement("r", 2, any_of=("a", "b")),), "two of a or b "),
        ((Requirement("r", any_of=("a",)), Requirement("s", any_of=("b",))), "one of a and one of b "),
        ((Requirement("r", second_factor=SecondFactor.ANY),), "a reviewer with a second factor "),
        (
            (Requirement("r", second_factor=SecondFactor.ANY, or_second_person=True),),
            "a reviewer with a second factor, or two reviewers ",
        ),
        (
            (Requirement("r", any_of=("a",), second_factor=SecondFactor.HARDWARE),),
            "one of a with a hardware security key ",
        ),
    ],
)
def test_pending_names_everybody_who_is_still_missing(requirements: tuple[Requirement, ...], words: str) -> None:
    """Whoever reads it knows how many people of which groups are waited for."""
    assert told(a_request(requirements=requirements), 10).message.startswith(f"Waiting for {words}(")


def test_pending_leaves_out_who_has_voted() -> None:
    """With one of two people there, one is waited for; with both, the release."""
    request = voted(a_request(requirements=(Requirement("r", 2),)), "ana")
    assert told(request, 40).message.startswith("Waiting for a reviewer (")
    assert told(voted(request, "bo"), 40).message.startswith("Waiting for the release (")


def test_I9_an_expiry_tells_the_timeout_that_was_set() -> None:
    """I9: an end that was stored a few milliseconds early still says 3 s, as the policy does."""
    request = a_request(timeout=3)
    early = replace(request.status, expiration_time=at(2.99))
    assert "within 3 s" in messages.expired(request, early).message
    found = settle(replace(request, status=early), at(10)).status
    assert found is not None
    assert "3s" in conditions.outcome(found.conditions, State.EXPIRED).message  # type: ignore[union-attr]


def test_a_second_person_in_place_of_a_second_factor_is_just_a_reviewer() -> None:
    """Once somebody voted without a second factor, one more person is waited for, and no factor."""
    anyone = Requirement("r", second_factor=SecondFactor.ANY, or_second_person=True)
    request = voted(a_request(requirements=(anyone,)), "ana")
    assert told(request, 40).message.startswith("Waiting for a reviewer (")


@pytest.mark.parametrize("because", ["", "policy 4.2."])
def test_explain_shows_what_the_agent_will_hear(because: str) -> None:
    """One text for a held call in both, with the author's reason; only a request has a name and an end."""
    explanation = f'rule "r" of policy p says Confirm{": policy 4.2" if because else ""}'
    terms = ApprovalTerms((Requirement("r", any_of=("leads",)),))
    words = authors_words(because, explanation)
    shown = agent_hears(Action.CONFIRM, explanation, because=words, advice="", terms=terms, clarify=False)
    request = a_request(requirements=terms.requirements, because=because, explanation=explanation)
    assert told(request, 10).message.replace(f" ({NAME}, until 03:02 UTC)", "") == shown
    assert ("policy 4.2" in shown) == bool(because)


def test_denied_repeats_the_reviewers_words() -> None:
    """DENIED as UX 8 has it: the words, not to retry, and the category in kebab-case."""
    assert told(denied(category=Category.MISSING_CONTEXT), 40) == Answer(
        AgentOutcome.DENIED,
        "REVIEWER",
        'A reviewer said no: "C-20817 was refunded yesterday". Do not retry. Category: missing-context.',
    )
    assert told(denied(reason=" "), 40).message == "A reviewer said no and gave no reason. Do not retry."


def test_I9_expired_is_never_called_a_denial() -> None:
    """I9: EXPIRED says that nobody answered, that this is no refusal, and that nothing ran."""
    assert told(a_request(), 900) == Answer(
        AgentOutcome.EXPIRED,
        "NOT_DECIDED",
        "Nobody answered within 15 min; this is not a refusal. Nothing ran. Tell the user, or ask again later.",
    )


def test_I9_D2_an_approval_that_lapsed_says_that_people_had_agreed() -> None:
    """I9, D2: the release window's end is an expiry with words of its own."""
    assert told(approved(), 400) == Answer(
        AgentOutcome.EXPIRED,
        "RELEASE_WINDOW",
        "It was approved, but the call was not made again within 5 min, so the approval lapsed; this is not a refusal. "
        "Nothing ran. Make the call again to ask again.",
    )


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(40, "40 s"), (60, "1 min"), (5400, "90 min"), (86400, "1 d"), (604800, "7 d"), (7201, "120 min")],
)
def test_spans_read_as_people_say_them(seconds: int, words: str) -> None:
    """The time that was waited is told in the unit that fits."""
    assert f"within {words};" in told(a_request(timeout=seconds), seconds).message


def test_I8_a_tightened_policy_is_the_policys_no() -> None:
    """I8: PolicyTightened reaches the agent as DENIED, reason TIGHTENED; Superseded does not."""
    for reason, outcome, code in (
        (CancelReason.POLICY_TIGHTENED, AgentOutcome.DENIED, "TIGHTENED"),
        (CancelReason.SUPERSEDED, AgentOutcome.CANCELLED, "SUPERSEDED"),
    ):
        request = written(a_request(), cancel(a_request(), at(5), reason, "policy generation 8"))
        found = told(request, 10)
        assert (found.outcome, found.reason_code) == (outcome, code)


def test_D3_an_edit_that_others_must_see_is_told_with_its_values() -> None:
    """D3: the agent learns what a reviewer wants changed, so that it can ask for that."""
    request = voted(a_request(requirements=(Requirement("r", 2),)), "ana", arguments_patch={"amount": 12000})
    found = told(request, 40)
    assert (found.outcome, found.reason_code) == (AgentOutcome.CANCELLED, "EDITED")
    assert 'only with this change: {"amount": 12000}. Nothing ran.' in found.message


def test_I6_a_released_call_says_that_it_does_not_run_twice_and_how_it_ended() -> None:
    """I6: ALREADY_RELEASED tells when, what was reported, and how to do it once more on purpose."""
    request = consumed()
    assert told(request, 60).message == (
        f"{NAME} was released at 02:48 UTC and nobody reported how it ended, so it may have run. It does not run "
        "twice; to do it once more, send a new call_id."
    )
    for result, words in (
        ("Succeeded", "ran and succeeded"),
        ("Failed", "ran and failed"),
        ("NotStarted", "not started"),
    ):
        done = written(request, report(request, result=result, by="pod/1"))
        assert words in told(done, 60).message


def test_a_suggestion_is_the_persons_to_do() -> None:
    """SUGGESTED: not to be run by the agent, neither while a person is asked nor after it was done."""
    waiting = a_request(kind=Kind.SUGGESTION)
    assert told(waiting, 10).reason_code == "SUGGEST"
    done = voted(waiting, "ana")
    assert (told(done, 40).outcome, told(done, 40).reason_code) == (AgentOutcome.SUGGESTED, "DONE")
    assert all("Do not run it" in told(request, 40).message for request in (waiting, done))


def test_B4_a_cooled_down_call_hears_the_same_denial_again() -> None:
    """B4: the same words as the denial, then which request it was and until when."""
    request = written(denied(), settle(denied(), at(40)).status)  # type: ignore[arg-type]
    found = refusal([request], request.spec.sameness, "stripe/create_refund", at(100), 600)
    assert found is not None
    text = messages.cooled_down(found)
    assert text.outcome is AgentOutcome.DENIED
    assert text.message == (f"{told(request, 50).message} This was {NAME}; the same call is refused until 02:57 UTC.")


def test_a_time_on_another_day_is_told_with_its_date() -> None:
    """A request that stays open past midnight says on which day it ends."""
    assert "until 2026-05-02 02:47 UTC" in told(a_request(timeout=86400), 10).message


def every_answer() -> dict[str, Answer]:
    """One answer of each kind that an agent can get."""
    request = written(denied(), settle(denied(), at(40)).status)  # type: ignore[arg-type]
    same = refusal([request], request.spec.sameness, "", at(50), 600)
    tool = refusal([replace(request, name=f"r-{n}") for n in range(3)], "x", "stripe/create_refund", at(50), 600)
    assert same is not None
    assert tool is not None
    edit = settle(voted(a_request(), "ana", arguments_patch={"amount": 1}), at(40)).edit
    return {
        "pending": told(a_request(), 10),
        "approved": told(approved(), 50),
        "allowed": messages.allowed(NAME),
        "allowed with changes": messages.allowed(NAME, edit),
        "denied": told(denied(), 40),
        "cooldown": messages.cooled_down(same),
        "tool cooldown": messages.cooled_down(tool),
        "expired": told(a_request(), 900),
        "lapsed": told(approved(), 400),
        "released before": told(consumed(), 60),
        "call id reused": messages.call_id_reused(NAME),
        "too many": messages.too_many(20, 20, "workload"),
        "suggested": messages.suggested(a_request()),
        "unavailable": messages.unavailable("HUB_UNREACHABLE", "the hub cannot be reached"),
        "invalid": messages.invalid("arguments: not JSON at byte 3"),
        "edited": messages.cancelled(CancelReason.SUPERSEDED, NAME, edit=edit),
        **{reason.value: messages.cancelled(reason, NAME) for reason in CancelReason},
    }


def test_I9_no_two_outcomes_sound_alike() -> None:
    """I9: every ending has a text, and a pair of outcome and reason, that no other ending has."""
    answers = every_answer()
    assert len({each.message for each in answers.values()}) == len(answers)
    pairs = [(each.outcome, each.reason_code) for each in answers.values()]
    assert len(set(pairs)) == len(pairs)


def test_I9_only_a_no_of_people_or_policy_sounds_like_one() -> None:
    """I9: what was not denied never says so: not expired, cancelled, unavailable, nor malformed calls."""
    no = ("denied", "said no", "rejected", "declined", "forbids", "do not retry")
    for name, each in every_answer().items():
        text = each.message.lower().replace("nobody said no", "")
        if each.outcome is not AgentOutcome.DENIED:
            assert not [word for word in no if word in text], name


def test_I2_every_answer_but_allowed_says_that_nothing_runs() -> None:
    """I2: only ALLOWED tells the agent to run; all others say that nothing ran, or not to run, retry or repeat it."""
    says = ("nothing ran", "do not run", "do not retry", "will not run twice", "does not run twice")
    for name, each in every_answer().items():
        told_to_run = "Run it once, now" in each.message
        assert told_to_run is (each.outcome is AgentOutcome.ALLOWED), name
        assert told_to_run or any(words in each.message.lower() for words in says), name


def test_the_words_of_the_wire_are_the_same() -> None:
    """Every outcome here exists in gate.proto under the same name, and none is missing."""
    on_the_wire = {name.removeprefix("OUTCOME_") for name in gate_pb2.Outcome.keys()} - {"UNSPECIFIED"}  # noqa: SIM118  # not a dict
    assert {each.value for each in AgentOutcome} == on_the_wire
