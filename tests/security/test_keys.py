"""API keys over HTTP: made by admins, shown once, within what their maker has."""

from __future__ import annotations

import httpx
from api.desk import Desk, problem

CI = {"name": "CI", "scopes": ["query"], "collections": ["handbook"]}


async def made(client: httpx.AsyncClient, **fields: object) -> dict[str, str]:
    answer = await client.post("/v1/keys", json={**CI, **fields})
    assert answer.status_code == 201, answer.text
    body: dict[str, str] = answer.json()
    return body


async def test_a_key_is_shown_once_and_works(desk: Desk, root: httpx.AsyncClient) -> None:
    answer = await root.post("/v1/keys", json=CI)
    key = answer.json()["key"]
    assert answer.headers["cache-control"] == "no-store"
    assert (await desk.key_store.verify(key)).collections == ("handbook",)

    listed = await root.get("/v1/keys")
    assert key not in listed.text
    assert key.split("_", 2)[2] not in listed.text
    (shown,) = listed.json()["keys"]
    assert shown["prefix"] == key.split("_")[1]
    assert shown["last_used_at"] is not None


async def test_only_an_admin_may_touch_keys(desk: Desk, root: httpx.AsyncClient) -> None:
    prefix = (await made(root))["prefix"]
    async with desk.client("alice") as alice:
        for method, path, body in [
            ("POST", "/v1/keys", CI),
            ("GET", "/v1/keys", None),
            ("POST", f"/v1/keys/{prefix}/rotate", {}),
            ("DELETE", f"/v1/keys/{prefix}", None),
        ]:
            problem(await alice.request(method, path, json=body), 403, "forbidden")


async def test_an_admin_gives_away_no_more_than_its_own(
    desk: Desk, root: httpx.AsyncClient
) -> None:
    desk.keys.give("chief", {"admin"}, "bobs_*")
    foreign = (await made(root))["prefix"]
    async with desk.client("chief") as chief:
        for wide in [["*"], ["handbook"], ["bobs_*", "handbook"], ["b*"], ["*bobs_*"]]:
            answer = await chief.post("/v1/keys", json={**CI, "collections": wide})
            problem(answer, 403, "forbidden")
        answer = await chief.post(
            "/v1/keys", json={**CI, "collections": ["bobs_a"], "writable": ["*"]}
        )
        problem(answer, 403, "forbidden")
        own = await made(chief, collections=["bobs_*", "bobs_a", "bobs_x*"])
        assert [key["prefix"] for key in (await chief.get("/v1/keys")).json()["keys"]] == [
            own["prefix"]
        ]
        for method, path in [("POST", "/v1/keys/{}/rotate"), ("DELETE", "/v1/keys/{}")]:
            hidden = await chief.request(method, path.format(foreign), json={})
            absent = await chief.request(method, path.format("nobody00"), json={})
            assert problem(hidden, 404, "not_found")["title"] == absent.json()["title"]
    assert foreign in (await root.get("/v1/keys")).text


async def test_a_rotated_key_lives_on_for_as_long_as_asked(
    desk: Desk, root: httpx.AsyncClient
) -> None:
    old = await made(root, expires_in_s=1000)
    answer = await root.post(f"/v1/keys/{old['prefix']}/rotate", json={"overlap_s": 60})
    new = answer.json()
    assert (new["name"], new["collections"]) == (old["name"], old["collections"])
    await desk.key_store.verify(old["key"])
    await desk.key_store.verify(new["key"])
    assert (await root.delete(f"/v1/keys/{old['prefix']}")).status_code == 204
    problem(await root.delete(f"/v1/keys/{old['prefix']}"), 404, "not_found")


async def test_what_is_no_pattern_or_scope_makes_no_key(root: httpx.AsyncClient) -> None:
    for wrong in [
        {"collections": []},
        {"collections": ["Handbook"]},
        {"collections": ["[a-z]"]},
        {"collections": ["a?"]},
        {"collections": ["a,b"]},
        {"scopes": ["root"]},
        {"scopes": []},
        {"expires_in_s": 0},
        {"name": ""},
    ]:
        answer = await root.post("/v1/keys", json={**CI, **wrong})
        assert answer.status_code == 422, (wrong, answer.text)


async def test_what_may_be_read_may_not_therefore_be_changed(
    desk: Desk, root: httpx.AsyncClient
) -> None:
    body = {"documents": [{"title": "t", "text": "x"}]}
    made_key = await made(root, scopes=["query", "ingest"], collections=["*"], writable=["own"])
    principal = await desk.key_store.verify(made_key["key"])
    desk.keys._principals["half"] = principal
    async with desk.client("half") as half:
        documents = "/v1/collections/handbook/documents"
        assert (await half.get(documents)).status_code == 200
        problem(await half.post(documents, json=body), 403, "forbidden")
        problem(await half.delete(f"{documents}/doc_1"), 403, "forbidden")
        problem(await half.delete("/v1/collections/handbook"), 403, "forbidden")
        problem(await half.post("/v1/collections", json={"name": "other"}), 403, "forbidden")
        assert (await half.post("/v1/collections", json={"name": "own"})).status_code == 201
