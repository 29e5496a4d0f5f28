"""How a program says to an API server who it is: tokens that are read again in time, certificates, exec plugins."""

import json
import os
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Protocol

from hitl.errors import InvalidInput

# A projected token is renewed at 80 % of its life, minutes before it ends: to look this often is often enough.
_REREAD: Final = 10.0
# A plugin's token is asked for anew so many seconds before it ends, so that it does not end on its way.
_EARLY: Final = 30.0
# A plugin may open a browser and wait for a person.
_PLUGIN_PATIENCE: Final = 300.0
# What a plugin may give, in its own spelling.
_GIVEN: Final = ("token", "clientCertificateData", "clientKeyData")


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """A certificate with its key, both PEM."""

    certificate: bytes
    key: bytes = field(repr=False)

    def load_into(self, context: ssl.SSLContext, place: str) -> None:
        """Let `context` show it. InvalidInput names `place` where the two do not fit or cannot be read."""
        # The ssl module reads files only; these live for as long as it reads, in a directory of this account alone.
        with tempfile.TemporaryDirectory(prefix="hitl-") as folder:
            pair = Path(folder) / "certificate.pem", Path(folder) / "key.pem"
            for path, content in zip(pair, (self.certificate, self.key), strict=True):
                path.write_bytes(content)
            try:
                context.load_cert_chain(*pair, password=lambda: "")
            except (ssl.SSLError, ValueError) as error:
                raise InvalidInput(
                    f"{place}: client certificate and key cannot be used ({error}); they must be PEM, belong "
                    "together, and the key must have no password"
                ) from error


class Bearer(Protocol):
    """Where the bearer token comes from."""

    def held(self) -> str | None:
        """The token, as long as it is good: "" for none at all; None: `fetch` it. Never waits."""
        ...

    def fetch(self) -> str:
        """A good token; may take long: read a file, run a program. InvalidInput: there is none to be had."""
        ...

    def drop(self) -> None:
        """The server refused it: whatever is held is no longer good."""
        ...


def checked_token(token: object, place: str) -> str:
    """The token as a header takes it, blanks around it left out; "" where there is none.

    Raises:
        InvalidInput: it has a character that no token has. Names `place` and nothing of the token: what was pasted
            there is a secret all the same.
    """
    if not isinstance(token, str):
        raise InvalidInput(f"{place}: the token is not text; log in again")
    token = token.strip()
    if not token.isascii() or not token.isprintable():
        raise InvalidInput(f"{place}: the token has a character that no token has; log in again, or paste it anew")
    return token


@dataclass(frozen=True, slots=True)
class FixedToken:
    """A token that is what it is, or none at all. InvalidInput names `place` where it cannot be one."""

    token: str = field(default="", repr=False)
    place: str = "the given token"

    def __post_init__(self) -> None:
        object.__setattr__(self, "token", checked_token(self.token, self.place))

    def held(self) -> str | None:
        return self.token

    def fetch(self) -> str:
        return self.token

    def drop(self) -> None:
        return


NO_TOKEN: Final = FixedToken()


