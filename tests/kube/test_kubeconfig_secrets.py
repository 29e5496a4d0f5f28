"""What stands in a kubeconfig is secret: errors name its place, and tokens go only where they belong (G1)."""

import json
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from hitl.errors import HitlError, InvalidInput
from hitl.kube.access import Access, Impersonation
from hitl.kube.credentials import ClientCertificate, FetchedToken, FixedToken, TokenFile

CANARY = "CANARY7f3a9"
SERVER = "https://10.0.0.1:6443"
CONTEXT = "current-context: c\ncontexts: [{name: c, context: {cluster: c, user: ana}}]\n"


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KUBECONFIG", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)


def a_kubeconfig(folder: Path, user: str = "{token: t}", cluster: str = f"{{server: '{SERVER}'}}") -> Path:
    """A kubeconfig whose user and cluster are this YAML."""
    path = folder / "config"
    path.write_text(
        f"{CONTEXT}clusters:\n- name: c\n  cluster: {cluster}\nusers:\n- name: ana\n  user: {user}\n", encoding="utf-8"
    )
    return path


def a_plugin(folder: Path, status: Mapping[str, Any] | None, more: str = "") -> str:
    """The user whose exec plugin prints these credentials."""
    credential = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}
    program = folder / "plugin"
    program.write_text(f"#!{sys.executable}\nprint({json.dumps(credential)!r})\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return f"{{exec: {{apiVersion: client.authentication.k8s.io/v1, command: ./plugin, interactiveMode: Never{more}}}}}"


@pytest.mark.parametrize(
    "user",
    [
        f"{{token: [{CANARY}]}}",
        f"{{token: {{a: {CANARY}}}}}",
        f'{{token: "{CANARY}ü"}}',
        f'{{token: "{CANARY}\\r\\nX: y"}}',
        f'{{token: "{CANARY}\\0"}}',
        f"{{token: *{CANARY}}}",
        f"{{token: !{CANARY} x}}",
        f"{{token: '{CANARY}",
        f"{{token: {CANARY}: {CANARY}: x}}",
        f'{{token: "\\q{CANARY}"}}',
        f"{{client-key-data: [{CANARY}], client-certificate-data: YQ==}}",
        f'{{client-key-data: "{CANARY}!", client-certificate-data: YQ==}}',
        f'{{client-key-data: "{CANARY}ü", client-certificate-data: YQ==}}',
        f"{{username: ana, password: {CANARY}}}",
        f"{{username: [{CANARY}]}}",
        f"{{tokenFile: [{CANARY}]}}",
        f"{{exec: [{CANARY}]}}",
        f"{{exec: {{apiVersion: v1, command: x, env: [{{name: A, value: [{CANARY}]}}]}}}}",
        f"{{exec: {{apiVersion: v1, command: x, env: {CANARY}}}}}",
        f"{{exec: {{apiVersion: v1, command: x, env: [{CANARY}]}}}}",
        f"{{exec: {{apiVersion: v1, command: x, args: [[{CANARY}]]}}}}",
        f"{{exec: {{apiVersion: v1, command: x, args: {CANARY}}}}}",
        f"{{auth-provider: [{CANARY}]}}",
        f"{{auth-provider: {{name: oidc, config: {{id-token: {CANARY}, refresh-token: [{CANARY}]}}}}}}",
    ],
)
def test_G1_no_error_of_a_kubeconfig_shows_what_stands_in_it(tmp_path: Path, user: str) -> None:
    """G1: whatever is wrong with credentials, the error is ours, names the file, and holds nothing of them."""
    path = a_kubeconfig(tmp_path, user)
    with pytest.raises(InvalidInput) as error:
        Access.from_kubeconfig(path).bearer.fetch()
    assert str(path) in str(error.value)
    assert_unseen(error.value)


@pytest.mark.parametrize(
    "cluster",
    [
        f"{{server: 'https://ana:{CANARY}@10.0.0.1:6443'}}",
        f"{{server: 'https://{CANARY}@10.0.0.1'}}",
        f"{{server: '{CANARY}@10.0.0.1'}}",
        f"{{server: 'https://10.0.0.1:{CANARY}'}}",
        f"{{server: 'https://10.0.0.1/?token={CANARY}'}}",
        f"{{server: '{SERVER}', proxy-url: 'socks5://ana:{CANARY}@p:1'}}",
        f"{{server: '{SERVER}', proxy-url: 'http://ana:{CANARY}@p:port'}}",
        f"{{server: '{SERVER}', insecure-skip-tls-verify: {CANARY}}}",
    ],
)
def test_G1_no_error_shows_a_password_in_an_address(tmp_path: Path, cluster: str) -> None:
    """G1: addresses with a user name and password are refused by their place, or used, and never shown."""
    path = a_kubeconfig(tmp_path, cluster=cluster)
    with pytest.raises(InvalidInput, match="cluster 'c'") as error:
        Access.from_kubeconfig(path)
    assert_unseen(error.value)


def assert_unseen(error: BaseException) -> None:
    """Neither the error nor what a trace would show with it holds the canary."""
    shown: BaseException | None = error
    while shown is not None:
        assert CANARY not in str(shown)
        shown = shown.__cause__ or (None if shown.__suppress_context__ else shown.__context__)


@pytest.mark.parametrize("token", [f'"{CANARY}\\n"', f"|\n      {CANARY}", f'"  {CANARY}\\r\\n"'])
def test_G1_blanks_around_a_token_are_left_out(tmp_path: Path, token: str) -> None:
    """G1: a block scalar ends in a line break, which no header can carry: the token is what stands in it."""
    user = f"\n    token: {token}"
    assert Access.from_kubeconfig(a_kubeconfig(tmp_path, user)).bearer.fetch() == CANARY
    plugin = a_plugin(tmp_path, {"token": f"{CANARY}\n"})
    assert Access.from_kubeconfig(a_kubeconfig(tmp_path, plugin)).bearer.fetch() == CANARY


@pytest.mark.parametrize(
    "status",
    [
        {"token": f"{CANARY}\nX: y"},
        {"token": f"{CANARY}ü"},
        {"token": [CANARY]},
        {"token": CANARY, "expirationTimestamp": CANARY},
        {"token": CANARY, "expirationTimestamp": [CANARY]},
        {"clientCertificateData": CANARY},
        {"clientCertificateData": [CANARY], "clientKeyData": "x"},
        {},
    ],
    ids=str,
)
def test_G1_no_error_shows_what_a_plugin_gave(tmp_path: Path, status: Mapping[str, Any]) -> None:
    """G1: credentials that cannot be used are refused by their place, and nothing of them is kept."""
    bearer = Access.from_kubeconfig(a_kubeconfig(tmp_path, a_plugin(tmp_path, status))).bearer
    with pytest.raises(InvalidInput, match="user 'ana': exec") as error:
        bearer.fetch()
    assert_unseen(error.value)
    assert bearer.held() is None


def test_G1_a_plugin_that_cannot_be_run_does_not_show_its_arguments(tmp_path: Path) -> None:
    """G1: arguments and environment may hold secrets: the error names the program alone."""
    for more in (f', args: ["{CANARY}\\0"]', f', env: [{{name: A, value: "{CANARY}\\0"}}]'):
        bearer = Access.from_kubeconfig(a_kubeconfig(tmp_path, a_plugin(tmp_path, {}, more))).bearer
        with pytest.raises(InvalidInput, match="plugin could not be run") as error:
            bearer.fetch()
        assert_unseen(error.value)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (", env: [{value: x}]", "exec.env[0]: has no name"),
        (", env: [{name: A, value: x}, {name: 'B=C'}]", "exec.env[1]: has no name"),
        (", env: [{name: A, value: 5}]", "exec.env[0]: wanted a name and a value, both text"),
        (", env: [{name: [A]}]", "exec.env[0]: wanted a name and a value, both text"),
        (", env: {name: A}", "exec.env: is not a list"),
        (", args: --token", "exec.args: is not a list"),
        (", args: [5]", "exec.args[0]: is not text"),
    ],
)
def test_what_is_wrong_with_a_plugin_is_said_with_its_place(tmp_path: Path, more: str, words: str) -> None:
    """A malformed entry of env or args is refused by its number, before the plugin runs."""
    with pytest.raises(InvalidInput) as error:
        Access.from_kubeconfig(a_kubeconfig(tmp_path, a_plugin(tmp_path, {"token": "t"}, more)))
    assert words in str(error.value)


