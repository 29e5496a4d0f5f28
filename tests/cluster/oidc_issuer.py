"""A small OpenID Connect provider on loopback: real HTTPS, discovery, a key set, and tokens signed with RS256.

It asks nobody for a password: a test says what a login would have found out. kube-apiserver does with it what it does
with any provider: it reads the discovery document, fetches the keys and verifies each token's signature and claims.
"""

import base64
import http.server
import json
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from control_plane.certificates import Authority

KEY_ID = "first"
AUDIENCE = "hitl-test-cluster"


class Issuer:
    """What it signs, and how a cluster is told to believe it.

    Attributes:
        url: as in the claim `iss`.
    """

    def __init__(self, url: str, authority: Authority) -> None:
        self.url = url
        self._authority = authority
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def login(self, user: str, groups: Sequence[str] = (), *, amr: Sequence[str] | None = None, **claims: Any) -> str:
        """The ID token after `user` logged in by the methods `amr` (RFC 8176); `claims` replace what stands in it."""
        now = int(time.time())
        said = {"iss": self.url, "aud": AUDIENCE, "sub": user, "groups": list(groups), "iat": now, "exp": now + 600}
        methods = {} if amr is None else {"amr": list(amr)}
        return self._signed({**said, **methods, **claims}, self._key)

    def forged(self, user: str, groups: Sequence[str], amr: Sequence[str]) -> str:
        """A token that says the same and is signed by somebody else under the provider's key id."""
        now = int(time.time())
        said = {"iss": self.url, "aud": AUDIENCE, "sub": user, "groups": list(groups), "amr": list(amr)}
        return self._signed({**said, "iat": now, "exp": now + 600}, self._stranger)

    def documents(self) -> dict[str, Any]:
        """What it serves, by path."""
        public = self._key.public_key().public_numbers()
        key = {"kty": "RSA", "alg": "RS256", "use": "sig", "kid": KEY_ID}
        numbers = {"n": _encoded(_bytes(public.n)), "e": _encoded(_bytes(public.e))}
        return {
            "/.well-known/openid-configuration": {
                "issuer": self.url,
                "jwks_uri": f"{self.url}/keys",
                "response_types_supported": ["id_token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
            },
            "/keys": {"keys": [{**key, **numbers}]},
        }

    def authentication_configuration(self) -> dict[str, Any]:
        """The file for `--authentication-config`: names and groups as they are, `amr` under `hitl.dev/amr`."""
        return {
            "apiVersion": "apiserver.config.k8s.io/v1",
            "kind": "AuthenticationConfiguration",
            "jwt": [
                {
                    "issuer": {
                        "url": self.url,
                        "certificateAuthority": self._authority.pem.decode(),
                        "audiences": [AUDIENCE],
                    },
                    "claimMappings": {
                        "username": {"claim": "sub", "prefix": ""},
                        "groups": {"claim": "groups", "prefix": ""},
                        "extra": [{"key": "hitl.dev/amr", "valueExpression": "has(claims.amr) ? claims.amr : dyn([])"}],
                    },
                    "userValidationRules": [
                        {"expression": "!user.username.startsWith('system:')", "message": "people only"},
                        {"expression": "user.groups.all(g, !g.startsWith('system:'))", "message": "people only"},
                    ],
                }
            ],
        }

    def _signed(self, claims: dict[str, Any], key: rsa.RSAPrivateKey) -> str:
        header = {"alg": "RS256", "typ": "JWT", "kid": KEY_ID}
        text = f"{_encoded(json.dumps(header).encode())}.{_encoded(json.dumps(claims).encode())}"
        return f"{text}.{_encoded(key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


@contextmanager
def issuing(folder: Path) -> Iterator[Issuer]:
    """A provider that serves while the block runs; `folder` gets its certificate."""
    authority = Authority("hitl-test-provider")
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trust.load_cert_chain(*authority.server("provider").write(folder, "provider"))
    pages: dict[str, Any] = {}

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = pages.get(self.path)
            self.send_response(404 if page is None else 200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(page).encode())

        def log_message(self, *_: Any) -> None:
            """Requests are no news."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    server.daemon_threads = True
    server.socket = trust.wrap_socket(server.socket, server_side=True)
    issuer = Issuer(f"https://127.0.0.1:{server.server_port}", authority)
    pages.update(issuer.documents())
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _encoded(text: bytes) -> str:
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def _bytes(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")
