"""What `kubectl hitl` prints while a server or a kubeconfig is wrong: no secret, and nothing that draws (G1)."""

import contextlib
import io
import json
import logging
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType
from typing import Any
from unittest import mock

import pytest

from cli.homes import HITL
from control_plane.certificates import Authority
from hitl.policy.escaping import plain
from hitl_cli.logs import logs_on_screen
from hitl_cli.main import cli, run
from hitl_cli.session import Session

CANARY = "CANARY7f3a9"
DRAWS = "\x1b[2J\x1b]0;pwn\x07\u202eevil\u200b"

COMMANDS = (
    "list",
    "list -A -o json",
    "list -o name",
    "show x",
    "show x -o yaml",
    "approve x",
    "approve x --group",
    "deny x --reason r",
    "breakglass x --reason r --yes",
    "escalate x",
    "extend x 5m",
    "history",
    "activity",
    "explain --agent deploy/x --tool a/b --args {}",
    "status",
    "doctor",
    "unprotected",
    "freeze deploy/x --reason r",
    "thaw x",
)


@dataclass(frozen=True)
class Answered:
    """What a server says to everything."""

    code: int
    body: Any
    location: str = ""


def metadata(**more: Any) -> dict[str, Any]:
    return {"name": "x", "namespace": "ns", "uid": "u", "resourceVersion": "1", **more}


ITEM = {
    "metadata": metadata(creationTimestamp="2026-11-21T17:00:00Z", generation=1),
    "spec": {DRAWS: 1, "holderIdentity": DRAWS},
    "reason": "Notify",
    "message": f"{DRAWS} ran a · b · c",
    "involvedObject": {"name": DRAWS},
    "lastTimestamp": "2026-11-21T17:00:00Z",
    "status": {"conditions": [{"type": "Accepted", "status": "False", "reason": DRAWS, "message": DRAWS}]},
}
ANSWERS = {
    "unknown": Answered(401, {"kind": "Status", "message": DRAWS, "reason": "Unauthorized", "code": 401}),
    "forbidden": Answered(403, {"kind": "Status", "message": DRAWS, "details": {"causes": [{"message": DRAWS}]}}),
    "missing": Answered(404, {"kind": "Status", "message": DRAWS, "reason": DRAWS}),
    "broken": Answered(500, {"kind": "Status", "message": DRAWS}),
    "elsewhere": Answered(302, {}, "https://127.0.0.1:1/x"),
    "odd": Answered(200, {"items": [{"metadata": {}}, {"a": 1}], "metadata": {"resourceVersion": DRAWS}, "spec": None}),
    "a list": Answered(200, [1]),
    "no JSON": Answered(200, DRAWS),
    "hostile": Answered(
        200,
        {
            "items": [ITEM],
            "metadata": {"resourceVersion": "1"},
            "status": {"userInfo": {"username": DRAWS, "groups": [DRAWS], "extra": {DRAWS: [DRAWS]}}, "allowed": True},
            "gitVersion": DRAWS,
            "major": "1",
            "minor": "36",
            "spec": {"holderIdentity": DRAWS, "renewTime": "2026-11-21T17:00:00Z"},
        },
    ),
}


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@contextmanager
def api_server(folder: Path, authority: Authority, answered: Answered) -> Iterator[tuple[str, list[str]]]:
    """An https server that says this; its address, and the tokens that it was given."""
    tokens: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            tokens.append(self.headers.get("Authorization", ""))
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = json.dumps(answered.body, ensure_ascii=False).encode()
            self.send_response(answered.code)
            if answered.location:
                self.send_header("Location", answered.location)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    for verb in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        setattr(Handler, f"do_{verb}", Handler.answer)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.server("api").write(folder, "api"))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_address[1]}", tokens
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def a_kubeconfig(
    folder: Path, authority: Authority, server: str, user: object, more: Mapping[str, object] = MappingProxyType({})
) -> Path:
    """A kubeconfig for this server and user; `more` stands beside the cluster's address, or in its place."""
    (folder / "ca.crt").write_bytes(authority.pem)
    config = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "ana", "namespace": "ns"}}],
        "clusters": [{"name": "c", "cluster": {"certificate-authority": "ca.crt", "server": server, **more}}],
        "users": [{"name": "ana", "user": user}],
    }
    path = folder / "config"
    path.write_text(json.dumps(config))
    return path


# One process runs them all: what each prints, and its exit code. As anywhere else, nothing but hitl handles its logs.
PROGRAM = """\
import contextlib, io, json, sys
from hitl_cli.main import run
ended = {}
for words in sys.argv[1:]:
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(shown):
        code = run(words.split(" "), "kubectl-hitl")
    ended[words] = [code, shown.getvalue()]
print(json.dumps(ended))
"""


def printed(kubeconfig: Path) -> dict[str, tuple[int, str]]:
    """Exit code and everything that each command prints off a terminal."""
    left_out = ("HITL_TRACE", "HTTPS_PROXY", "https_proxy")
    environment = {name: value for name, value in os.environ.items() if name not in left_out}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *COMMANDS],
        capture_output=True,
        text=True,
        env={**environment, "KUBECONFIG": str(kubeconfig), "COLUMNS": "100"},
        timeout=120,
        check=True,
    )
    assert done.stderr == ""
    return {words: (code, shown) for words, (code, shown) in json.loads(done.stdout).items()}


