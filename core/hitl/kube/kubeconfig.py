"""Reading kubeconfigs as kubectl does: which files, how they merge, what each entry means.

Errors name the place and never what stands there: it may be a token, a key or a password, also where none belongs.
"""

import base64
import os
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

import yaml

from hitl.errors import InvalidInput
from hitl.kube.access import Access, Impersonation
from hitl.kube.credentials import NO_TOKEN, Bearer, ClientCertificate, ExecPlugin, FetchedToken, FixedToken, TokenFile

_HOME: Final = Path("~/.kube/config")
_LISTS: Final = ("clusters", "users", "contexts")
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class _Entry:
    """A named cluster, user or context, and the file it stands in: paths in it are relative to that."""

    what: str
    name: str
    file: Path
    body: Mapping[str, Any]

    @property
    def place(self) -> str:
        return f"{self.file}: {self.what} {self.name!r}"

    def text(self, key: str) -> str:
        """The value of `key`, "" where it is absent; InvalidInput for anything but text."""
        value = self.body.get(key, "")
        if value is None:
            return ""
        if not isinstance(value, str):
            raise InvalidInput(f"{self.place}: {key} is {_kind(value)}, wanted text")
        return value

    def flag(self, key: str) -> bool:
        value = self.body.get(key, False)
        if not isinstance(value, bool):
            raise InvalidInput(f"{self.place}: {key} is {_kind(value)}, wanted true or false")
        return value

    def content(self, key: str) -> bytes | None:
        """What ``KEY-data`` holds, else the file that ``KEY`` names; None where there is neither."""
        if encoded := self.text(f"{key}-data"):
            try:
                return base64.b64decode(encoded, validate=True)
            except ValueError:  # letters that are none of base64's, or too few of them
                raise InvalidInput(f"{self.place}: {key}-data is not base64") from None
        if not (name := self.text(key)):
            return None
        try:
            return self.beside(name).read_bytes()
        except OSError as error:
            raise InvalidInput(f"{self.place}: {key}: {error.filename}: {error.strerror}") from error

    def beside(self, name: str) -> Path:
        return self.file.parent / Path(name).expanduser()


def read_access(
    path: Path | None,
    *,
    context: str | None,
    as_user: str | None,
    as_groups: tuple[str, ...],
    namespace: str | None,
) -> Access:
    """See `Access.from_kubeconfig`."""
    files = _files(path)
    documents = [(file, _document(file)) for file in files if path is not None or file.exists()]
    if not documents:
        raise InvalidInput(
            f"there is no kubeconfig at {', '.join(map(str, files))}; set KUBECONFIG or give --kubeconfig FILE"
        )
    shown = ", ".join(str(file) for file, _ in documents)
    wanted = context or next((str(one["current-context"]) for _, one in documents if one.get("current-context")), "")
    if not wanted:
        raise InvalidInput(f"{shown}: no context is current; choose one: kubectl config use-context NAME, or --context")
    chosen = _entry(documents, "contexts", "context", wanted, shown)
    cluster = _entry(documents, "clusters", "cluster", chosen.text("cluster"), shown)
    user = _entry(documents, "users", "user", name, shown) if (name := chosen.text("user")) else None
    server = _server(cluster)
    # As kubectl: over plain http whoever listens would have the token, so nobody is asked for one.
    known = user if server.startswith("https://") else None
    plugin = _plugin(known, cluster)
    return Access(
        server,
        bearer=plugin or _bearer(known),
        ca=cluster.content("certificate-authority"),
        certificate=plugin.certificate if plugin else _certificate(known),
        impersonate=_impersonation(user, as_user, as_groups),
        namespace=namespace or chosen.text("namespace") or "default",
        verify=not cluster.flag("insecure-skip-tls-verify"),
        tls_server_name=cluster.text("tls-server-name"),
        proxy=_proxy(cluster, server),
        place=f"{chosen.file} (context {wanted!r})",
    )


