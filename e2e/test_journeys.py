"""From `helm install` to a released call, with everybody who has a part in it, on real pods.

In the order of the file: the last journeys take the installation away, and bring it back.
"""

import json
import time
from typing import Any

from e2e.agents import CALL, PYTHON, Agent, agent_in, container_of
from e2e.cluster import CHART, NAMESPACE, Cluster, until
from e2e.conftest import SHOP, install, values_of


def waiting(on: Cluster, tool: str) -> str:
    """The name of the pending request for a tool, once there is one."""
    found: list[str] = []

    def look() -> bool:
        requests = on.read("approvalrequests", "-n", SHOP)["items"]
        found[:] = [
            each["metadata"]["name"]
            for each in requests
            if each["spec"]["call"]["tool"] == tool and each.get("status", {}).get("state", "Pending") == "Pending"
        ]
        return bool(found)

    until(look, f"a request for {tool} waits")
    return found[0]


def test_an_installation_is_whole(installed: Cluster) -> None:
    """Two replicas are ready, `helm test` passes, and doctor finds nothing that would keep votes from counting."""
    deployment = installed.read("deployment", "hitl-operator", "-n", NAMESPACE)
    assert deployment["status"]["readyReplicas"] == 2
    done = installed.helm("test", "hitl", "-n", NAMESPACE, "--logs", "--timeout=2m")
    assert done.code == 0, done.err
    assert "[!]" not in done.out, done.out  # nothing that /readyz remarks beside being ready
    doctor = installed.kubectl("hitl", "doctor")
    assert (doctor.code, "No problem found." in doctor.err) == (0, True), doctor.out


def test_the_first_verdict_comes_with_the_pod(agent: Agent) -> None:
    """A pod that is ready has a verdict for its agent, whatever the sidecar still had to learn."""
    began = time.monotonic()
    assert agent.call("crm/get_customer", id="C-1")["outcome"] == "ALLOWED"
    assert agent.call("crm/delete_customer", id="C-1")["outcome"] == "DENIED"
    print(f"two verdicts, each by a kubectl exec of its own: {time.monotonic() - began:.1f} s")


def test_I1_a_call_waits_for_a_person_and_is_released_once(shop: Cluster, agent: Agent) -> None:
    """I1, I6: `kubectl hitl approve` by a reviewer lets exactly that call run."""
    ana = shop.person("ana", "support")
    held = agent.held("stripe/create_refund", amount=4200, charge="ch_1")
    name = waiting(shop, "create_refund")
    assert "create_refund" in shop.done("hitl", "list", "-n", SHOP, who=ana)
    shop.done("hitl", "approve", name, "-n", SHOP, who=ana)
    assert held.result()["outcome"] == "ALLOWED"
    assert shop.read("approvalrequest", name, "-n", SHOP)["status"]["state"] == "Consumed"


def test_C1_a_junior_reviewer_is_refused_by_the_api_server(shop: Cluster, agent: Agent) -> None:
    """C1: who may decide Confirm alone cannot approve MultiFactor, neither by the command nor by a patch."""
    ben = shop.person("ben", "support", "on-call-juniors")
    asked = agent.call("stripe/payout", amount=100000)
    assert asked["outcome"] == "PENDING"
    name = asked["handle"].partition("/")[2]
    refused = shop.kubectl("hitl", "approve", name, "-n", SHOP, "--reason", "it is fine", who=ben)
    assert refused.code == 4, refused.out + refused.err
    request = shop.read("approvalrequest", name, "-n", SHOP)
    entry = {
        "reviewer": "ben", "decision": "Approved", "digest": request["spec"]["digest"],
        "requestUID": request["metadata"]["uid"], "groups": ["on-call"],
    }  # fmt: skip
    patch = json.dumps({"status": {"decisions": [entry]}})
    by_hand = shop.kubectl(
        "patch", "approvalrequest", name, "-n", SHOP, "--subresource=status", "--type=merge", "-p", patch, who=ben
    )
    assert by_hand.code != 0
    assert "orbidden" in by_hand.err
    shop.done("hitl", "deny", name, "-n", SHOP, "--reason", "not today", who=shop.person("olga", "on-call"))


def test_a_job_with_a_gated_agent_completes(shop: Cluster) -> None:
    """The sidecar does not keep a Job from ending."""
    words = ("crm", "get_customer", "{}", "0")
    container = container_of(shop, PYTHON, "-P", "-c", CALL, *words)
    spec = {
        "backoffLimit": 0,
        "template": {
            "metadata": {"labels": {"app": "support"}},
            "spec": {"restartPolicy": "Never", "containers": [container]},
        },
    }
    shop.apply(
        {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "nightly", "namespace": SHOP}, "spec": spec}
    )
    shop.done("wait", "--for=condition=Complete", "job/nightly", "-n", SHOP, "--timeout=240s")
    answer = json.loads(shop.done("logs", "job/nightly", "-n", SHOP, "-c", "agent"))
    assert answer["outcome"] == "ALLOWED"
    shop.done("delete", "job", "nightly", "-n", SHOP)


def test_B2_relabelling_a_pod_takes_no_policy_from_it(shop: Cluster, agent: Agent) -> None:
    """B2: an editor who takes the selected label off a running pod does not get rid of the policy's Deny."""
    eve = shop.person("eve")
    pod = shop.done("get", "pods", "-n", SHOP, "-l", "app=support", "-o", "name").split()[0]
    shop.done("label", pod, "-n", SHOP, "--overwrite", "app=free", who=eve)
    free = Agent(shop, SHOP, pod)
    assert free.call("crm/delete_customer", id="C-1")["outcome"] == "DENIED"
    shop.done("delete", pod, "-n", SHOP, who=eve)
    shop.done("rollout", "status", agent.place, "-n", SHOP, "--timeout=240s")