def test_every_command_about_a_cluster_is_looked_at_here() -> None:
    """A command that is added is tried below, too."""
    machine = {"init", "check", "audit", "demo", "dev"}  # what does not speak with a cluster
    assert {each.split()[0] for each in COMMANDS} == set(cli.list_commands(mock.Mock(obj=None))) - machine


@pytest.mark.parametrize("answered", ANSWERS)
def test_G1_no_command_shows_a_token_or_lets_a_server_draw(tmp_path: Path, authority: Authority, answered: str) -> None:
    """G1: whatever a server says, every line is plain and none holds the token; what is no answer is no success."""
    with api_server(tmp_path, authority, ANSWERS[answered]) as (server, tokens):
        kubeconfig = a_kubeconfig(tmp_path, authority, server, {"token": f"{CANARY}\n"})
        for words, (code, shown) in printed(kubeconfig).items():
            assert CANARY not in shown, words
            assert all(plain(each) for each in shown.split("\n")), words
            assert code in (0, 1, 2, 4), words
            if answered not in ("odd", "hostile"):
                assert code != 0, words
    assert set(tokens) == {f"Bearer {CANARY}"}


@pytest.mark.parametrize(
    ("user", "cluster"),
    [
        ({"token": f"{CANARY}ü"}, {}),
        ({"token": [CANARY]}, {}),
        ({"exec": {"apiVersion": "v1", "command": "/bin/echo", "args": [CANARY]}}, {}),
        ({"exec": {"apiVersion": "v1", "command": "/bin/echo", "env": [{"value": CANARY}]}}, {}),
        ({"token": "t"}, {"server": f"https://ana:{CANARY}@127.0.0.1:1"}),
        ({"token": "t"}, {"proxy-url": f"http://ana:{CANARY}@127.0.0.1:1"}),
        ({"token": "t"}, {"proxy-url": f"socks5://ana:{CANARY}@127.0.0.1:1"}),
    ],
    ids=["token", "list", "plugin", "env", "server", "proxy", "other proxy"],
)
def test_G1_no_command_shows_a_secret_of_a_kubeconfig(
    tmp_path: Path, authority: Authority, user: object, cluster: dict[str, object]
) -> None:
    """G1: credentials that cannot be used are an error of ours with their place, in every command."""
    kubeconfig = a_kubeconfig(tmp_path, authority, "https://127.0.0.1:1", user, cluster)
    for words, (code, shown) in printed(kubeconfig).items():
        assert code == 1, words
        assert CANARY not in shown, words
        assert "should not happen" not in shown, words


@pytest.mark.parametrize("name", ["a\r\nX: y", " ", "ana\x1b[2J", "\udcff"])
def test_I4_nobody_acts_as_somebody_whom_a_header_cannot_name(tmp_path: Path, authority: Authority, name: str) -> None:
    """I4: --as with a control character or a blank name is refused with words, before anything is sent."""
    kubeconfig = a_kubeconfig(tmp_path, authority, "https://127.0.0.1:1", {"token": "t"})
    with mock.patch.dict(os.environ, {"KUBECONFIG": str(kubeconfig)}), contextlib.redirect_stderr(io.StringIO()) as err:
        assert run(["list", "--as", name], "kubectl-hitl") == 1
    assert err.getvalue().startswith("error: cannot act as user ")
    assert all(plain(each) for each in err.getvalue().split("\n"))


def test_G1_what_is_logged_is_printed_like_everything_else(tmp_path: Path, authority: Authority) -> None:
    """G1: a request that cannot be read is told on stderr; Python itself would print what is in it as it is."""
    with api_server(tmp_path, authority, ANSWERS["hostile"]) as (server, _):
        kubeconfig = a_kubeconfig(tmp_path, authority, server, {"token": "t"})
        done = subprocess.run(
            [str(HITL.with_name("kubectl-hitl")), "list", "--kubeconfig", str(kubeconfig)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    (told,) = {each for each in done.stderr.splitlines() if "cannot be read by this release" in each}
    assert told.startswith("error: approval request ns/x ")
    assert "\\u001b[2J" in told
    assert all(plain(each) for each in (*done.stdout.split("\n"), *done.stderr.split("\n")))


def test_G1_of_what_a_library_logs_its_exceptions_are_left_out() -> None:
    """G1: asyncio repeats an exception as it is, headers and all: only its first line is printed, and no trace."""
    with contextlib.redirect_stderr(io.StringIO()) as err, logs_on_screen(Session()):
        logging.getLogger("asyncio").error("Task exception was never retrieved\nexception=%s", CANARY)
        try:
            int(CANARY)
        except ValueError:
            logging.getLogger("hitl.stores").warning("left\nalone", exc_info=True)
        logging.getLogger("hitl.stores").info("nothing")
    assert err.getvalue() == "error: Task exception was never retrieved\nwarning: left⏎alone\n"
