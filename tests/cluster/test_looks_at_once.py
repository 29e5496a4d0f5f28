"""Looks at the guards that overlap, on a real API server: none vouches for what came after it (SECURITY C4)."""

import asyncio
from typing import Final

import pytest

from cluster.gated_pods import until
from cluster.voting import SERIAL, Court, Json
from hitl.kube.api import KubeAPI
from hitl.kube.comparison import collection, guards
from hitl_operator.cluster.enforcement_record import Mark
from hitl_operator.cluster.looks import Looks
from hitl_operator.cluster.served import Guards, Listed

pytestmark = pytest.mark.cluster

API: Final = "admissionregistration.k8s.io/v1"
POLICY, BINDING = "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"
# Nothing is ever written that they are about: the shared server goes on as it is.
NOTHING = [
    {"apiGroups": ["unused.hitl.dev"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["nothing"]}
]


async def test_C4_a_binding_removed_while_a_look_is_under_way_is_found_by_the_next(court: Court) -> None:
    """C4: the first look read the guards before, so it stands for the vote before; the second began after the removal
    and says so for the vote that came after it, also while the first is still under way and though all was put back.
    """
    name = f"unused-{next(SERIAL)}"
    shipped = [_policy(name), _binding(name)]
    async with court.admin() as api:
        for each in shipped:
            await api.create(collection(each["kind"]), each)
        served = Guards(api, guards(shipped, []))
        marks = {key: Mark(was.uid, was.generation, "") for key, was in (await served.list()).touched.items()}
        assert len(marks) == len(shipped)
        read: list[Listed] = []
        judged: list[tuple[int, bool]] = []
        may_end = asyncio.Event()

        async def find() -> Listed:
            listed = await served.list()
            read.append(listed)
            if len(read) == 1:
                await may_end.wait()
            return listed

        looks = Looks(find, lambda listed, covers: judged.append((covers, listed.untouched_since(marks))))
        try:
            first = asyncio.create_task(looks.look(1))
            await until(lambda: len(read) == 1)
            await _put_anew(api, shipped[1])
            second = asyncio.create_task(looks.look(2))
            await until(lambda: len(read) == 2)
            assert judged == []
            may_end.set()
            await asyncio.gather(first, second)
            assert judged == [(1, True), (2, False)]
        finally:
            for each in reversed(shipped):
                await api.delete(f"{collection(each['kind'])}/{name}")


async def _put_anew(api: KubeAPI, manifest: Json) -> None:
    await api.delete(f"{collection(manifest['kind'])}/{manifest['metadata']['name']}")
    await api.create(collection(manifest["kind"]), manifest)


def _policy(name: str) -> Json:
    spec = {"matchConstraints": {"resourceRules": NOTHING}, "validations": [{"expression": "true"}]}
    return {"apiVersion": API, "kind": POLICY, "metadata": {"name": name}, "spec": spec}


def _binding(name: str) -> Json:
    spec = {"policyName": name, "validationActions": ["Deny"]}
    return {"apiVersion": API, "kind": BINDING, "metadata": {"name": name}, "spec": spec}