def test_E1_nobody_gets_into_the_sidecar(shop: Cluster, agent: Agent) -> None:
    """E1, I11: an editor may exec into the agent, and neither into the sidecar nor to its ports; its image stays."""
    eve = shop.person("eve")
    pod = shop.done("get", "pods", "-n", SHOP, "-l", "app=support", "-o", "name").split()[0]
    into = ("exec", "-n", SHOP, pod, "-c", "hitl-sidecar", "--", PYTHON, "-c", "print(1)")
    refused = shop.kubectl(*into, who=eve)
    assert refused.code != 0
    assert "hitl-sidecar" in refused.err
    forwarded = shop.run("kubectl", "port-forward", "-n", SHOP, pod, "18081:8081", who=eve, patience=60)
    assert forwarded.code != 0
    other = json.dumps([{"op": "replace", "path": "/spec/initContainers/0/image", "value": "localhost/other:1"}])
    swapped = shop.kubectl("patch", pod, "-n", SHOP, "--type=json", "-p", other, who=eve)
    assert swapped.code != 0
    inside = "import os; print(sorted(os.listdir('/run/hitl')), os.path.exists('/var/run/secrets/hitl.dev'))"
    seen = shop.done("exec", "-n", SHOP, pod, "-c", "agent", "--", PYTHON, "-c", inside, who=eve)
    assert seen.split() == ["['gate.sock']", "False"]


def test_I9_the_stop_button_stops_a_workload_and_what_it_waits_for(shop: Cluster, agent: Agent) -> None:
    """I9: on-call freezes a workload: its held call ends as cancelled, any other is refused, until it is thawed."""
    olga = shop.person("olga", "on-call")
    held = agent.held("stripe/create_refund", amount=7, charge="ch_frozen")
    waiting(shop, "create_refund")
    said = shop.done("hitl", "freeze", "deploy/support", "-n", SHOP, "--reason", "INC-88", "--yes", who=olga)
    print(said)
    assert held.result()["outcome"] == "CANCELLED"
    refused = agent.call("crm/get_customer", id="C-1")
    assert (refused["outcome"], refused["reason"]) == ("DENIED", "FROZEN")
    shop.done("hitl", "thaw", "deploy/support", "-n", SHOP, who=olga)
    until(lambda: agent.call("crm/get_customer", id="C-1")["outcome"] == "ALLOWED", "it is thawed")


def test_an_upgrade_keeps_a_held_call(shop: Cluster, agent: Agent) -> None:
    """Every replica is replaced while a call waits; the call waits on, and is released by whoever is there then."""
    ana = shop.person("ana", "support")
    held = agent.held("stripe/create_refund", amount=100, charge="ch_upgrade")
    name = waiting(shop, "create_refund")
    before = {each["metadata"]["uid"] for each in operators(shop)}
    values = values_of(shop) | {"podAnnotations": {"example.com/upgrade": "second"}}
    done = shop.helm("upgrade", "hitl", str(CHART), "-n", NAMESPACE, "--wait", "--timeout=4m", values=values)
    assert done.code == 0, done.err
    until(lambda: not before & {each["metadata"]["uid"] for each in operators(shop)}, "the old replicas are gone")
    assert not held.done()
    assert waiting(shop, "create_refund") == name
    shop.done("hitl", "approve", name, "-n", SHOP, who=ana)
    assert held.result()["outcome"] == "ALLOWED"
    assert shop.read("approvalrequest", name, "-n", SHOP)["status"]["state"] == "Consumed"


def test_uninstalled_the_cluster_goes_on(shop: Cluster, agent: Agent) -> None:
    """What is left keeps nobody from making pods, and what was decided stays."""
    done = shop.helm("uninstall", "hitl", "-n", NAMESPACE, "--wait", "--timeout=4m")
    assert done.code == 0, done.err
    pod: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "after", "namespace": SHOP},
        "spec": {"containers": [container_of(shop)]},
    }
    # An API server goes by an admission policy for a moment after it was deleted.
    until(lambda: shop.kubectl("apply", "-f", "-", text=json.dumps(pod)).code == 0, "pods are made again")
    shop.done("wait", "--for=condition=Ready", "pod/after", "-n", SHOP, "--timeout=240s")
    assert "initContainers" not in shop.read("pod", "after", "-n", SHOP)["spec"]
    assert shop.read("approvalrequests", "-n", SHOP)["items"]


def test_E1_installed_again_new_pods_are_gated_again(shop: Cluster) -> None:
    """E1: what an API server remembers of the first installation keeps nobody from making gated pods."""
    install(shop)
    again = agent_in(shop, SHOP, "again")
    assert again.call("crm/get_customer", id="C-1")["outcome"] == "ALLOWED"  # by the built-in policy: it reads
    (pod,) = shop.read("pods", "-n", SHOP, "-l", "app=again")["items"]
    assert [each["name"] for each in pod["spec"]["initContainers"]] == ["hitl-sidecar"]
    assert "after" in shop.kubectl("hitl", "unprotected", "-n", SHOP).out


def operators(on: Cluster) -> list[dict[str, Any]]:
    """The pods of the operator."""
    found: list[dict[str, Any]] = on.read("pods", "-n", NAMESPACE, "-l", "app.kubernetes.io/name=hitl-operator")[
        "items"
    ]
    return found
