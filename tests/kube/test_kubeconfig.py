"""Reading kubeconfigs: who talks to which server as whom, and what is said where one is wrong."""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from hitl.errors import InvalidInput
from hitl.kube.access import Access, Impersonation
from hitl.kube.credentials import ExecPlugin


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("KUBECONFIG", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def a_config(**changes: Any) -> dict[str, Any]:
    return {
        "current-context": "shop",
        "contexts": [{"name": "shop", "context": {"cluster": "c", "user": "ana", "namespace": "shop"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://10.0.0.1:6443/"}}],
        "users": [{"name": "ana", "user": {"token": "t"}}],
        **changes,
    }


def written(path: Path, config: Mapping[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(dict(config)))
    return path


def user(**fields: Any) -> list[dict[str, Any]]:
    return [{"name": "ana", "user": fields}]


def test_a_plain_kubeconfig_is_read(tmp_path: Path) -> None:
    """Server, namespace and token of the current context; --context and --namespace win over the file."""
    other = {"name": "other", "context": {"cluster": "c", "user": "ana"}}
    config = a_config()
    file = written(tmp_path / "config", {**config, "contexts": [*config["contexts"], other]})
    access = Access.from_kubeconfig(file)
    assert (access.server, access.namespace, access.bearer.held()) == ("https://10.0.0.1:6443", "shop", "t")
    assert Access.from_kubeconfig(file, context="other").namespace == "default"
    assert Access.from_kubeconfig(file, namespace="bank").namespace == "bank"


def test_the_files_of_kubeconfig_are_merged_and_the_first_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """KUBECONFIG lists files: entries come from all, of one name from the first; missing files are passed over."""
    first = written(tmp_path / "a" / "config", {"current-context": "shop", "users": user(tokenFile="token")})
    (tmp_path / "a" / "token").write_text("from the file\n")
    second = written(tmp_path / "b" / "config", a_config())
    monkeypatch.setenv("KUBECONFIG", os.pathsep.join(map(str, (tmp_path / "none", first, second))))
    access = Access.from_kubeconfig()
    assert access.bearer.fetch() == "from the file"
    assert access.server == "https://10.0.0.1:6443"


def test_impersonation_comes_from_the_file_or_the_caller(tmp_path: Path) -> None:
    """as, as-groups, as-uid and as-user-extra are read; --as replaces all of them."""
    extra = {"hitl.dev/amr": ["hwk"]}
    fields = {"token": "t", "as": "ana", "as-groups": ["leads"], "as-uid": "u", "as-user-extra": extra}
    file = written(tmp_path / "config", a_config(users=user(**fields)))
    assert Access.from_kubeconfig(file).impersonate == Impersonation("ana", ("leads",), "u", {"hitl.dev/amr": ("hwk",)})
    asked = Access.from_kubeconfig(file, as_user="ben", as_groups=["b"]).impersonate
    assert asked == Impersonation("ben", ("b",))
    with pytest.raises(InvalidInput, match="--as-group needs --as"):
        Access.from_kubeconfig(file, as_groups=["b"])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"current-context": ""}, "no context is current"),
        ({"current-context": "nope"}, "there is no context 'nope'; there is shop"),
        ({"clusters": []}, "there is no cluster 'c'; there is none"),
        ({"users": []}, "there is no user 'ana'"),
        ({"clusters": [{"name": "c", "cluster": {"server": "10.0.0.1"}}]}, "wanted https://HOST:PORT"),
        ({"users": user(**{"client-certificate-data": "****"})}, "client-certificate-data is not base64"),
        ({"users": user(**{"client-certificate-data": "YQ=="})}, "need each other"),
        ({"users": user(**{"client-certificate": "nowhere"})}, "nowhere: No such file"),
        ({"users": user(username="ana", password="p")}, "no user name with password"),
        ({"users": user(exec={"command": "x"})}, "exec.apiVersion: is missing"),
        ({"users": user(token=5)}, "token is a number, wanted text"),
        ({"contexts": "shop"}, "contexts is not a list"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    """InvalidInput names the file, the entry, what was found and what was wanted."""
    file = written(tmp_path / "config", a_config(**changes))
    with pytest.raises(InvalidInput) as error:
        Access.from_kubeconfig(file)
    assert words in str(error.value)
    assert str(tmp_path) in str(error.value)


def test_no_kubeconfig_at_all_says_where_it_was_looked_for(tmp_path: Path) -> None:
    """Neither KUBECONFIG nor ~/.kube/config: the message names the path and the two ways to give one."""
    with pytest.raises(InvalidInput, match=r"home/.kube/config; set KUBECONFIG or give --kubeconfig"):
        Access.from_kubeconfig()
    with pytest.raises(InvalidInput, match="is not YAML"):
        Access.from_kubeconfig(written_text(tmp_path / "bad", "{"))


def written_text(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def a_plugin(folder: Path, status: Mapping[str, Any], *, code: int = 0, version: str = "v1") -> dict[str, Any]:
    """A program that notes what it was told and prints these credentials."""
    credential = {"apiVersion": f"client.authentication.k8s.io/{version}", "kind": "ExecCredential", "status": status}
    program = folder / "plugin"
    program.write_text(
        f"#!{sys.executable}\nimport os, sys\n"
        f"open({str(folder / 'runs')!r}, 'a').write(os.environ['KUBERNETES_EXEC_INFO'] + chr(10))\n"
        f"print({json.dumps(credential)!r})\nprint('who are you', file=sys.stderr)\nsys.exit({code})\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": "./plugin",
        "interactiveMode": "Never",
        "provideClusterInfo": True,
    }


def test_an_exec_plugin_gives_the_token_and_is_asked_again_when_it_ends(tmp_path: Path) -> None:
    """The plugin runs once, beside its kubeconfig, knows the cluster, and runs again shortly before its token ends."""
    ends = datetime.now(UTC) + timedelta(hours=1)
    plugin = a_plugin(tmp_path, {"token": "secret", "expirationTimestamp": ends.isoformat()})
    access = Access.from_kubeconfig(written(tmp_path / "config", a_config(users=user(exec=plugin))))
    assert access.bearer.held() is None
    assert access.bearer.fetch() == "secret"
    assert access.bearer.held() == "secret"
    (run,) = (tmp_path / "runs").read_text().splitlines()
    assert json.loads(run)["spec"] == {"interactive": False, "cluster": {"server": "https://10.0.0.1:6443/"}}
    later = ExecPlugin(plugin, place="p", folder=tmp_path, cluster=None, now=lambda: ends.timestamp() - 10)
    assert later.fetch() == "secret"
    assert later.held() is None


def test_an_exec_plugin_that_fails_is_named_with_its_last_words(tmp_path: Path) -> None:
    """Exit code and stderr of the plugin reach the person; so does a missing program, and another API version."""
    plugin = a_plugin(tmp_path, {}, code=3)
    access = Access.from_kubeconfig(written(tmp_path / "config", a_config(users=user(exec=plugin))))
    with pytest.raises(InvalidInput, match=r"user 'ana': exec: ./plugin failed with exit code 3: who are you"):
        access.bearer.fetch()
    a_plugin(tmp_path, {"token": "t"}, version="v1beta1")
    with pytest.raises(InvalidInput, match=r"speaks client\.authentication\.k8s\.io/v1beta1"):
        access.bearer.fetch()
    a_plugin(tmp_path, {})
    with pytest.raises(InvalidInput, match="neither a token nor a certificate"):
        access.bearer.fetch()
    missing = {**plugin, "command": "no-such-plugin", "installHint": "get it from IT"}
    access = Access.from_kubeconfig(written(tmp_path / "config", a_config(users=user(exec=missing))))
    with pytest.raises(InvalidInput, match="there is no program no-such-plugin; get it from IT"):
        access.bearer.fetch()


def test_a_pod_finds_its_server_by_its_service_account(tmp_path: Path) -> None:
    """In a pod: address from the environment, token and CA from the mounted folder; elsewhere it says what to do."""
    for name, text in (("token", "t1\n"), ("ca.crt", "CA"), ("namespace", "hitl-system")):
        (tmp_path / name).write_text(text)
    environment = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    access = Access.in_cluster(folder=tmp_path, environment=environment)
    assert (access.server, access.namespace) == ("https://[fd00::1]:443", "hitl-system")
    assert (access.bearer.held(), access.ca) == ("t1", b"CA")
    with pytest.raises(InvalidInput, match="this is not a pod; give --kubeconfig"):
        Access.in_cluster(folder=tmp_path, environment={})
    (tmp_path / "token").unlink()
    with pytest.raises(InvalidInput, match="the token cannot be read"):
        Access.in_cluster(folder=tmp_path, environment=environment)


def test_a_proxy_is_taken_from_the_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """proxy-url, else HTTPS_PROXY unless NO_PROXY names the server; a kind of proxy that is not spoken is refused."""
    file = written(tmp_path / "config", a_config())
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    assert Access.from_kubeconfig(file).proxy == "http://proxy:3128"
    monkeypatch.setenv("NO_PROXY", "10.0.0.1")
    assert Access.from_kubeconfig(file).proxy == ""
    cluster = {"server": "https://10.0.0.1", "proxy-url": "socks5://p:1"}
    with pytest.raises(InvalidInput, match=r"cluster 'c': this proxy is not spoken here; wanted http://"):
        Access.from_kubeconfig(written(file, a_config(clusters=[{"name": "c", "cluster": cluster}])))


def test_reading_a_kubeconfig_does_not_load_the_kubernetes_library(tmp_path: Path) -> None:
    """`kubectl hitl list` has 300 ms: the library's 250 ms are for legacy auth-providers alone."""
    file = written(tmp_path / "config", a_config(users=user(exec=a_plugin(tmp_path, {"token": "t"}))))
    code = (
        "import sys; from pathlib import Path; from hitl.kube.access import Access; from hitl.kube.api import KubeAPI; "
        f"Access.from_kubeconfig(Path({str(file)!r})).bearer.fetch(); print('kubernetes' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "False"