def _files(path: Path | None) -> list[Path]:
    if path is not None:
        return [path]
    listed = [Path(each) for each in os.environ.get("KUBECONFIG", "").split(os.pathsep) if each]
    return listed or [_HOME.expanduser()]


def _document(file: Path) -> Mapping[str, Any]:
    try:
        document = yaml.load(file.read_bytes(), Loader=_LOADER)  # noqa: S506 - a safe loader, in C where there is one
    except OSError as error:
        raise InvalidInput(f"{file}: {error.strerror}; give --kubeconfig FILE") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise InvalidInput(f"{file}: is not YAML{where}") from None  # the parser quotes what it could not read
    if document is None:
        return {}
    if not isinstance(document, Mapping):
        raise InvalidInput(f"{file}: is not a kubeconfig")
    return document


def _entry(documents: list[tuple[Path, Mapping[str, Any]]], group: str, what: str, name: str, shown: str) -> _Entry:
    """The first entry of that name: with several files, the first one wins."""
    names: list[str] = []
    for file, document in documents:
        listed = document.get(group) or []
        if not isinstance(listed, list) or not all(isinstance(each, Mapping) for each in listed):
            raise InvalidInput(f"{file}: {group} is not a list of named entries")
        for each in listed:
            if each.get("name") == name:
                body = each.get(what) or {}
                if not isinstance(body, Mapping):
                    raise InvalidInput(f"{file}: {what} {name!r} has no content")
                return _Entry(what, name, file.absolute(), body)
            names.append(str(each.get("name")))
    raise InvalidInput(f"{shown}: there is no {what} {name!r}; there is {', '.join(names) or 'none'}")


def _certificate(user: _Entry | None) -> Any:
    pair = (user.content("client-certificate"), user.content("client-key")) if user else (None, None)
    match pair:
        case (None, None):
            return lambda: None
        case (bytes() as certificate, bytes() as key):
            return lambda: ClientCertificate(certificate, key)
    assert user is not None
    raise InvalidInput(f"{user.place}: client-certificate and client-key need each other; one is missing")


def _bearer(user: _Entry | None) -> Bearer:
    if user is None:
        return NO_TOKEN
    if name := user.text("tokenFile"):  # before token, as kubectl has it
        return TokenFile(user.beside(name))
    if token := user.text("token"):
        return FixedToken(token, f"{user.place}: token")
    if user.body.get("auth-provider"):
        return FetchedToken(lambda: _from_provider(user), place=f"{user.place}: auth-provider")
    if user.text("username"):
        raise InvalidInput(f"{user.place}: API servers take no user name with password since 1.19; use a token")
    return NO_TOKEN


def _plugin(user: _Entry | None, cluster: _Entry) -> ExecPlugin | None:
    if user is None or user.text("token") or user.text("tokenFile") or not user.body.get("exec"):
        return None
    config = user.body["exec"]
    if not isinstance(config, Mapping):
        raise InvalidInput(f"{user.place}: exec is {_kind(config)}, wanted command, args, apiVersion")
    return ExecPlugin(config, place=f"{user.place}: exec", folder=user.file.parent, cluster=_for_plugin(cluster))


def _for_plugin(cluster: _Entry) -> dict[str, Any]:
    """The cluster as `provideClusterInfo` shows it to a plugin."""
    ca = cluster.content("certificate-authority")
    found: dict[str, Any] = {
        "server": cluster.text("server"),
        "tls-server-name": cluster.text("tls-server-name"),
        "insecure-skip-tls-verify": cluster.flag("insecure-skip-tls-verify"),
        "certificate-authority-data": base64.b64encode(ca).decode() if ca else "",
        "proxy-url": cluster.text("proxy-url"),
    }
    extensions = cluster.body.get("extensions") or []
    if not isinstance(extensions, list) or not all(isinstance(each, Mapping) for each in extensions):
        raise InvalidInput(f"{cluster.place}: extensions is not a list of named entries")
    for each in extensions:
        if each.get("name") == "client.authentication.k8s.io/exec":
            found["config"] = each.get("extension")
    return {key: value for key, value in found.items() if value}