def test_an_entry_of_env_without_a_value_is_an_empty_one(tmp_path: Path) -> None:
    """As kubectl has it."""
    plugin = a_plugin(tmp_path, {"token": "t"}, ", env: [{name: A}]")
    assert Access.from_kubeconfig(a_kubeconfig(tmp_path, plugin)).bearer.fetch() == "t"


def test_G1_every_way_a_token_comes_in_refuses_what_no_header_carries(tmp_path: Path) -> None:
    """G1: a fixed token, a file's and a fetched one are stripped and checked alike."""
    file = tmp_path / "token"
    for bad in (f"{CANARY}\nX: y", f"{CANARY}\x7f", f"{CANARY}é"):
        file.write_bytes(bad.encode("latin-1"))
        for made in (
            lambda bad=bad: FixedToken(bad, "there"),
            lambda: TokenFile(file).fetch(),
            lambda bad=bad: FetchedToken(lambda: (bad, None), place="there").fetch(),
        ):
            with pytest.raises(InvalidInput, match=f"{file}|there") as error:
                made()
            assert_unseen(error.value)
    file.write_text(f" {CANARY}\n")
    assert FixedToken(f" {CANARY}\n").held() == TokenFile(file).fetch() == CANARY


def test_G1_credentials_show_themselves_nowhere() -> None:
    """G1: what is logged or traced of an access holds neither token nor key nor the proxy's password."""
    access = Access(
        SERVER, bearer=FixedToken(CANARY), certificate=lambda: None, proxy=f"http://ana:{CANARY}@proxy:3128"
    )
    assert CANARY not in repr(access)
    assert CANARY not in repr(ClientCertificate(b"", CANARY.encode()))


