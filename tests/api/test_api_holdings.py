"""How many documents a collection holds, without counting them every time."""

from __future__ import annotations

from typing import Any

import httpx
from api.desk import Desk

from deployments.contracts.jobs import Snapshot
from serve_app.holdings import KEPT_S, Holdings

PATH = "/v1/collections/handbook/documents"


async def test_pages_are_counted_once_and_again_after_a_change(
    desk: Desk, root: httpx.AsyncClient
) -> None:
    await desk.furnish("large", documents=48)
    path = "/v1/collections/large/documents"
    seen: list[str] = []
    for offset in range(0, 60, 20):
        page = (await root.get(path, params={"offset": offset, "limit": 20})).json()
        assert page["total"] == 50
        seen += [document["id"] for document in page["documents"]]
    assert len(set(seen)) == 50
    assert desk.store.calls["count_documents"] == 1
    assert (await root.get("/v1/collections/large")).json()["documents"] == 50
    assert desk.store.calls["count_documents"] == 1

    await root.delete(f"{path}/doc_7")
    assert (await root.get(path)).json()["total"] == 49
    assert desk.store.calls["count_documents"] == 2


async def test_a_collection_made_again_is_counted_again(
    desk: Desk, root: httpx.AsyncClient
) -> None:
    assert (await root.get("/v1/collections/handbook")).json()["documents"] == 2
    await root.delete("/v1/collections/handbook")
    await root.post("/v1/collections", json={"name": "handbook"})
    assert (await root.get("/v1/collections/handbook")).json()["documents"] == 0


async def test_each_collection_has_its_own_count(desk: Desk, root: httpx.AsyncClient) -> None:
    await desk.furnish("large", documents=3)
    listed = (await root.get("/v1/collections")).json()["collections"]
    assert {c["name"]: (c["documents"], c["chunks"]) for c in listed} == {
        "handbook": (2, 2),
        "large": (5, 5),
    }


class Moving:
    """A visibility that moves between one look and the next."""

    def __init__(self) -> None:
        self.now = Snapshot(1, frozenset())

    async def snapshot(self, collection: str) -> Snapshot:
        return self.now


async def test_nothing_is_kept_of_a_moment_that_passed_while_counting(desk: Desk) -> None:
    visibility: Any = Moving()
    holdings = Holdings(desk.store, visibility, desk.clock)
    begun = Snapshot(1, frozenset())
    visibility.now = Snapshot(1, frozenset({1}))  # a version was begun meanwhile
    assert await holdings.documents("handbook", begun) == 2
    assert await holdings.documents("handbook", visibility.now) == 1


async def test_a_stale_snapshot_neither_reads_nor_writes_what_is_kept(desk: Desk) -> None:
    visibility: Any = Moving()
    holdings = Holdings(desk.store, visibility, desk.clock)
    assert await holdings.documents("handbook", visibility.now) == 2
    stale = Snapshot(1, frozenset({1}), stale=True)
    assert await holdings.documents("handbook", stale) == 1
    assert await holdings.documents("handbook", visibility.now) == 2


async def test_a_count_is_not_believed_for_ever(desk: Desk) -> None:
    visibility: Any = Moving()
    holdings = Holdings(desk.store, visibility, desk.clock)
    await holdings.documents("handbook", visibility.now)
    desk.clock.now_s += KEPT_S
    await holdings.documents("handbook", visibility.now)
    assert desk.store.calls["count_documents"] == 2
