"""Values of the chart: what is refused and by which name, what each means, and that the defaults are the operator's."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from chart.rendering import Helm, Rendered
from charts.generate import values_source
from hitl import __version__
from hitl.kube import shipped
from hitl.kube.manifests import read_mapping
from hitl.policy.settings import Settings, parse_settings, settings_document
from hitl_operator.injection.installation import Installation

SOURCE = values_source()
REFUSED = {
    "a misspelled value": ({"replica": 3}, "replica"),
    "a misspelled value inside another": ({"image": {"repositry": "x"}}, "repositry"),
    "a misspelled setting": ({"settings": {"maxPending": {"workloads": 5}}}, "workloads"),
    "a misspelled key of a list's item": ({"people": [{"role": "viewer", "group": ["x"], "groups": ["x"]}]}, "group"),
    "a misspelled key of a toleration": ({"tolerations": [{"kee": "x"}]}, "kee"),
    "another kind of value": ({"replicas": "two"}, "replicas"),
    "a digest that is none": ({"image": {"digest": "latest"}}, "digest"),
    "a role that there is not": ({"people": [{"role": "admin", "groups": ["x"]}]}, "role"),
    "a group of the system": ({"people": [{"role": "viewer", "groups": ["system:masters"]}]}, "groups"),
    "people without a group": ({"people": [{"role": "viewer", "groups": []}]}, "groups"),
    "a password as second factor": ({"secondFactor": {"factors": ["pwd"]}}, "factors"),
    "no second factor at all": ({"secondFactor": {"factors": []}}, "factors"),
    "a name that no expression can carry": ({"serviceAccount": {"name": "x' || true"}}, "name"),
    "a setting without a unit": ({"settings": {"maxStaleness": "15"}}, "maxStaleness"),
    "certificates of nobody": ({"certificates": {"source": "vault"}}, "source"),
    "a flag that is none": ({"extraArgs": ["verbose"]}, "extraArgs"),
    "hardware that is no factor": ({"secondFactor": {"hardware": ["face2"]}}, "hardware: face2 is not among"),
    "files without a Secret": ({"certificates": {"source": "files"}}, "certificates.secretName names no Secret"),
}


@pytest.mark.parametrize(("values", "word"), REFUSED.values(), ids=REFUSED.keys())
def test_values_that_cannot_be_meant_are_refused_by_name(helm4: Helm, values: dict[str, Any], word: str) -> None:
    """Nothing is rendered, and the message names the value."""
    assert word in helm4.refusal(values)


def test_helm_3_refuses_by_the_same_schema(helm: Helm) -> None:
    """What is misspelled is named by both."""
    assert "replica" in helm.refusal({"replica": 3})


def test_every_value_is_described() -> None:
    """Whoever looks a value up finds what it means, at every depth."""
    count = 0
    for path, schema in every(SOURCE, ""):
        count += 1
        assert schema.get("description"), path
        assert schema["description"].endswith((".", ")")), path
    assert count > 80


def every(schema: Mapping[str, Any], path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each value and each item of a list."""
    below = dict(schema.get("properties", {}))
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            below[f"[{key}]"] = schema[key]
    for key, each in below.items():
        yield f"{path}.{key}", each
        yield from every(each, f"{path}.{key}")


def test_settings_are_those_of_the_operator(default: Rendered, helm4: Helm) -> None:
    """The ConfigMap is read by the operator's own parser: by default its own numbers, else those that were given."""

    def read(rendered: Rendered) -> Settings:
        text = rendered.one("ConfigMap", "hitl-settings")["data"]["settings.yaml"]
        return parse_settings(read_mapping(text, "settings.yaml"))

    assert read(default) == Settings()
    own = Settings(60, 61, 62, 5, 6, 7, 8, 512, 3)
    assert read(helm4.template({"settings": settings_document(own)})) == own


def test_E1_pods_are_checked_against_what_is_injected(helm4: Helm) -> None:
    """E1: the operator is told one image, injects it, and says itself that it is admitted: no list can differ."""
    image = {"repository": "registry.example.com/hitl-sidecar", "digest": f"sha256:{'a' * 64}"}
    rendered = helm4.template({"sidecar": {"image": image}}, "guard")
    present = f"{image['repository']}@{image['digest']}"
    assert not rendered.of("SidecarStandard")
    assert f"--sidecar-image={Installation(present, 'guard').image}" in rendered.arguments()


def test_images_are_this_versions_unless_said_otherwise(default: Rendered) -> None:
    """Chart and program have one version; nobody runs latest by accident."""
    (container,) = default.one("Deployment", "hitl-operator")["spec"]["template"]["spec"]["containers"]
    assert container["image"] == f"localhost/hitl-operator:{__version__}"
    assert f"--sidecar-image=localhost/hitl-sidecar:{__version__}" in default.arguments()


def test_every_role_for_people_can_be_given_and_none_is_by_itself(helm4: Helm, default: Rendered) -> None:
    """The value people knows the roles that are shipped for them; by default nobody has one."""
    roles = {each["metadata"]["name"] for each in shipped.roles() if each["kind"] == "ClusterRole"} - {"hitl-operator"}
    assert {"hitl-reviewer", "hitl-viewer"} < roles
    people = [{"role": role.removeprefix("hitl-"), "groups": ["some"]} for role in sorted(roles)]
    bindings = helm4.template({"people": people}).of("ClusterRoleBinding")
    assert {each["roleRef"]["name"] for each in bindings} == roles | {"hitl-operator"}
    assert {each["roleRef"]["name"] for each in default.of("ClusterRoleBinding", "RoleBinding")} == {"hitl-operator"}


def test_people_get_one_binding_for_each_namespace(helm4: Helm) -> None:
    """Two namespaces, two RoleBindings; none named: one ClusterRoleBinding; other groups are other bindings."""
    people = [
        {"role": "reviewer", "groups": ["support", "On Call"], "namespaces": ["shop", "bank"]},
        {"role": "reviewer", "groups": ["auditors"]},
    ]
    rendered = helm4.template({"people": people})
    bindings = [each for each in rendered.of("RoleBinding") if each["roleRef"]["name"] == "hitl-reviewer"]
    assert [each["metadata"]["namespace"] for each in bindings] == ["shop", "bank"]
    assert [subject["name"] for subject in bindings[0]["subjects"]] == ["support", "On Call"]
    (everywhere,) = [each for each in rendered.of("ClusterRoleBinding") if each["roleRef"]["name"] == "hitl-reviewer"]
    assert everywhere["metadata"]["name"] != bindings[0]["metadata"]["name"]


def test_without_injection_nothing_of_it_is_there(helm4: Helm, default: Rendered) -> None:
    """Neither webhook nor the policies that want a sidecar nor the operator's port: half of it would lock pods out."""
    without = helm4.template({"injection": {"enabled": False}})
    gone = {(each["kind"], each["metadata"]["name"]) for each in default.objects}
    gone -= {(each["kind"], each["metadata"]["name"]) for each in without.objects}
    pods = {(each["kind"], each["metadata"]["name"]) for each in shipped.pods(shipped.DEFAULT)}
    assert gone == pods | {("MutatingWebhookConfiguration", "hitl-injection")}
    assert not [each for each in without.arguments() if each.startswith(("--admission", "--sidecar-image"))]
    assert "9443" not in without.text
