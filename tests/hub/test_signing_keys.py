"""Whether a token was signed by the cluster: good ones of every kind of key, and what only looks like one."""

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from hitl_operator.cluster.signing_keys import Signed, read_keys, signed

RSA = rsa.generate_private_key(65537, 2048)
EC = {each.name: ec.generate_private_key(each) for each in (ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1())}
CURVES = {"ES256": "secp256r1", "ES384": "secp384r1", "ES512": "secp521r1"}
HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}


def text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def number(value: int) -> str:
    return text(value.to_bytes((value.bit_length() + 7) // 8))


def jwk(algorithm: str, kid: str = "one", **more: Any) -> dict[str, Any]:
    """The public key for an algorithm, as an API server publishes it."""
    if algorithm.startswith("RS"):
        numbers = RSA.public_key().public_numbers()
        found = {"kty": "RSA", "n": number(numbers.n), "e": number(numbers.e)}
    else:
        point = EC[CURVES[algorithm]].public_key().public_numbers()
        size = (point.curve.key_size + 7) // 8
        found = {"kty": "EC", "x": text(point.x.to_bytes(size)), "y": text(point.y.to_bytes(size))}
    return {"use": "sig", "kid": kid, "alg": algorithm, **found, **more}


def a_token(algorithm: str, **header: Any) -> str:
    """Signed with the key for an algorithm, whatever its header says."""
    head = {"alg": algorithm, "kid": "one", **header}
    said = f"{text(json.dumps(head).encode())}.{text(b'{}')}"
    digest = HASHES[algorithm[2:]]
    if algorithm.startswith("RS"):
        return f"{said}.{text(RSA.sign(said.encode(), padding.PKCS1v15(), digest))}"
    key = EC[CURVES[algorithm]]
    size = (key.curve.key_size + 7) // 8
    r, s = decode_dss_signature(key.sign(said.encode(), ec.ECDSA(digest)))
    return f"{said}.{text(r.to_bytes(size) + s.to_bytes(size))}"


@pytest.mark.parametrize("algorithm", ["RS256", "RS384", "RS512", "ES256", "ES384", "ES512"])
def test_F3_a_token_of_the_cluster_is_known_by_its_signature(algorithm: str) -> None:
    """F3: with each algorithm that an API server signs with; one changed letter anywhere, and it is none."""
    keys = read_keys({"keys": [jwk(algorithm)]})
    token = a_token(algorithm)
    assert signed(token, keys) is Signed.YES
    head, _, signature = token.split(".")
    assert signed(f"{head}.{text(b'[]')}.{signature}", keys) is Signed.NO
    other = ("A" if signature[0] != "A" else "B") + signature[1:]
    for worse in (other, "", signature[:-4], signature + "AAAA", "!", "é"):
        assert signed(f"{head}.{text(b'{}')}.{worse}", keys) is Signed.NO, worse


def test_F3_one_token_has_one_text() -> None:
    """F3: spare bits, padding and letters that a lax reader skips would make many of one, each a review of its own."""
    keys = read_keys({"keys": [jwk("RS256")]})
    token = a_token("RS256")
    last = token[-1]
    for spelled in (f"{token}=", f"{token}==", f"{token}\n", f"{token[:-1]}{chr(ord(last) + 1)}", f"{token}*"):
        assert signed(spelled, keys) is Signed.NO, spelled[-4:]


@pytest.mark.parametrize(
    "header", [{"kid": "two"}, {"kid": None}, {"kid": 1}, {"kid": ["one"]}, {"kid": ""}, {"kid": {"one": 1}}]
)
def test_F3_of_a_key_that_is_not_published_nothing_is_said(header: dict[str, Any]) -> None:
    """F3: it may be one of tomorrow; the review tells."""
    assert signed(a_token("RS256", **header), read_keys({"keys": [jwk("RS256")]})) is Signed.UNKNOWN


@pytest.mark.parametrize("algorithm", ["none", "None", "HS256", "RS384", "PS256", "ES256", None, 7])
def test_F3_the_key_says_for_which_algorithm_it_is(algorithm: Any) -> None:
    """F3: a token signed rightly that names another one is none of the cluster's."""
    assert signed(a_token("RS256", alg=algorithm), read_keys({"keys": [jwk("RS256")]})) is Signed.NO


@pytest.mark.parametrize("token", ["", ".", "..", "a", "a.b", "a.b.c", "é.b.c", "bnVsbA.b.c", "W10.b.c", "x" * 8192])
def test_F3_what_is_no_token_names_no_key(token: str) -> None:
    """F3: nothing of it raises."""
    assert signed(token, read_keys({"keys": [jwk("RS256")]})) is Signed.UNKNOWN


@pytest.mark.parametrize(
    "entry",
    [
        {},
        None,
        7,
        jwk("RS256", use="enc"),
        jwk("RS256", alg="none"),
        jwk("RS256", n="!"),
        jwk("RS256", e="AA"),
        jwk("RS256", n=7),
        jwk("ES256", x="AA"),
        jwk("ES256", alg="ES384"),
        jwk("ES256", alg="RS256"),
    ],
)
def test_F3_a_key_that_cannot_be_used_is_left_out(entry: Any) -> None:
    """F3: and does not keep the others from being used, also under the same id."""
    assert read_keys({"keys": [entry]}) == {}
    keys = read_keys({"keys": [entry, jwk("RS256")]})
    assert signed(a_token("RS256"), keys) is Signed.YES


@pytest.mark.parametrize("document", [{}, {"keys": None}, {"keys": "x"}, {"keys": {"a": 1}}])
def test_F3_a_document_without_keys_has_none(document: dict[str, Any]) -> None:
    """F3: then every token is unknown."""
    assert read_keys(document) == {}


def test_F3_two_keys_of_one_id_both_count() -> None:
    """F3: an id that was given twice locks nobody out."""
    keys = read_keys({"keys": [jwk("ES256"), jwk("RS256")]})
    assert {signed(a_token(each), keys) for each in ("ES256", "RS256")} == {Signed.YES}
