"""SECURITY C4: the chart installs exactly what the operator compares the cluster with, for any values."""

import pytest

from chart.rendering import Helm, Rendered, by_name
from charts.generate import files
from charts.shipped_templates import KUBE, templated
from hitl.kube import shipped
from hitl.kube.shipped import DEFAULT, Shipped

INSTALLATIONS = {
    "as it is by default": DEFAULT,
    "elsewhere, under another name": Shipped("guard", "gatekeeper"),
    "in a namespace that YAML reads as a number": Shipped("1000", "0x10"),
    "under names that YAML reads as booleans": Shipped("true", "on"),
    "with another provider's factors": Shipped(factor_key="x.example/a-m.r", factors=("U:1._-", "hwk"), hardware=()),
    "with one factor, that of hardware": Shipped("hitl", "hitl", "amr", ("swk",), ("swk",)),
}


def values_of(installation: Shipped) -> dict[str, object]:
    """Values of the chart for that installation."""
    return {
        "serviceAccount": {"name": installation.service_account},
        "secondFactor": {
            "key": installation.factor_key,
            "factors": list(installation.factors),
            "hardware": list(installation.hardware),
        },
    }


def all_of(installation: Shipped) -> list[dict[str, object]]:
    pods = getattr(shipped, "pods", lambda _: ())
    return [
        *shipped.crds(),
        *shipped.admission(installation),
        *shipped.roles(installation),
        *pods(installation),
    ]


@pytest.mark.parametrize("installation", INSTALLATIONS.values(), ids=INSTALLATIONS.keys())
def test_C4_what_is_rendered_is_what_is_compared(helm4: Helm, installation: Shipped) -> None:
    """C4: every CRD, policy, binding and role is equal, field by field, to what the operator was shipped with."""
    rendered = by_name(helm4.template(values_of(installation), installation.namespace).objects)
    wanted = by_name(all_of(installation))
    assert len(wanted) > 30
    for key, each in wanted.items():
        assert rendered[key] == each, key


def test_C4_both_helms_render_the_same(helm: Helm, default: Rendered) -> None:
    """C4: Helm 3 and Helm 4 give the same objects."""
    assert by_name(helm.template().objects) == by_name(default.objects)


def test_what_is_rendered_of_kinds_that_are_shipped_is_shipped(default: Rendered) -> None:
    """The chart adds no CRD, policy or role of its own: those of other hands would be compared with nothing."""
    kinds = {each["kind"] for each in shipped.roles()} | {"ValidatingAdmissionPolicy", "CustomResourceDefinition"}
    ours = by_name(default.of(*kinds, "ValidatingAdmissionPolicyBinding"))
    assert ours.keys() == {key for key in by_name(all_of(DEFAULT)) if key[0] != "ConfigMap"}


def test_crds_are_kept_or_left_out_as_asked(helm4: Helm, default: Rendered) -> None:
    """`crds.keep` puts Helm's annotation there, `crds.enabled: false` leaves CRDs to somebody else."""
    kept = default.of("CustomResourceDefinition")
    assert [each["metadata"]["annotations"] for each in kept] == [{"helm.sh/resource-policy": "keep"}] * len(kept)
    loose = helm4.template({"crds": {"keep": False}}).of("CustomResourceDefinition")
    assert len(loose) == len(kept)
    assert not any("annotations" in each["metadata"] for each in loose)
    assert helm4.template({"crds": {"enabled": False}}).of("CustomResourceDefinition") == []


def test_reasons_of_rules_stand_in_what_is_rendered(default: Rendered) -> None:
    """Who reads the rendered roles reads why each rule is there; nothing is given by wildcard."""
    lines = default.text.splitlines()
    for role in default.of("ClusterRole", "Role"):
        for rule in role["rules"]:
            assert "*" not in (*rule.get("apiGroups", ()), *rule.get("resources", ()), *rule["verbs"]), role["metadata"]
            assert "*" not in "".join(rule.get("nonResourceURLs", ()))
    assert any(line.startswith("# Write outcomes; decisions and notes are refused to it") for line in lines)
    source = (KUBE / "roles" / "operator.yaml").read_text()
    reasons = [line for line in source.splitlines() if line.startswith("# ")]
    assert len(reasons) > 10
    assert set(reasons) <= set(lines)


def test_what_helm_would_take_for_its_own_is_copied() -> None:
    """Braces in CEL and in descriptions are text, also beside a name that is replaced."""
    made = templated("a: '{{ x }}'  # {{ y }}\nb: system:serviceaccount:hitl-system:hitl-operator {{ z }}\n")
    assert made.startswith("""a: '{{ "{{" }} x }}'  # {{ "{{" }} y }}\nb: system:serviceaccount:{{ .Release""")
    assert made.endswith("""{{ .Values.serviceAccount.name }} {{ "{{" }} z }}\n""")


def test_what_is_made_is_made_of_what_stands_now() -> None:
    """No file of the chart that is made has drifted: `make generate` makes them."""
    drifted = [path.name for path, text in files().items() if not path.is_file() or path.read_text("utf-8") != text]
    assert drifted == [], "run make generate"
