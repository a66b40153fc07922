"""The same behaviour from both clients."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from fake_api import KEY, READER_KEY, RunningFake
from fake_platform import ANSWER

from serve_app.client import (
    AsyncRagserve,
    AuthenticationFailed,
    Conflict,
    ConnectionFailed,
    Finished,
    NotFound,
    PassagesFound,
    PermissionDenied,
    Ragserve,
    RateLimited,
    TokenReceived,
    Unavailable,
    UnexpectedAnswer,
    Upload,
    UploadFailed,
    UploadProgress,
    WaitTimeout,
)
from serve_app.schemas import QueryIn, SearchIn, TextDocument, TextDocuments

QUESTION = QueryIn(collection="handbook", question="Who signs?")


class Caller:
    """Either client behind one face: awaits what the asynchronous one gives."""

    def __init__(self, client: Ragserve | AsyncRagserve) -> None:
        self._client = client

    async def __call__(self, method: str, *args: Any, **kwargs: Any) -> Any:
        found = getattr(self._client, method)(*args, **kwargs)
        return await found if inspect.isawaitable(found) else found

    async def all(self, method: str, *args: Any, **kwargs: Any) -> list[Any]:
        found = getattr(self._client, method)(*args, **kwargs)
        if inspect.isasyncgen(found):
            return [item async for item in found]
        return list(found)

    async def first(self, method: str, count: int, *args: Any) -> list[Any]:
        """The first `count` items, after which the iterator is closed."""
        found = getattr(self._client, method)(*args)
        items = []
        if inspect.isasyncgen(found):
            async with aclosing(found):
                async for item in found:
                    items.append(item)
                    if len(items) == count:
                        return items
        with closing(found):
            for item in found:
                items.append(item)
                if len(items) == count:
                    return items
        return items


Connect = Callable[..., Caller]


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture(params=["sync", "async"])
async def connect(
    request: pytest.FixtureRequest, fake: RunningFake, waits: list[float]
) -> AsyncIterator[Connect]:
    async def sleep(wait_s: float) -> None:
        waits.append(wait_s)

    def make(api_key: str | None = KEY, url: str | None = None, **options: Any) -> Caller:
        url = url or fake.url
        if request.param == "sync":
            client: Ragserve | AsyncRagserve = Ragserve(url, api_key, sleep=waits.append, **options)
        else:
            client = AsyncRagserve(url, api_key, sleep=sleep, **options)
        clients.append(client)
        return Caller(client)

    clients: list[Ragserve | AsyncRagserve] = []
    yield make
    for client in clients:
        if isinstance(client, Ragserve):
            client.close()
        else:
            await client.aclose()


async def test_collections_are_created_listed_and_deleted(connect: Connect) -> None:
    call = connect()
    created = await call("create_collection", "travel", "Trips")
    assert (created.name, created.description) == ("travel", "Trips")
    assert [c.name for c in await call("list_collections")] == ["handbook", "travel"]
    await call("delete_collection", "travel")
    with pytest.raises(NotFound) as error:
        await call("get_collection", "travel")
    assert error.value.code == "collection_not_found"


async def test_errors_say_what_kind_they_are(connect: Connect) -> None:
    with pytest.raises(AuthenticationFailed):
        await connect("wrong")("me")
    with pytest.raises(PermissionDenied):
        await connect(READER_KEY)("create_collection", "travel")
    with pytest.raises(Conflict) as conflict:
        await connect()("create_collection", "handbook")
    assert conflict.value.request_id == "req_7f3a"


async def test_a_server_that_is_not_there_is_a_failed_connection(connect: Connect) -> None:
    with pytest.raises(ConnectionFailed, match="Cannot connect to"):
        await connect(url="http://127.0.0.1:9")("me")


async def test_something_that_is_not_ragserve_is_told_apart(connect: Connect) -> None:
    answer = httpx.MockTransport(lambda _: httpx.Response(200, text="<html>hello</html>"))
    with pytest.raises(UnexpectedAnswer, match="Check that the address is ragserve's"):
        await connect(transport=answer)("me")


async def test_fields_of_a_newer_server_are_ignored(connect: Connect) -> None:
    body = {"status": "ok", "version": "9", "colour": "red", "dependencies": []}
    body["dependencies"] = [{"name": "m", "state": "up", "latency_ms": 1, "shard": 3}]
    answer = httpx.MockTransport(lambda _: httpx.Response(200, json=body))
    assert (await connect(transport=answer)("health")).dependencies[0].name == "m"


async def test_health_is_told_also_when_the_server_is_not_ready(
    connect: Connect, fake: RunningFake
) -> None:
    fake.platform.unready = "milvus"
    health = await connect()("health")
    assert health.status == "unavailable"
    assert [d.name for d in health.dependencies if d.state == "down"] == ["milvus"]


async def test_a_request_that_can_be_repeated_waits_as_long_as_it_is_told(
    connect: Connect, fake: RunningFake, waits: list[float]
) -> None:
    fake.platform.failures += [
        ("/v1/collections", 503, {"Retry-After": "2"}),
        ("/v1/collections", 429, {"Retry-After": "3"}),
    ]
    assert await connect()("list_collections")
    assert waits == [2, 3]


async def test_retries_end(connect: Connect, fake: RunningFake, waits: list[float]) -> None:
    fake.platform.failures += [("/v1/collections", 503, {})] * 5
    with pytest.raises(Unavailable):
        await connect()("list_collections")
    assert len(waits) == 2
    assert all(0 <= wait_s <= 1 for wait_s in waits)


async def test_a_server_that_asks_for_a_long_wait_is_believed_at_once(
    connect: Connect, fake: RunningFake, waits: list[float]
) -> None:
    fake.platform.failures.append(("/v1/collections", 429, {"Retry-After": "3600"}))
    with pytest.raises(RateLimited) as error:
        await connect()("list_collections")
    assert (error.value.retry_after_s, waits) == (3600, [])


async def test_a_request_that_must_not_be_repeated_is_not(
    connect: Connect, fake: RunningFake, waits: list[float]
) -> None:
    fake.platform.failures.append(("/v1/collections", 503, {"Retry-After": "1"}))
    with pytest.raises(Unavailable):
        await connect()("create_collection", "travel")
    assert waits == []


async def test_a_deletion_whose_answer_was_lost_is_done(
    connect: Connect, fake: RunningFake
) -> None:
    answers = iter([httpx.ReadError("reset"), httpx.Response(404, json={})])

    def answer(_: httpx.Request) -> httpx.Response:
        found = next(answers)
        if isinstance(found, Exception):
            raise found
        return found

    await connect(transport=httpx.MockTransport(answer))("delete_collection", "travel")
    assert next(answers, None) is None


async def test_files_arrive_under_their_names_with_progress(
    connect: Connect, fake: RunningFake, tmp_path: Path
) -> None:
    (tmp_path / "big.md").write_bytes(b"x" * 600_000)
    (tmp_path / "b.md").write_bytes(b"short")
    seen: list[UploadProgress] = []
    uploads = [
        Upload(tmp_path / "big.md", 'guide/änd "so".md'),
        Upload.of(tmp_path / "b.md"),
    ]
    job = await connect()("upload", "handbook", uploads, on_progress=seen.append)
    names = [file["name"] for file in fake.platform.jobs[job.id]["files"]]
    assert [name.replace("%22", '"') for name in names] == ['guide/änd "so".md', "b.md"]
    assert [file["size_bytes"] for file in fake.platform.jobs[job.id]["files"]] == [600_000, 5]
    sent = [progress.bytes_sent for progress in seen]
    assert sent == sorted(sent)
    assert len(sent) >= 4
    assert (sent[-1], seen[-1].bytes_total, seen[-1].file) == (600_005, 600_005, "b.md")


async def test_an_upload_tried_again_has_the_same_idempotency_key_and_the_whole_file(
    connect: Connect, fake: RunningFake, tmp_path: Path
) -> None:
    (tmp_path / "a.md").write_bytes(b"hello")
    fake.platform.failures.append(("/v1/collections/handbook/documents", 503, {}))
    job = await connect()("upload", "handbook", [Upload.of(tmp_path / "a.md")])
    keys = [h["idempotency-key"] for m, _, h in fake.platform.requests if m == "POST"]
    assert len(keys) == 2
    assert len(set(keys)) == 1
    assert fake.platform.jobs[job.id]["files"][0]["size_bytes"] == 5


async def test_a_file_that_cannot_be_read_is_named(connect: Connect, tmp_path: Path) -> None:
    with pytest.raises(UploadFailed, match=r"gone\.md cannot be read: No such file"):
        await connect()("upload", "handbook", [Upload.of(tmp_path / "gone.md")])


async def test_a_file_that_shrinks_while_it_is_sent_is_named(
    connect: Connect, tmp_path: Path
) -> None:
    first, second = tmp_path / "first.md", tmp_path / "second.md"
    first.write_bytes(b"one")
    second.write_bytes(b"second")
    uploads = [Upload.of(first), Upload.of(second)]

    def shrink(_: UploadProgress) -> None:
        second.write_bytes(b"s")

    with pytest.raises(UploadFailed, match=r"second\.md changed while it was being sent"):
        await connect()("upload", "handbook", uploads, on_progress=shrink)


async def test_texts_become_a_job(connect: Connect) -> None:
    texts = TextDocuments(documents=[TextDocument(title="Note", text="Hello")])
    call = connect()
    job = await call("wait", (await call("add_texts", "handbook", texts)).id)
    assert [(file.name, file.state) for file in job.files] == [("Note", "DONE")]


async def test_documents_are_listed_page_by_page_and_deleted(connect: Connect) -> None:
    call = connect()
    page = await call("list_documents", "handbook", offset=1, limit=1)
    assert (page.total, len(page.documents)) == (2, 1)
    await call("delete_document", "handbook", page.documents[0].id)
    assert (await call("list_documents", "handbook")).total == 1


async def test_waiting_tells_each_change_and_ends_with_the_files(
    connect: Connect, tmp_path: Path
) -> None:
    for name in ("a.md", "damaged.pdf"):
        (tmp_path / name).write_bytes(b"hello")
    call, states = connect(), []
    uploads = [Upload.of(tmp_path / "a.md"), Upload.of(tmp_path / "damaged.pdf")]
    job = await call("upload", "handbook", uploads)
    ended = await call("wait", job.id, on_change=lambda job: states.append(job.state))
    assert states[0] == "PENDING"
    assert states[-1] == "COMPLETED"
    assert [file.error_code for file in ended.files] == [None, "damaged_document"]


async def test_events_go_on_after_a_broken_connection_without_gap_or_repeat(
    connect: Connect, fake: RunningFake, tmp_path: Path
) -> None:
    (tmp_path / "a.md").write_bytes(b"hello")
    call = connect()
    job = await call("upload", "handbook", [Upload.of(tmp_path / "a.md")])
    fake.platform.drop_events_after = 2
    seen = [event.model_dump() for event in await call.all("job_events", job.id)]
    fake.platform.drop_events_after = 0
    whole = [event.model_dump() for event in await call.all("job_events", job.id)]
    assert seen == whole
    assert seen[-1]["state"] == "COMPLETED"
    ids = [h.get("last-event-id") for _, p, h in fake.platform.requests if p.endswith("/events")]
    assert ids[:3] == [None, "2", "4"]


async def test_events_that_never_come_end_in_an_error(connect: Connect, waits: list[float]) -> None:
    silent = httpx.MockTransport(lambda _: httpx.Response(200, text=": alive\n\n"))
    with pytest.raises(ConnectionFailed, match="ended the events of job j1 early"):
        await connect(transport=silent).all("job_events", "j1")
    assert len(waits) == 2


async def test_waiting_ends_at_its_timeout(
    connect: Connect, fake: RunningFake, tmp_path: Path
) -> None:
    (tmp_path / "endless.md").write_bytes(b"hello")
    call = connect()
    job = await call("upload", "handbook", [Upload.of(tmp_path / "endless.md")])
    with pytest.raises(WaitTimeout, match=r"had not ended after 0\.1 s"):
        await call("wait", job.id, timeout_s=0.1)
    assert (await call("cancel_job", job.id)).cancel_requested
    assert (await call("wait", job.id)).state == "CANCELLED"
    assert (await call("resume_job", job.id)).state == "PENDING"
    assert (await call("wait", job.id)).state == "COMPLETED"
    assert [j.id for j in (await call("list_jobs", state="COMPLETED")).jobs] == [job.id]


async def test_an_answer_comes_whole(connect: Connect) -> None:
    answer = await connect()("query", QUESTION)
    assert answer.answer == ANSWER
    quote = answer.passages[0].text[answer.citations[0].quote_start :]
    assert quote.startswith("Travel expenses above 500 euros")


async def test_an_answer_streams_its_passages_then_words_then_the_end(connect: Connect) -> None:
    events = await connect().all("stream_query", QUESTION)
    assert isinstance(events[0], PassagesFound)
    assert [passage.number for passage in events[0].passages] == [1, 2, 3]
    tokens = [event.text for event in events if isinstance(event, TokenReceived)]
    assert "".join(tokens).startswith("The head of the department signs")
    assert isinstance(events[-1], Finished)
    assert events[-1].result.answer == ANSWER


async def test_leaving_a_stream_stops_the_answer(connect: Connect, fake: RunningFake) -> None:
    slow = QueryIn(collection="handbook", question="A slow and long question")
    await connect().first("stream_query", 3, slow)
    deadline = asyncio.get_running_loop().time() + 5
    while not fake.platform.stopped_streams:
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.02)


async def test_a_failure_in_the_middle_of_an_answer_is_its_error(connect: Connect) -> None:
    with pytest.raises(Unavailable, match="The model stopped answering") as error:
        await connect().all("stream_query", QUESTION.model_copy(update={"question": "break"}))
    assert error.value.code == "generation_unavailable"


async def test_search_finds_passages(connect: Connect) -> None:
    found = await connect()("search", SearchIn(collection="handbook", query="signs", top_k=2))
    assert [passage.title for passage in found.passages] == ["Travel handbook"] * 2
