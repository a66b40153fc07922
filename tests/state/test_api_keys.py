"""API keys: shown once, verified quickly, ended for good."""

from __future__ import annotations

import uuid

import pytest
from redis.asyncio import Redis

from deployments.contracts.identity import KeyStore, Principal
from deployments.errors import NotFound, Unauthenticated
from deployments.state.api_keys import ApiKeyStore
from deployments.state.keys import Keys
from deployments.state.memory.api_keys import MemoryKeyStore


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_000_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keys() -> Keys:
    return Keys(f"t{uuid.uuid4().hex}")


@pytest.fixture
def store(client: Redis, keys: Keys, clock: Clock) -> ApiKeyStore:
    return ApiKeyStore(client, b"pepper", keys, clock_s=clock)


@pytest.fixture(params=["memory", "valkey"])
def any_store(request: pytest.FixtureRequest, clock: Clock) -> KeyStore:
    if request.param == "memory":
        return MemoryKeyStore(clock)
    store: ApiKeyStore = request.getfixturevalue("store")
    return store


async def test_a_key_proves_who_it_is(any_store: KeyStore) -> None:
    text, key = await any_store.create("CI", ["query", "ingest"], ["team_*", "handbook"])

    principal = await any_store.verify(text)

    assert text.startswith(f"rsk_{key.prefix}_")
    assert len(text.split("_", 2)[2]) >= 32
    assert principal == Principal(
        f"key:{key.prefix}", "CI", frozenset({"query", "ingest"}), ("team_*", "handbook")
    )
    assert [principal.may_read(name) for name in ("team_a", "handbook", "hr", "TEAM_a")] == [
        True,
        True,
        False,
        False,
    ]


async def test_what_redis_holds_opens_nothing(
    store: ApiKeyStore, client: Redis, keys: Keys
) -> None:
    text, _ = await store.create("CI", ["query"], ["*"])
    secret = text.split("_", 2)[2]
    dump = ""
    async for name in client.scan_iter(f"{keys.prefix}:*"):
        dump += name
        if await client.type(name) == "hash":
            dump += str(await client.hgetall(name))
    assert dump
    assert secret not in dump

    other_pepper = ApiKeyStore(client, b"other", keys)
    with pytest.raises(Unauthenticated):
        await other_pepper.verify(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "rsk_",
        "rsk_abcdefgh",
        "rsk_abcdefgh_",
        "rsk_abcdefgh_wrong",
        "rsk_ABCDEFGH_x",
        "rsk_a:b*c?de_x",
        "sk_abcdefgh_x",
        "rsk_abcdefgh_" + "x" * 10_000,
        "rsk_abcdefgh_é",
    ],
)
async def test_what_is_no_key_is_refused(any_store: KeyStore, text: str) -> None:
    with pytest.raises(Unauthenticated):
        await any_store.verify(text)


async def test_a_key_with_one_wrong_character_is_refused(any_store: KeyStore) -> None:
    text, _ = await any_store.create("CI", ["query"], ["*"])
    await any_store.verify(text)
    with pytest.raises(Unauthenticated):
        await any_store.verify(text[:-1] + ("a" if text[-1] != "a" else "b"))


async def test_a_revoked_key_is_refused_here_at_once_and_elsewhere_soon(
    store: ApiKeyStore, client: Redis, keys: Keys, clock: Clock
) -> None:
    text, key = await store.create("CI", ["query"], ["*"])
    elsewhere = ApiKeyStore(client, b"pepper", keys, clock_s=clock)
    await store.verify(text)
    await elsewhere.verify(text)

    await store.revoke(key.prefix)

    with pytest.raises(Unauthenticated):
        await store.verify(text)
    clock.now_s += 31
    with pytest.raises(Unauthenticated):
        await elsewhere.verify(text)
    assert await store.list() == []
    with pytest.raises(NotFound):
        await store.revoke(key.prefix)


async def test_an_expired_key_is_refused_even_where_it_is_remembered(
    any_store: KeyStore, clock: Clock
) -> None:
    text, _ = await any_store.create("CI", ["query"], ["*"], expires_in_s=20)
    await any_store.verify(text)
    clock.now_s += 21
    with pytest.raises(Unauthenticated, match="expired"):
        await any_store.verify(text)


async def test_the_last_use_is_noted_about_once_a_minute(store: ApiKeyStore, clock: Clock) -> None:
    text, _ = await store.create("CI", ["query"], ["*"])
    first_s = clock.now_s
    await store.verify(text)
    clock.now_s += 40
    await store.verify(text)
    assert [key.last_used_at_s for key in await store.list()] == [first_s]
    clock.now_s += 40
    await store.verify(text)
    assert [key.last_used_at_s for key in await store.list()] == [clock.now_s]


async def test_a_rotated_key_has_the_same_rights_and_the_old_one_ends(
    any_store: KeyStore, clock: Clock
) -> None:
    old_text, old = await any_store.create("CI", ["query"], ["a", "b"], expires_in_s=1000)
    await any_store.verify(old_text)
    new_text, new = await any_store.rotate(old.prefix, overlap_s=60)

    assert (new.name, new.scopes, new.collections) == (old.name, old.scopes, old.collections)
    assert new.expires_at_s == pytest.approx(clock.now_s + 1000)
    await any_store.verify(old_text)
    clock.now_s += 61
    with pytest.raises(Unauthenticated):
        await any_store.verify(old_text)
    assert (await any_store.verify(new_text)).name == "CI"

    third_text, _ = await any_store.rotate(new.prefix)
    with pytest.raises(Unauthenticated):
        await any_store.verify(new_text)
    await any_store.verify(third_text)
    with pytest.raises(NotFound):
        await any_store.rotate("nobody00")


async def test_what_a_key_may_write_is_kept_apart_from_what_it_may_read(
    any_store: KeyStore,
) -> None:
    text, key = await any_store.create("CI", ["ingest"], ["*"], writable=["team_*"])
    rotated, _ = await any_store.rotate(key.prefix, overlap_s=60)
    for known in (text, rotated):
        principal = await any_store.verify(known)
        assert principal.may_read("hr")
        assert principal.may_write("team_a")
        assert not principal.may_write("hr")
    assert {one.writable for one in await any_store.list()} == {("team_*",)}
    with pytest.raises(NotFound):
        await any_store.get("nobody00")