@pytest.mark.parametrize("user", ["{token: t}", "{tokenFile: t}", "exec"])
def test_G1_no_credentials_are_read_for_a_server_that_speaks_plain_http(tmp_path: Path, user: str) -> None:
    """G1: as with kubectl, whoever listens on the way gets no token: no file is read and no plugin runs."""
    (tmp_path / "t").write_text("t")
    given = a_plugin(tmp_path, {"token": "t"}) if user == "exec" else user
    path = a_kubeconfig(tmp_path, given, "{server: 'http://10.0.0.1'}")
    assert Access.from_kubeconfig(path).bearer.held() == ""


@pytest.mark.parametrize(
    "name", ["", " ", " ana", "ana ", "ana\r\nImpersonate-Group: system:masters", "a\tb", "a\x00", "\udcff"]
)
def test_I4_nobody_acts_as_somebody_whom_a_header_cannot_name(tmp_path: Path, name: str) -> None:
    """I4: an empty name would be oneself, a line break another header: refused with words, from --as and a file."""
    path = a_kubeconfig(tmp_path)
    for asked in ({"as_user": name}, {"as_user": "ana", "as_groups": [name]}):
        with pytest.raises(InvalidInput, match=r"cannot act as (user|group)"):
            Access.from_kubeconfig(path, **asked)  # type: ignore[arg-type]  # each of them is an argument
    with pytest.raises(HitlError, match=r"cannot act as hitl.dev/amr"):
        Impersonation("ana", extra={"hitl.dev/amr": (name or " ",)})
    written = json.dumps({"token": "t", "as": "ana", "as-groups": [name]})
    with pytest.raises(InvalidInput, match=r"user 'ana': cannot act as group|is not YAML"):
        Access.from_kubeconfig(a_kubeconfig(tmp_path, written))