class TokenFile:
    """A token in a file that somebody renews, as kubelet does for pods."""

    def __init__(self, path: Path, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._monotonic = monotonic
        self._token = ""
        self._good_until = float("-inf")

    def held(self) -> str | None:
        return self._token if self._monotonic() < self._good_until else None

    def fetch(self) -> str:
        try:
            content = self._path.read_bytes()
        except OSError as error:
            raise InvalidInput(
                f"{self._path}: the token cannot be read ({error.strerror}); see that the file is there"
            ) from error
        token = checked_token(content.decode("utf-8", "replace"), str(self._path))
        if not token:
            raise InvalidInput(f"{self._path}: is empty, wanted a bearer token")
        self._token, self._good_until = token, self._monotonic() + _REREAD
        return token

    def drop(self) -> None:
        self._good_until = float("-inf")


class FetchedToken:
    """A token that some function gets, with the time when it ends; kept until shortly before.

    place: who gives it, for errors.
    """

    def __init__(
        self,
        get: Callable[[], tuple[object, datetime | None]],
        *,
        place: str,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._get = get
        self._place = place
        self._now = now
        self._token = ""
        self._good_until = float("-inf")

    def held(self) -> str | None:
        return self._token if self._now() < self._good_until else None

    def fetch(self) -> str:
        token, ends = self._get()
        self._token = checked_token(token, self._place)
        self._good_until = float("inf") if ends is None else ends.timestamp() - _EARLY
        return self._token

    def drop(self) -> None:
        self._good_until = float("-inf")


class ExecPlugin:
    """A program that prints credentials (client.authentication.k8s.io), as EKS, GKE, AKS and OIDC logins have.

    Run here and not by the `kubernetes` library: importing that costs more than `kubectl hitl list` may take in all,
    it swallows a plugin's errors, and it knows no certificates that end.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        *,
        place: str,
        folder: Path,
        cluster: Mapping[str, Any] | None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._config = config
        self._place = place
        self._folder = folder
        self._cluster = cluster
        self._token = FetchedToken(self._run, place=place, now=now)
        self._certificate: ClientCertificate | None = None
        for key in ("apiVersion", "command"):
            if not isinstance(config.get(key), str) or not config[key]:
                raise InvalidInput(f"{place}.{key}: is missing; kubectl needs it too")
        self._more = _environment(config, place)
        self._words = _words(config, place)

    def held(self) -> str | None:
        return self._token.held()

    def fetch(self) -> str:
        return self._token.fetch()

    def drop(self) -> None:
        self._token.drop()

    def certificate(self) -> ClientCertificate | None:
        """The certificate that the plugin gives instead of a token, or beside it; runs it if it has not run."""
        if self.held() is None:
            self.fetch()
        return self._certificate

    def _run(self) -> tuple[str, datetime | None]:
        status = self._status(self._output())
        token, certificate, key = found = [status.get(each) or "" for each in _GIVEN]
        if not all(isinstance(each, str) for each in found):
            raise InvalidInput(f"{self._place}: {self._command} gave something else than text as {' or '.join(_GIVEN)}")
        if bool(certificate) != bool(key) or not (token or certificate):
            raise InvalidInput(f"{self._place}: {self._command} gave neither a token nor a certificate with its key")
        self._certificate = ClientCertificate(certificate.encode(), key.encode()) if certificate else None
        ends = status.get("expirationTimestamp")
        try:
            return token, datetime.fromisoformat(ends) if ends else None
        except (ValueError, TypeError):
            raise InvalidInput(
                f"{self._place}: {self._command} gave an expirationTimestamp that is no time as in RFC 3339"
            ) from None

    def _output(self) -> str:
        interactive = sys.stdin is not None and sys.stdin.isatty() and self._config.get("interactiveMode") != "Never"
        spec: dict[str, Any] = {"interactive": interactive}
        if self._config.get("provideClusterInfo") and self._cluster is not None:
            spec["cluster"] = dict(self._cluster)
        info = {"apiVersion": self._config["apiVersion"], "kind": "ExecCredential", "spec": spec}
        try:
            done = subprocess.run(  # noqa: S603 - the person's own kubeconfig names the program, as for kubectl
                self._arguments(),
                env={**os.environ, **self._more, "KUBERNETES_EXEC_INFO": json.dumps(info)},
                stdin=None if interactive else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=None if interactive else subprocess.PIPE,
                encoding="utf-8",
                errors="replace",
                timeout=_PLUGIN_PATIENCE,
                check=False,
            )
        except FileNotFoundError:
            hint = str(self._config.get("installHint") or "install it, or see that it is in PATH").strip()
            raise InvalidInput(f"{self._place}: there is no program {self._command}; {hint}") from None
        except subprocess.TimeoutExpired:  # its words hold the arguments, and those may be secret
            raise InvalidInput(
                f"{self._place}: {self._command} did not end within {_PLUGIN_PATIENCE:.0f} s; run it by hand"
            ) from None
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "a zero byte in what it is given"
            raise InvalidInput(f"{self._place}: {self._command} could not be run: {why}") from None
        if done.returncode != 0:
            said = (done.stderr or "").strip().splitlines()
            raise InvalidInput(
                f"{self._place}: {self._command} failed with exit code {done.returncode}"
                f"{': ' + said[-1][:500] if said else ''}; run it by hand, or log in again"
            )
        return done.stdout

    def _status(self, output: str) -> Mapping[str, Any]:
        try:
            credential = json.loads(output)
            status, version = credential["status"], credential["apiVersion"]
        except (ValueError, KeyError, TypeError):
            raise InvalidInput(f"{self._place}: {self._command} did not print an ExecCredential") from None
        if version != self._config["apiVersion"]:
            raise InvalidInput(
                f"{self._place}: {self._command} speaks {str(version)[:100]}, the kubeconfig wants "
                f"{self._config['apiVersion']}; update the one or the other"
            )
        if not isinstance(status, Mapping):
            raise InvalidInput(f"{self._place}: {self._command} printed an ExecCredential without status")
        return status

    def _arguments(self) -> Sequence[str]:
        command = self._command
        if "/" in command and not Path(command).is_absolute():
            command = str(self._folder / command)  # relative to the kubeconfig, as kubectl has it
        return [command, *self._words]

    @property
    def _command(self) -> str:
        return str(self._config["command"])


def _environment(config: Mapping[str, Any], place: str) -> dict[str, str]:
    """What a kubeconfig adds to a plugin's environment. Values may be secret: errors name places alone."""
    more: dict[str, str] = {}
    for at, each in enumerate(_listed(config, "env", place)):
        if not isinstance(each, Mapping) or not all(isinstance(each.get(key, ""), str) for key in ("name", "value")):
            raise InvalidInput(f"{place}.env[{at}]: wanted a name and a value, both text")
        if not (name := each.get("name", "")) or "=" in name:
            raise InvalidInput(f"{place}.env[{at}]: has no name that a variable can have")
        more[name] = each.get("value", "")
    return more


def _words(config: Mapping[str, Any], place: str) -> list[str]:
    words = _listed(config, "args", place)
    for at, each in enumerate(words):
        if not isinstance(each, str):
            raise InvalidInput(f"{place}.args[{at}]: is not text; put it in quotes")
    return words


def _listed(config: Mapping[str, Any], key: str, place: str) -> list[Any]:
    found = config.get(key) or []
    if not isinstance(found, list):
        raise InvalidInput(f"{place}.{key}: is not a list")
    return found
