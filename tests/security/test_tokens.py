"""Forged, foreign and outworn tokens (JWT) get nobody in; good ones say who may do what."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import jwt
import pytest
from api.desk import Desk, problem
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from deployments.errors import ConfigurationError, IdentityUnavailable, Unauthenticated
from serve_app.app import create_app
from serve_app.auth.key_set import MAX_BYTES, RETRY_S, STALE_S, KeySet, from_file, from_url
from serve_app.auth.tokens import TokenPolicy, TokenVerifier

SECRET = b"a-secret-of-this-test-0123456789-abcdef"
RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
WEAK_RSA = rsa.generate_private_key(65537, 1024)
P384 = ec.generate_private_key(ec.SECP384R1())


def jwk(key: Any, kid: str, **more: str) -> dict[str, Any]:
    kind = (
        jwt.algorithms.RSAAlgorithm
        if hasattr(key, "key_size") and isinstance(key, rsa.RSAPrivateKey)
        else jwt.algorithms.ECAlgorithm
    )
    made: dict[str, Any] = kind.to_jwk(key.public_key(), as_dict=True)
    return {**made, "kid": kid, **more}


class Issuer:
    """Publishes its keys; can be out."""

    def __init__(self) -> None:
        self.out = False
        self.asked = 0
        self.keys = [
            jwk(RSA, "rsa", alg="RS256", use="sig"),
            jwk(EC, "ec"),
            jwk(WEAK_RSA, "weak"),
            jwk(P384, "p384"),
            jwk(RSA, "encryption", use="enc"),
            {"kty": "oct", "kid": "oct", "k": base64.urlsafe_b64encode(SECRET).decode()},
            {"kty": "RSA", "kid": "torn", "n": "!", "e": "AQAB"},
        ]

    async def load(self) -> bytes:
        self.asked += 1
        if self.out:
            raise OSError("unreachable")
        return json.dumps({"keys": self.keys}).encode()


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def verifier(issuer: Issuer, clock: Clock) -> TokenVerifier:
    policy = TokenPolicy("https://issuer", "ragserve")
    return TokenVerifier(policy, SECRET, KeySet(issuer.load, clock_s=clock))


def claims(**more: Any) -> dict[str, Any]:
    now_s = int(time.time())
    return {
        "iss": "https://issuer",
        "aud": "ragserve",
        "sub": "alice",
        "iat": now_s,
        "exp": now_s + 300,
        "scope": "query openid",
        "collections": ["handbook"],
        **more,
    }


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in claims().items() if key != name}


def signed(body: dict[str, Any] | None = None, key: Any = SECRET, **header: Any) -> str:
    algorithm = header.pop("alg", "HS256")
    return jwt.encode(body or claims(), key, algorithm=algorithm, headers=header)


def raw(header: Any, body: Any, signature: bytes = b"") -> str:
    def part(value: Any) -> str:
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    return f"{part(header)}.{part(body)}.{part(signature)}"


async def test_each_way_of_signing_proves_who_it_is(verifier: TokenVerifier) -> None:
    for token in [
        signed(),
        signed(key=RSA, alg="RS256", kid="rsa"),
        signed(key=EC, alg="ES256", kid="ec"),
    ]:
        principal = await verifier.verify(token)
        assert principal.id == "jwt:https://issuer:alice"
        assert principal.scopes == {"query"}
        assert principal.collections == ("handbook",)


async def test_what_a_token_does_not_say_is_not_granted(verifier: TokenVerifier) -> None:
    principal = await verifier.verify(signed(without("scope") | {"collections": None}))
    assert principal.scopes == frozenset()
    assert not principal.may_read("handbook")
    assert not principal.may_write("handbook")
    narrow = await verifier.verify(signed(claims(collections_write=[])))
    assert narrow.may_read("handbook")
    assert not narrow.may_write("handbook")


def public_pem(key: Any) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def forged_hs256(key: bytes, **header: Any) -> str:
    """As an attacker does it, whose tools do not refuse a public key as a secret."""
    unsigned = raw({"alg": "HS256", "typ": "JWT", **header}, claims()).rsplit(".", 1)[0]
    mac = hmac.new(key, unsigned.encode(), hashlib.sha256).digest()
    return f"{unsigned}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def forged_nested() -> str:
    return jwt.api_jws.encode(b"[" * 4000, SECRET, algorithm="HS256")


FORGERIES = {
    "no algorithm": lambda: raw({"alg": "none", "typ": "JWT"}, claims()),
    "no algorithm, in capitals": lambda: raw({"alg": "NoNe"}, claims()),
    "no algorithm named": lambda: raw({"typ": "JWT"}, claims()),
    "an algorithm of another kind": lambda: raw({"alg": ["HS256"]}, claims()),
    "public key as secret": lambda: forged_hs256(public_pem(RSA), kid="rsa"),
    "jwk as secret": lambda: forged_hs256(json.dumps(jwk(RSA, "rsa")).encode(), kid="rsa"),
    "empty secret": lambda: forged_hs256(b""),
    "another secret": lambda: signed(key=b"another-secret-0123456789-abcdefghij"),
    "HS384": lambda: signed(key=SECRET + SECRET, alg="HS384"),
    "a key of one's own in the header": lambda: signed(
        key=rsa.generate_private_key(65537, 2048), alg="RS256", jwk=jwk(RSA, "rsa"), kid="rsa"
    ),
    "RSA key for ES256": lambda: signed(key=EC, alg="ES256", kid="rsa"),
    "EC key for RS256": lambda: signed(key=RSA, alg="RS256", kid="ec"),
    "symmetric key in the set": lambda: forged_hs256(b"k" * 40, kid="oct"),
    "short RSA key": lambda: jwt.encode(
        claims(), WEAK_RSA, algorithm="RS256", headers={"kid": "weak"}
    ),
    "another curve": lambda: raw({"alg": "ES256", "kid": "p384"}, claims(), b"x" * 64),
    "an encryption key": lambda: signed(key=RSA, alg="RS256", kid="encryption"),
    "no such key": lambda: signed(key=RSA, alg="RS256", kid="../../etc/passwd"),
    "no key id among many": lambda: signed(key=RSA, alg="RS256"),
    "expired": lambda: signed(claims(exp=int(time.time()) - 31)),
    "never expires": lambda: signed(without("exp")),
    "expires some day": lambda: signed(claims(exp="tomorrow")),
    "not yet": lambda: signed(claims(nbf=int(time.time()) + 300)),
    "another audience": lambda: signed(claims(aud="billing")),
    "no audience": lambda: signed(without("aud")),
    "another issuer": lambda: signed(claims(iss="https://evil")),
    "no issuer": lambda: signed(without("iss")),
    "nobody": lambda: signed(without("sub")),
    "an empty name": lambda: signed(claims(sub="")),
    "a name of control characters": lambda: signed(claims(sub="a\nb")),
    "a name without end": lambda: signed(claims(sub="a" * 201)),
    "patterns that are none": lambda: signed(claims(collections=["[a-z]*"])),
    "patterns that are no list": lambda: signed(claims(collections={"a": 1})),
    "scopes that are no words": lambda: signed(claims(scope=[1])),
    "not JSON": lambda: raw(b"{", b"{"),
    "a list": lambda: raw([], []),
    "nested without end": lambda: raw(b"[" * 3000, claims()),
    "nested claims": forged_nested,
    "only dots": lambda: "..",
    "too long": lambda: signed(claims(extra="x" * 10_000)),
    "not ASCII": lambda: "é.é.é",
}


@pytest.mark.parametrize("kind", FORGERIES)
@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
async def test_a_forged_token_is_refused(verifier: TokenVerifier, kind: str) -> None:
    with pytest.raises(Unauthenticated):
        await verifier.verify(FORGERIES[kind]())


async def test_a_changed_byte_anywhere_is_refused(verifier: TokenVerifier) -> None:
    token = signed()
    for place in range(0, len(token) - 1, 7):
        if token[place] == ".":
            continue
        other = "A" if token[place] != "A" else "B"
        with pytest.raises(Unauthenticated):
            await verifier.verify(token[:place] + other + token[place + 1 :])


async def test_a_token_of_a_verifier_without_secret_is_refused() -> None:
    without_any = TokenVerifier(TokenPolicy("https://issuer", "ragserve"))
    for token in (signed(), forged_hs256(b""), signed(key=RSA, alg="RS256", kid="rsa")):
        with pytest.raises(Unauthenticated):
            await without_any.verify(token)


async def test_clocks_may_differ_a_little(verifier: TokenVerifier) -> None:
    await verifier.verify(signed(claims(exp=int(time.time()) - 10)))


async def test_keys_are_kept_and_strangers_do_not_make_us_ask(
    verifier: TokenVerifier, issuer: Issuer, clock: Clock
) -> None:
    good = signed(key=RSA, alg="RS256", kid="rsa")
    for _ in range(3):
        await verifier.verify(good)
    for number in range(20):
        with pytest.raises(Unauthenticated):
            await verifier.verify(signed(key=RSA, alg="RS256", kid=f"unknown-{number}"))
    assert issuer.asked == 1

    fresh = rsa.generate_private_key(65537, 2048)
    issuer.keys.append(jwk(fresh, "rotated"))
    clock.now_s += RETRY_S
    await verifier.verify(signed(key=fresh, alg="RS256", kid="rotated"))
    assert issuer.asked == 2


async def test_known_keys_are_good_while_the_issuer_is_out_but_not_for_ever(
    verifier: TokenVerifier, issuer: Issuer, clock: Clock
) -> None:
    issuer.out = True
    good = signed(key=RSA, alg="RS256", kid="rsa")
    with pytest.raises(IdentityUnavailable):
        await verifier.verify(good)
    issuer.out = False
    clock.now_s += RETRY_S
    await verifier.verify(good)
    issuer.out = True
    clock.now_s += STALE_S / 2
    await verifier.verify(good)
    clock.now_s += STALE_S
    with pytest.raises(IdentityUnavailable):
        await verifier.verify(good)


async def test_a_withdrawn_key_is_refused_once_the_set_is_read_again(
    verifier: TokenVerifier, issuer: Issuer, clock: Clock
) -> None:
    good = signed(key=RSA, alg="RS256", kid="rsa")
    await verifier.verify(good)
    issuer.keys = [jwk(EC, "ec")]
    clock.now_s += 601
    with pytest.raises(Unauthenticated):
        await verifier.verify(good)


async def test_the_keys_may_be_a_file(tmp_path: Any, clock: Clock) -> None:
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps({"keys": [jwk(RSA, "only")]}))
    keys = KeySet(from_file(path), clock_s=clock)
    policy = TokenPolicy("https://issuer", "ragserve")
    # With one key there, a token need not name it.
    await TokenVerifier(policy, keys=keys).verify(signed(key=RSA, alg="RS256"))


def test_keys_are_fetched_over_https_only() -> None:
    with pytest.raises(ConfigurationError):
        from_url("http://issuer.example/jwks")
    from_url("https://issuer.example/jwks")
    from_url("http://127.0.0.1:9/jwks")


async def test_a_token_opens_the_api_as_far_as_it_says(desk: Desk, verifier: TokenVerifier) -> None:
    desk.tokens = verifier
    desk.app = create_app(desk.services())
    async with desk.client(signed()) as alice:
        me = (await alice.get("/v1/me")).json()
        assert me["id"] == "jwt:https://issuer:alice"
        assert (await alice.get("/v1/collections/handbook")).status_code == 200
        problem(await alice.get("/v1/jobs"), 403, "forbidden")
    for kind in ("no algorithm", "expired", "another audience", "public key as secret"):
        async with desk.client(FORGERIES[kind]()) as mallory:
            answer = await mallory.get("/v1/me")
            problem(answer, 401, "unauthenticated")
            assert "www-authenticate" in answer.headers


async def test_an_issuer_that_is_out_is_not_the_callers_fault(
    desk: Desk, verifier: TokenVerifier, issuer: Issuer
) -> None:
    issuer.out = True
    desk.tokens = verifier
    desk.app = create_app(desk.services())
    async with desk.client(signed(key=RSA, alg="RS256", kid="rsa")) as alice:
        answer: httpx.Response = await alice.get("/v1/me")
        problem(answer, 503, "identity_unavailable")
        assert answer.headers["retry-after"]


class Published(BaseHTTPRequestHandler):
    """An issuer's web server."""

    def do_GET(self) -> None:
        body = json.dumps({"keys": [jwk(RSA, "rsa")]}).encode()
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/jwks")
        else:
            self.send_response(200)
        if self.path == "/large":
            body = b" " * (MAX_BYTES + 1)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


async def test_keys_come_over_http_but_not_from_where_it_leads_on_nor_without_end() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Published) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        try:
            assert await KeySet(from_url(f"{url}/jwks")).key("rsa", "RS256")
            for path in ("/moved", "/large"):
                with pytest.raises(IdentityUnavailable):
                    await KeySet(from_url(url + path)).key("rsa", "RS256")
        finally:
            server.shutdown()
