"""People whose names are not written in ASCII: the API server knows the same person whichever way they come (I4)."""

import pytest

from cluster.inboxes import Inbox
from control_plane.running import ControlPlane


@pytest.mark.parametrize("name", ["müller@example.com", "Ωana", "мария", "王@example.com"])
def test_I4_a_name_outside_ascii_reads_and_votes_as_one_person(
    control_plane: ControlPlane, namespace: str, name: str
) -> None:
    """I4: with --as, what reads and what writes go by the same name, which stands in the vote as it was bound."""
    inbox = Inbox(control_plane, namespace).bind("hitl-reviewer", name)
    inbox.request("refund-1")
    acting = ("--as", name, "--as-group", "support-leads", "-n", namespace)
    listed = inbox.kubectl(control_plane.admin, "hitl", "list", *acting)
    assert listed.err.startswith("1 of 1 need you."), listed.err
    assert inbox.kubectl(control_plane.admin, "hitl", "approve", "refund-1", *acting).code == 5
    assert [each.reviewer for each in inbox.now_is("refund-1").status.decisions] == [name]