def _from_provider(user: _Entry) -> tuple[str, datetime | None]:
    """The token of a legacy auth-provider, by the library that knows how to refresh it."""
    from kubernetes.config.config_exception import ConfigException  # noqa: PLC0415 - 250 ms, for these few users only
    from kubernetes.config.kube_config import KubeConfigLoader  # noqa: PLC0415

    alone = {
        "current-context": "it",
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": user.name}}],
        "clusters": [{"name": "it", "cluster": {}}],
        "users": [{"name": user.name, "user": dict(user.body)}],
    }
    loader: Any = KubeConfigLoader(alone, config_base_path=str(user.file.parent))  # type: ignore[no-untyped-call]  # has no types
    try:
        header = loader._load_auth_provider_token()  # noqa: SLF001 - its only way to a token without a client
    except (ConfigException, KeyError, TypeError, ValueError, AttributeError, OSError) as error:
        raise InvalidInput(
            f"{user.place}: auth-provider failed ({type(error).__name__}); log in again, or use an exec plugin"
        ) from None
    if not header:
        raise InvalidInput(f"{user.place}: auth-provider gave no token; use an exec plugin, as kubectl >= 1.26")
    return str(header).removeprefix("Bearer "), getattr(loader, "expiry", None)


def _impersonation(user: _Entry | None, as_user: str | None, as_groups: tuple[str, ...]) -> Impersonation | None:
    if as_user is not None:
        return Impersonation(as_user, as_groups)  # its errors name what was typed
    if as_groups:
        raise InvalidInput("--as-group needs --as: groups alone are nobody")
    if user is None or not user.text("as"):
        return None
    groups, extra = user.body.get("as-groups") or [], user.body.get("as-user-extra") or {}
    if not _texts(groups) or not isinstance(extra, Mapping) or not all(map(_texts, (list(extra), *extra.values()))):
        raise InvalidInput(f"{user.place}: as-groups is a list, as-user-extra a mapping of lists, all of text")
    try:
        return Impersonation(
            user.text("as"),
            tuple(groups),
            user.text("as-uid"),
            {key: tuple(values) for key, values in extra.items()},
        )
    except InvalidInput as error:
        raise InvalidInput(f"{user.place}: {error}") from None


def _proxy(cluster: _Entry, server: str) -> str:
    proxy = cluster.text("proxy-url")
    where = cluster.place
    if not proxy:
        split = urlsplit(server)
        proxy = urllib.request.getproxies().get(split.scheme, "")
        where = f"{split.scheme.upper()}_PROXY"
        if proxy and urllib.request.proxy_bypass(split.netloc):
            return ""
    if proxy and _address(proxy) is None:
        raise InvalidInput(f"{where}: this proxy is not spoken here; wanted http://HOST:PORT")
    return proxy


def _server(cluster: _Entry) -> str:
    """The API server's address. It has no place for a name and a password: errors show it, and it would be sent."""
    server = cluster.text("server").rstrip("/")
    address = _address(server)
    if address is None or address.query or address.fragment:
        raise InvalidInput(f"{cluster.place}: server is no address that can be asked, wanted https://HOST:PORT")
    if "@" in address.netloc:
        raise InvalidInput(
            f"{cluster.place}: server has a user name or password in it, and API servers take none since 1.19; "
            "use a token, wanted https://HOST:PORT"
        )
    return server


def _address(text: str) -> SplitResult | None:
    """An http or https address; None where it is none."""
    if not text.isascii() or not text.isprintable() or " " in text:
        return None
    try:
        address = urlsplit(text)
        is_one = address.scheme in ("http", "https") and bool(address.hostname) and address.port != 0
    except ValueError:  # of a port that is no number, or brackets around no IPv6 address
        return None
    return address if is_one else None


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _kind(value: Any) -> str:
    """What sort of thing it is, for errors that must not show it."""
    match value:
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list():
            return "a list"
        case Mapping():
            return "a mapping"
    return "something else"
