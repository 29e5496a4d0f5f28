"""What an installation applies: complete, made to measure, and never with a name that is more than a name."""

import subprocess
import sys
from typing import Any

import pytest
import yaml

from hitl.errors import InvalidInput
from hitl.kube.shipped import DEFAULT, Shipped, admission, crds, home, roles
from hitl_operator.manifests import main

ELSEWHERE = Shipped(
    namespace="guard",
    service_account="gate",
    factor_key="example.com/methods",
    factors=("mfa", "fido"),
    hardware=("fido",),
)


def texts(value: Any) -> list[str]:
    """Every text in a document."""
    if isinstance(value, dict):
        return [text for item in value.values() for text in texts(item)]
    if isinstance(value, list):
        return [text for item in value for text in texts(item)]
    return [value] if isinstance(value, str) else []


def test_every_policy_has_its_binding_and_fails_closed() -> None:
    """I2: no policy is shipped that nothing binds, that lets pass what it cannot judge, or that only warns."""
    shipped = admission()
    policies = {each["metadata"]["name"]: each for each in shipped if each["kind"] == "ValidatingAdmissionPolicy"}
    bindings = [each for each in shipped if each["kind"] == "ValidatingAdmissionPolicyBinding"]
    assert {each["spec"]["policyName"] for each in bindings} == set(policies)
    assert all(each["spec"]["failurePolicy"] == "Fail" for each in policies.values())
    assert all("Deny" in each["spec"]["validationActions"] for each in bindings)
    assert not [each for each in bindings if "matchResources" in each["spec"]]
    assert {"hitl-decisions", "hitl-writers", "hitl-operator-writes", "hitl-hub-tokens"} <= set(policies)


def test_every_refusal_has_words_for_people() -> None:
    """Nobody is shown an expression where he wants to know what to do."""
    for each in admission():
        for validation in each["spec"].get("validations", ()):
            assert "message" in validation or "messageExpression" in validation, each["metadata"]["name"]
            assert "\n" not in validation.get("message", "")


def test_another_installation_is_named_everywhere() -> None:
    """Namespace, ServiceAccount and factors of another installation stand wherever those of the default one do."""
    before, after = [*admission(), *roles(), *home()], [*admission(ELSEWHERE), *roles(ELSEWHERE), *home(ELSEWHERE)]
    assert len(before) == len(after)
    wanted = {
        DEFAULT.operator: ELSEWHERE.operator,
        "'hitl-system'": "'guard'",
        DEFAULT.factor_key: ELSEWHERE.factor_key,
        "['mfa', 'otp', 'hwk', 'swk', 'fpt', 'face']": "['mfa', 'fido']",
        "['hwk']": "['fido']",
    }
    for old, new in wanted.items():
        counts = [sum(text.count(old) for text in texts(before)), sum(text.count(new) for text in texts(after))]
        assert counts[0] > 0
        assert counts[0] == counts[1], old
        assert not [text for text in texts(after) if old in text]
    subjects = [subject for each in after for subject in each.get("subjects", ())]
    assert subjects
    assert all((each["name"], each["namespace"]) == ("gate", "guard") for each in subjects)


def test_names_of_policies_and_roles_stay_in_every_installation() -> None:
    """What is watched, bound and documented is found under its name, wherever the operator runs."""
    for here, there in ((admission(), admission(ELSEWHERE)), (roles(), roles(ELSEWHERE))):
        assert [each["metadata"]["name"] for each in here] == [each["metadata"]["name"] for each in there]


@pytest.mark.parametrize(
    "changes",
    [
        {"namespace": "a' || true || 'a"},
        {"namespace": "Hitl"},
        {"service_account": ""},
        {"factor_key": "x'] + ['"},
        {"factors": ("mfa", "a'b")},
        {"factors": ()},
        {"factors": ("pwd", "mfa")},
        {"hardware": ("fido",)},
    ],
    ids=str,
)
def test_a_name_that_is_more_than_a_name_is_refused(changes: dict[str, Any]) -> None:
    """What is put into an expression cannot change what the expression says, and a password is no second factor."""
    with pytest.raises(InvalidInput, match=next(iter(changes))):
        Shipped(**changes)


def test_the_printed_manifests_are_what_is_shipped(capsys: pytest.CaptureFixture[str]) -> None:
    """Printing and reading again gives the same, also to a reader for which a bare n means false (YAML 1.1)."""
    assert main(["--only", "crds"]) == 0
    printed = capsys.readouterr().out
    assert tuple(yaml.safe_load_all(printed)) == crds()
    assert "- n\n" not in printed
    assert " n:\n" not in printed


def test_the_command_prints_everything_in_an_order_that_applies() -> None:
    """`python -m hitl_operator.manifests` gives the CRDs, the namespace before what lives in it, and policies."""
    command = [sys.executable, "-m", "hitl_operator.manifests", "--namespace", "guard"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    kinds = [each["kind"] for each in yaml.safe_load_all(done.stdout)]
    assert {"CustomResourceDefinition", "ValidatingAdmissionPolicy", "ClusterRole", "Role"} <= set(kinds)
    assert kinds.index("Namespace") < kinds.index("Role")
    refused = subprocess.run([*command, "--factors", "pwd"], capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode == 2
    assert "a password is the first factor" in refused.stderr


def test_roles_give_no_more_than_their_names_say() -> None:
    """Viewers write nothing, reviewers a status and their verbs; only the relaxer and who is on call may relax,
    and he writes no policy.
    """
    named = {each["metadata"]["name"]: each for each in roles() if each["kind"] == "ClusterRole"}

    def rights(name: str) -> set[tuple[str, str]]:
        rules = named[name]["rules"]
        return {(resource, verb) for rule in rules for resource in rule.get("resources", ()) for verb in rule["verbs"]}

    reading = {"get", "list", "watch"}
    assert {verb for _, verb in rights("hitl-viewer")} == reading
    writing = {(where, verb) for where, verb in rights("hitl-reviewer") if verb not in reading}
    assert {where for where, _ in writing} == {"approvalrequests/status", "approvalrequests/confirm"}
    assert {verb for where, verb in writing if where == "approvalrequests/status"} == {"patch"}
    assert ("approvalrequests/multi-factor", "approve") in rights("hitl-senior-reviewer")
    relaxing = {name for name in named if ("agentpolicies", "relax") in rights(name)}
    assert relaxing == {"hitl-policy-relaxer", "hitl-on-call"}
    freezing = {("policyoverrides", "create")}
    assert {right for right in rights("hitl-freezer") if right[1] not in reading} == freezing
    thawing = freezing | {("policyoverrides", "delete"), ("agentpolicies", "relax")}
    assert {right for right in rights("hitl-on-call") if right[1] not in reading} == thawing
    overrides = {("approvalrequests/confirm", "override"), ("approvalrequests/multi-factor", "override")}
    assert [name for name in named if overrides & rights(name)] == ["hitl-breakglass"]
    assert {right for right in rights("hitl-breakglass") if right[1] not in reading} == overrides | {
        ("approvalrequests/status", "patch")
    }
    assert not any("aggregationRule" in each or "aggregate" in str(each["metadata"]) for each in named.values())
