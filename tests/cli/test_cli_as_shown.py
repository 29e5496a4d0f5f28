"""`hitl approve` lets run what was shown: no other call takes its place behind the beginning of a name (G1, D4)."""

import pytest

from cli.homes import AHome, a_spec, cancelled
from cli.test_cli_terminal import terminal
from hitl.approvals.keys import TELLING, request_name, tells

SHOWN, OTHER = "payout-6987hhy5x7", "payout-w82gjasne1"
MILLION = '{"amount":1000000}'

pytestmark = pytest.mark.timeout(240)


def test_G1_a_name_tells_by_its_random_part_alone() -> None:
    """Four characters behind the last dash tell; fewer, the tool's name, or a name of another shape do not."""
    assert all(tells(SHOWN, typed) for typed in (SHOWN, "payout-6987", "PAYOUT-6987H", " payout-6987hhy5x "))
    assert not any(tells(SHOWN, typed) for typed in ("", "payout", "payout-", "payout-698", "payout-w82g"))
    name = request_name("payout-6987hhy5x7", bytes(32), workload="deploy/x", session="", key_text="k", n=0)
    assert name.startswith(SHOWN)
    assert not any(tells(name, name[:end]) for end in range(len(name) - 10 + TELLING))
    assert tells("refund-1", "refund-1")
    assert not tells("refund-1", "refund-")


@pytest.mark.parametrize("words", [("payout",), ("payout", "-o", "json"), ("payout", "--edit", "amount=5")])
def test_G1_a_call_that_took_the_place_of_another_is_not_approved(decided_home: AHome, words: tuple[str, ...]) -> None:
    """G1: shown was one payout, the agent withdrew it and asks for another; `approve payout` records nothing."""
    where = f"swap-{abs(hash(words))}"
    decided_home.request(SHOWN, a_spec(arguments='{"amount":5}'), namespace=where, then=cancelled)
    decided_home.request(OTHER, a_spec(summary="stripe/payout amount=1000000", arguments=MILLION), namespace=where)
    done = decided_home.hitl("approve", *words, "-n", where, "--as", "ana", "--reason", "it's fine")
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines()[1:3] == [
        f"  {OTHER}   stripe/payout amount=1000000",
        f"Look:  hitl show {OTHER}",
    ]
    edited = " --edit amount=5" if "--edit" in words else ""
    assert done.err.splitlines()[3] == f"""Next:  hitl approve {OTHER}{edited} --reason 'it'"'"'s fine'"""
    assert decided_home.now_is(OTHER, where).status.decisions == ()


def test_G1_a_tool_named_like_a_request_does_not_stand_in_for_it(decided_home: AHome) -> None:
    """G1: the whole name of a call that was withdrawn is the beginning of another's, whose tool is named so."""
    impostor = f"{SHOWN}-0123456789"
    decided_home.request(SHOWN, namespace="posing", then=cancelled)
    decided_home.request(impostor, a_spec(arguments=MILLION), namespace="posing")
    done = decided_home.hitl("approve", SHOWN, "-n", "posing", "--as", "ana")
    assert done.code == 2
    assert decided_home.now_is(impostor, "posing").status.decisions == ()


def test_a_name_with_four_characters_of_its_own_is_enough(decided_home: AHome) -> None:
    """What `approve` needs is what nobody can be given twice: payout-2b7f."""
    decided_home.request("payout-2b7fhhy5x7")
    assert decided_home.hitl("approve", "payout-2b7f", "--as", "ana").code == 0


def test_a_denial_may_stay_short(decided_home: AHome) -> None:
    """Nothing runs by it: `deny payo` refuses whatever waits."""
    decided_home.request("payoff-3c8ghhy5x7")
    assert decided_home.hitl("deny", "payoff", "--as", "ana", "--reason", "no").code == 0


def test_D4_of_several_names_each_must_tell(decided_home: AHome) -> None:
    """D4: one short name among several, and none of them is approved; the whole command is given."""
    names = ["batch-4d9hhhy5x7", "other-5eajhhy5x7"]
    for name in names:
        decided_home.request(name)
    done = decided_home.hitl("approve", names[0], "other", "--as", "ana")
    assert done.code == 2
    assert done.err.splitlines()[-1] == f"Next:  hitl approve {names[0]} {names[1]}"
    assert [decided_home.now_is(name).status.decisions for name in names] == [(), ()]


