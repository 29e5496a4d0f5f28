r"""The host that a URL leads to, where every client agrees on it (SECURITY A2).

Clients differ on backslashes, missing or doubled slashes, spaces, percent-encoded hosts and old spellings of IPv4
(``http://good\@evil``, ``https:/evil``, ``http://0x7f.1``). Such a text is not judged at all: it cannot be evaluated,
so the call is denied.
"""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final

from hitl.errors import EvaluationFailed

# Browsers and proxies cut or refuse above this.
MAX_URL: Final = 8192

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)(.*)", re.DOTALL)
# Almost all URLs: ASCII, no user, no odd host. What it accepts needs no second look.
_PLAIN = re.compile(
    r"https?://([a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?){0,20}\.[a-z]{2,24})"
    r"(?::[0-9]{1,4})?(?:[/?#][!$-;=?-Z_a-z~#%&]*)?",
    re.ASCII,
)
_USER = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:%-]*", re.ASCII)
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
_NUMERIC = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
# IDNA 2003 and 2008 give these different hosts, and clients follow either.
_DISPUTED = frozenset("\u00df\u03c2\u200c\u200d")


def host_of(text: str) -> str:
    """The host: lower-case, IDNA in its ``xn--`` form, without trailing dot; addresses in their canonical form.

    Raises:
        EvaluationFailed: no URL with ``scheme://host``, or one that clients are known to read differently.
    """
    if len(text) <= MAX_URL and (plain := _PLAIN.fullmatch(text)):
        return plain[1]
    if len(text) > MAX_URL:
        raise EvaluationFailed(f"it has {len(text)} characters, and a URL at most {MAX_URL}")
    if any(character <= " " or character == "\x7f" or character.isspace() for character in text):
        raise EvaluationFailed("it holds a space or control character, which clients treat differently")
    parts = _URL.fullmatch(text)
    if not parts:
        raise EvaluationFailed("it is no URL of the form scheme://host/path")
    scheme, authority, rest = parts[1].lower(), parts[2], parts[3]
    if scheme == "file":
        raise EvaluationFailed("it is a file: URL, which leads to no host; judge it with within")
    if "\\" in authority or "\\" in re.split(r"[?#]", rest, maxsplit=1)[0]:
        raise EvaluationFailed("it holds a backslash, which some clients take for a slash")
    user, at, place = authority.rpartition("@")
    if at and not _USER.fullmatch(user):
        raise EvaluationFailed("what stands before the @ can be read in two ways")
    return _host(_without_port(place))


def _without_port(place: str) -> str:
    host, colon, port = place.rpartition(":")
    if not colon or place.endswith("]"):
        return place
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535):
        raise EvaluationFailed("its port is not a number up to 65535")
    return host


def _host(host: str) -> str:
    if host.startswith("[") and host.endswith("]"):
        return _ipv6(host[1:-1])
    if not host:
        raise EvaluationFailed("it has no host")
    if "%" in host:
        raise EvaluationFailed("its host is percent-encoded")
    name = unicodedata.normalize("NFKC", host).lower()
    if any(character in _DISPUTED for character in host.lower()):
        raise EvaluationFailed("its host has a letter that old and new IDNA encode differently")
    name = name.removesuffix(".")
    labels = [_label(label) for label in name.split(".")]
    if _NUMERIC.fullmatch(labels[-1]):
        return _ipv4(name)
    name = ".".join(labels)
    if len(name) > 253:
        raise EvaluationFailed("its host is longer than 253 characters")
    return name


def _label(label: str) -> str:
    if not label.isascii():
        try:
            label = label.encode("idna").decode("ascii").lower()
        except UnicodeError as error:
            raise EvaluationFailed("its host is no valid international name") from error
    if not _LABEL.fullmatch(label):
        raise EvaluationFailed("its host has an empty or invalid part")
    return label


def _ipv4(text: str) -> str:
    try:
        return str(IPv4Address(text))
    except AddressValueError as error:
        raise EvaluationFailed("its host is a number that clients read differently; write a.b.c.d") from error


def _ipv6(text: str) -> str:
    if "%" in text:
        raise EvaluationFailed("its address has a zone, which means something on one machine only")
    try:
        address = IPv6Address(text)
    except AddressValueError as error:
        raise EvaluationFailed("its host is no valid IPv6 address") from error
    # ::ffff:10.0.0.1 is 10.0.0.1 to the network.
    return str(address.ipv4_mapped or address)


@dataclass(frozen=True, slots=True)
class HostPattern:
    """A host, or every subdomain of one.

    Attributes:
        text: as the author wrote it.
        matches: whether a host as `host_of` gives it fits.
    """

    text: str
    matches: Callable[[str], bool] = field(repr=False, compare=False)

    @classmethod
    def parse(cls, text: str) -> "HostPattern":
        """``api.example.com``, ``*.example.com`` (subdomains only), ``10.0.0.1`` or ``[::1]``.

        ValueError, with the next step, for anything else.
        """
        if "://" in text or "/" in text:
            raise ValueError(f"{text!r} is more than a host; write only the host, such as api.example.com")
        subdomains = text.startswith("*.")
        name = text[2:] if subdomains else text
        if "*" in name or "?" in name:
            raise ValueError(f"{text!r}: a wildcard can only stand first, as in *.example.com")
        try:
            host = _host(f"[{name}]" if name.count(":") > 1 and not name.startswith("[") else name)
        except EvaluationFailed as error:
            hint = "; leave the port out, every port of the host is meant" if ":" in name else ""
            raise ValueError(f"{text!r} is no host: {error}{hint}") from error
        if not subdomains:
            return cls(text, host.__eq__)
        if ":" in host or _NUMERIC.fullmatch(host.rsplit(".", 1)[-1]):
            raise ValueError(f"{text!r}: an address has no subdomains; write the address itself")
        return cls(text, _subdomain_of(host))


def _subdomain_of(host: str) -> Callable[[str], bool]:
    suffix = f".{host}"
    return lambda name: name.endswith(suffix)
