"""The services' door: their secret opens it, nothing else does, and it opens nothing else."""

from __future__ import annotations

import time
from typing import Any

import httpx
import jwt
import pytest
from api.desk import PEER_SECRET, QUESTION, Desk, problem

from deployments.contracts.identity import Principal
from deployments.errors import Unauthenticated
from serve_app.app import create_app
from serve_app.auth.peers import AUDIENCE, LONGEST_LIFE_S, PEER, Peers, on_behalf_of

OLD_SECRET = "the-former-secret-of-services-0123456789"
SEARCH = {"collection": "handbook", "query": QUESTION}
ALICE = Principal("key:alice", "alice", frozenset({"query", "ingest", "admin"}), ("hand*",), ("x",))


def peer(desk: Desk, **headers: str) -> httpx.AsyncClient:
    client = desk.client(None)
    client.headers = httpx.Headers({name.replace("_", "-"): v for name, v in headers.items()})
    return client


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x_internal_auth": ""},
        {"x_internal_auth": "wrong"},
        {"x_internal_auth": PEER_SECRET[:-1]},
        {"x_internal_auth": PEER_SECRET + "x"},
        {"x_internal_auth": PEER_SECRET.upper()},
        {"authorization": f"Bearer {PEER_SECRET}"},
        {"authorization": "Bearer root"},
        {"x_on_behalf_of": on_behalf_of(ALICE, PEER_SECRET)},
    ],
)
async def test_without_the_right_secret_an_internal_route_is_closed(
    desk: Desk, headers: dict[str, str]
) -> None:
    async with peer(desk, **headers) as mallory:
        for method, path in [
            ("POST", "/internal/v1/search"),
            ("POST", "/internal/v1/query"),
            ("GET", "/internal/v1/jobs"),
            ("GET", "/internal/v1/nothing"),
            ("POST", "/internal/v1/collections/handbook/documents"),
        ]:
            answer = await mallory.request(method, path, json=SEARCH)
            problem(answer, 401, "unauthenticated")


async def test_a_service_searches_asks_and_ingests(desk: Desk) -> None:
    async with peer(desk, x_internal_auth=PEER_SECRET) as service:
        assert (await service.post("/internal/v1/search", json=SEARCH)).status_code == 200
        asked = {"collection": "handbook", "question": QUESTION}
        assert (await service.post("/internal/v1/query", json=asked)).status_code == 200
        documents = "/internal/v1/collections/handbook/documents"
        answer = await service.post(documents, json={"documents": [{"title": "t", "text": "x"}]})
        assert answer.status_code == 202
        # The way on is through the same door.
        assert answer.headers["location"].startswith("/internal/v1/jobs/")
        assert (await service.get(answer.headers["location"])).status_code == 200


async def test_a_service_is_no_admin_and_its_secret_opens_no_other_door(desk: Desk) -> None:
    async with peer(desk, x_internal_auth=PEER_SECRET) as service:
        problem(await service.get("/v1/keys"), 401, "unauthenticated")
        problem(await service.post("/v1/search", json=SEARCH), 401, "unauthenticated")
        assert (await service.get("/internal/v1/keys")).status_code == 404
    behalf = on_behalf_of(ALICE, PEER_SECRET)
    async with desk.client("reader") as reader:
        # A caller's own word for who it is counts for nothing on the public side.
        for name in ("X-On-Behalf-Of", "X-Internal-Auth", "X-User", "X-Principal"):
            me = await reader.get("/v1/me", headers={name: behalf})
            assert me.json()["id"] == "key:reader"


async def test_a_caller_passed_on_has_its_own_rights_and_no_more(desk: Desk) -> None:
    await desk.furnish("other")
    behalf = on_behalf_of(ALICE, PEER_SECRET)
    async with peer(desk, x_internal_auth=PEER_SECRET, x_on_behalf_of=behalf) as service:
        assert (await service.post("/internal/v1/search", json=SEARCH)).status_code == 200
        hidden = await service.post("/internal/v1/search", json={**SEARCH, "collection": "other"})
        problem(hidden, 404, "collection_not_found")
        documents = "/internal/v1/collections/handbook/documents"
        text = {"documents": [{"title": "t", "text": "x"}]}
        problem(await service.post(documents, json=text), 403, "forbidden")
        # An admin's rights stay behind: its jobs are its own, not everybody's.
        async with desk.client("root") as root:
            await desk.submitted(root)
        assert (await service.get("/internal/v1/jobs")).json()["jobs"] == []


def claims(**more: Any) -> dict[str, Any]:
    now_s = int(time.time())
    return {"sub": "key:root", "aud": AUDIENCE, "iat": now_s, "exp": now_s + 60} | more


@pytest.mark.parametrize(
    "behalf",
    [
        "key:root",
        '{"sub": "key:root"}',
        "",
        jwt.encode(claims(), "another-secret-that-is-long-enough-0123", algorithm="HS256"),
        jwt.encode(claims(aud="ragserve"), PEER_SECRET, algorithm="HS256"),
        jwt.encode(claims(exp=int(time.time()) - 60), PEER_SECRET, algorithm="HS256"),
        jwt.encode(claims(exp=int(time.time()) + 86400), PEER_SECRET, algorithm="HS256"),
        jwt.encode(claims(sub=""), PEER_SECRET, algorithm="HS256"),
        jwt.encode(claims(collections=["[a]"]), PEER_SECRET, algorithm="HS256"),
        jwt.encode({**claims(), "iat": None}, PEER_SECRET, algorithm="HS256"),
    ],
)
async def test_a_caller_that_nobody_signed_for_is_refused(desk: Desk, behalf: str) -> None:
    async with peer(desk, x_internal_auth=PEER_SECRET, x_on_behalf_of=behalf) as service:
        answer = await service.post("/internal/v1/search", json=SEARCH)
        problem(answer, 401, "unauthenticated")


def test_two_secrets_are_good_while_services_change_over() -> None:
    peers = Peers([PEER_SECRET, OLD_SECRET])
    assert peers.authenticate(PEER_SECRET, None) is PEER
    assert peers.authenticate(OLD_SECRET, on_behalf_of(ALICE, OLD_SECRET)).id == "key:alice"
    after = Peers([PEER_SECRET, ""])
    for secret in (OLD_SECRET, "", None):
        with pytest.raises(Unauthenticated):
            after.authenticate(secret, None)
    with pytest.raises(Unauthenticated):
        after.authenticate(PEER_SECRET, on_behalf_of(ALICE, OLD_SECRET))
    assert LONGEST_LIFE_S <= 300


async def test_without_a_secret_set_the_door_stays_shut(desk: Desk) -> None:
    desk.peers = Peers([])
    desk.app = create_app(desk.services())
    for offered in ("", "x"):
        async with peer(desk, x_internal_auth=offered) as mallory:
            answer = await mallory.post("/internal/v1/search", json=SEARCH)
            problem(answer, 401, "unauthenticated")


def test_a_wrong_secret_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    real = __import__("hmac").compare_digest
    monkeypatch.setattr(
        "serve_app.auth.peers.hmac.compare_digest",
        lambda one, other: compared.append((len(one), len(other))) or real(one, other),
    )
    for wrong in ("", "x", "y" * 1000, PEER_SECRET):
        with pytest.raises(Unauthenticated):
            Peers([OLD_SECRET, "third" * 8]).authenticate(wrong, None)
    # Every secret each time, always of one length.
    assert compared == [(32, 32)] * 8