def test_D4_a_call_that_joins_a_group_after_it_was_shown_is_not_approved_with_it(decided_home: AHome) -> None:
    """D4: --group without a terminal gives the names as --item; with these exactly they are approved."""
    names = [f"mail-{number}fbkhhy5x7" for number in range(3)]
    for number, name in enumerate(names[:2]):
        decided_home.request(name, a_spec(group_key="m", arguments=f'{{"to":"{number}"}}'), namespace="joined")
    words = ("-n", "joined", "--as", "ana")
    done = decided_home.hitl("approve", names[0], "--group", *words)
    assert done.code == 2
    *_, offered = done.err.splitlines()
    assert offered == f"Next:  hitl approve {names[0]} --item {names[0]},{names[1]}"
    decided_home.request(names[2], a_spec(group_key="m", arguments='{"to":"eve"}'), namespace="joined")
    assert decided_home.hitl(*offered.split()[2:], *words).code == 0
    assert [len(decided_home.now_is(name, "joined").status.decisions) for name in names] == [1, 1, 0]


def test_D4_a_short_item_tells_nothing(decided_home: AHome) -> None:
    """D4: --item names calls as the command itself does."""
    names = [f"post-{number}gcmhhy5x7" for number in range(2)]
    for name in names:
        decided_home.request(name, a_spec(group_key="p"))
    done = decided_home.hitl("approve", names[0], "--item", f"{names[0]},post-1", "--as", "ana")
    assert done.code == 2
    assert [decided_home.now_is(name).status.decisions for name in names] == [(), ()]


@pytest.mark.parametrize(("typed", "votes", "code"), [("y\n", 1, 0), ("\n", 0, 1), ("n\n", 0, 1)])
def test_G1_at_a_terminal_the_call_is_shown_and_asked_about(
    decided_home: AHome, typed: str, votes: int, code: int
) -> None:
    """G1: a short name shows the whole call first; only yes approves it, Return alone does not."""
    name = f"transfer-6hd{len(typed)}{votes}hy5x7"
    decided_home.request(name, a_spec(arguments=f'{{"amount":1000000,"note":"{"x" * 1500}y"}}'), namespace=name)
    with terminal(decided_home, "approve", "transfer", "-n", name, "--as", "ana") as person:
        asked = person.until("Approve this call? [y/N] ")
        assert name in asked
        assert "1000000" in asked
        assert "xy" in asked.replace("\r\n", "")
        person.type(typed)
        assert person.end()[0] == code
    assert len(decided_home.now_is(name, name).status.decisions) == votes


def test_D4_at_a_terminal_a_group_is_shown_before_it_is_approved(decided_home: AHome) -> None:
    """D4: the table of the group as it is now, with every name, and one question."""
    names = [f"parcel-{number}jemhhy5x7" for number in range(2)]
    for number, name in enumerate(names):
        decided_home.request(name, a_spec(group_key="g", arguments=f'{{"to":"{number}"}}'), namespace="parcels")
    with terminal(decided_home, "approve", names[0], "--group", "-n", "parcels", "--as", "ana") as person:
        asked = person.until("Approve these 2 calls? [y/N] ")
        assert all(name in asked for name in names)
        person.type("yes\n")
        assert person.end()[0] == 0
    assert [len(decided_home.now_is(name, "parcels").status.decisions) for name in names] == [1, 1]


def test_who_may_not_approve_is_told_that_and_not_asked(decided_home: AHome) -> None:
    """A vote that could not count is refused for that: exit code 4, whatever the name."""
    decided_home.request("forbidden-7kfnhhy5x7")
    assert decided_home.hitl("approve", "forbidden", "--as", "bo").code == 4


def test_G1_the_shell_puts_in_no_name_that_nobody_saw(home: AHome) -> None:
    """G1: Tab finishes a name for approve from where it tells; for show and deny from its first letter."""
    home.request(OTHER)
    assert completed(home, "approve", "payout") == []
    assert completed(home, "approve", "payout-w82g") == [OTHER]
    assert completed(home, "deny", "pay") == [OTHER]


def completed(home: AHome, command: str, typed: str) -> list[str]:
    words = f"hitl {command} {typed}"
    done = home.process(_HITL_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD="2")
    return [each.partition(",")[2] for each in done.out.split()]
