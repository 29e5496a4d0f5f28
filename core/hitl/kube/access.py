"""Who talks to which API server, and how the two know each other. Reading a kubeconfig: `hitl.kube.kubeconfig`."""

import os
import ssl
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self
from urllib.parse import quote

from hitl.errors import InvalidInput
from hitl.kube.credentials import NO_TOKEN, Bearer, ClientCertificate, TokenFile

_POD: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(frozen=True, slots=True)
class Impersonation:
    """Another user in whose name to act; the caller needs the right to impersonate.

    Attributes:
        extra: further claims, e.g. ``hitl.dev/amr``; keys are lower-case.
    """

    user: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # A server takes blanks off a header, and an empty one for none: it would take them for somebody else.
        said = [("user", self.user), *(("group", each) for each in self.groups), ("uid", self.uid)]
        said += [(key, each) for key, values in self.extra.items() for each in values]
        for what, text in said:
            if not _fits_a_header(text) or (not text and what in ("user", "group")):
                raise InvalidInput(
                    f"cannot act as {what} {text!r}: it is empty, begins or ends with a blank, or has a control "
                    "character in it; see --as and --as-group, or as in the kubeconfig"
                )

    def headers(self) -> list[tuple[str, str]]:
        """As HTTP carries it; a key that a header's name cannot have is percent-encoded."""
        found = [("Impersonate-User", self.user)]
        found += [("Impersonate-Group", group) for group in self.groups]
        if self.uid:
            found.append(("Impersonate-Uid", self.uid))
        for key, values in self.extra.items():
            found += [(f"Impersonate-Extra-{quote(key.lower(), safe='')}", value) for value in values]
        return found


def _fits_a_header(text: str) -> bool:
    """Whether HTTP carries it as it is, in UTF-8: a line break would begin a header of its own."""
    return text == text.strip() and all(unicodedata.category(each) not in ("Cc", "Cs") for each in text)


@dataclass(frozen=True, slots=True)
class Access:
    """One API server as seen by one caller.

    Attributes:
        server: ``https://host:port``, perhaps with a path, without a slash at the end.
        bearer: source of the token; see `hitl.kube.credentials`. Only for https: plain http would tell everybody.
        ca: PEM certificates that the server's must lead to; None: those of the system.
        certificate: gives the client certificate, or None; may take long, as `Bearer.fetch`.
        impersonate: act as somebody else.
        namespace: where commands look when nobody says where.
        verify: False only where a kubeconfig says insecure-skip-tls-verify.
        tls_server_name: the name that the server's certificate must have, where it is not that of the address.
        proxy: ``http://…`` to go through, perhaps with a user name and password; "" for none.
        place: where all this was read, for messages, e.g. ``/home/ana/.kube/config (context "shop")``.
    """

    server: str
    bearer: Bearer = NO_TOKEN
    ca: bytes | None = None
    certificate: Callable[[], ClientCertificate | None] = lambda: None
    impersonate: Impersonation | None = None
    namespace: str = "default"
    verify: bool = True
    tls_server_name: str = ""
    proxy: str = field(default="", repr=False)
    place: str = "the given access"

    @classmethod
    def from_kubeconfig(
        cls,
        path: Path | None = None,
        *,
        context: str | None = None,
        as_user: str | None = None,
        as_groups: Sequence[str] = (),
        namespace: str | None = None,
    ) -> "Access":
        """As kubectl would have it.

        Args:
            path: of one kubeconfig; None: those that KUBECONFIG lists, merged, else ``~/.kube/config``.
            context: None for the current one.
            as_user: as kubectl's ``--as``; replaces what the kubeconfig says of impersonation.
            as_groups: as kubectl's ``--as-group``.
            namespace: instead of the context's.

        Raises:
            InvalidInput: there is none, or something in it is missing or wrong; names file, place and next step.
        """
        from hitl.kube.kubeconfig import read_access  # noqa: PLC0415 - YAML is for those who have a kubeconfig

        return read_access(path, context=context, as_user=as_user, as_groups=tuple(as_groups), namespace=namespace)

    @classmethod
    def in_cluster(cls, *, folder: Path = _POD, environment: Mapping[str, str] = os.environ) -> Self:
        """As a pod's ServiceAccount has it; its token is read again as kubelet renews it.

        Raises:
            InvalidInput: this is no pod, or its ServiceAccount token is not mounted.
        """
        host, port = environment.get("KUBERNETES_SERVICE_HOST", ""), environment.get("KUBERNETES_SERVICE_PORT", "")
        if not host or not port:
            raise InvalidInput(
                "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set: this is not a pod; give --kubeconfig"
            )
        bearer = TokenFile(folder / "token")
        bearer.fetch()
        try:
            ca = (folder / "ca.crt").read_bytes()
            namespace = (folder / "namespace").read_text(encoding="utf-8").strip()
        except OSError as error:
            raise InvalidInput(f"{error.filename}: {error.strerror}; mount the ServiceAccount token") from error
        server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
        return cls(
            server, bearer=bearer, ca=ca, namespace=namespace or "default", place=f"the ServiceAccount in {folder}"
        )

    def tls(self) -> ssl.SSLContext | None:
        """A context that trusts and shows what this access says; None for plain http. May take long.

        Raises:
            InvalidInput: certificates that cannot be read, or do not fit together.
        """
        if not self.server.startswith("https://"):
            return None
        try:
            context = ssl.create_default_context(cadata=self.ca.decode("ascii") if self.ca else None)
        except (ssl.SSLError, ValueError) as error:
            raise InvalidInput(
                f"{self.place}: the certificate authority cannot be read ({error}); it must be PEM"
            ) from error
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # Cluster authorities made before RFC 5280 was enforced lack key identifiers; Python 3.13 would refuse them.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if (certificate := self.certificate()) is not None:
            certificate.load_into(context, self.place)
        return context
