"""Documents on their way in: whatever they are called, whatever comes with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from api.desk import Desk, out, problem, with_uploads
from api.exchange import Exchange

from deployments.errors import StateUnavailable
from deployments.state.policies import JobLimits

PATH = "/v1/collections/handbook/documents"


async def sent(
    client: httpx.AsyncClient, *names: str, content: bytes = b"Some text.", **form: str
) -> httpx.Response:
    """The answer to an upload of files with these very names, byte by byte."""
    boundary = b"----edge"
    parts = [
        b'Content-Disposition: form-data; name="%s"\r\n\r\n%s' % (name.encode(), text.encode())
        for name, text in form.items()
    ]
    parts += [
        b'Content-Disposition: form-data; name="files"; filename="%s"\r\n'
        b"Content-Type: text/plain\r\n\r\n%s" % (name.encode(), content + str(n).encode())
        for n, name in enumerate(names)
    ]
    body = b"".join(b"--%s\r\n%s\r\n" % (boundary, part) for part in parts)
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary.decode()}"}
    return await client.post(PATH, content=body + b"--%s--\r\n" % boundary, headers=headers)


async def specs(desk: Desk, answer: httpx.Response) -> list[Any]:
    assert answer.status_code == 202, answer.text
    return [status.spec for status in await desk.jobs.twin.files(answer.json()["id"])]


async def test_files_become_a_job_and_their_bytes_wait_for_it(
    desk: Desk, root: httpx.AsyncClient
) -> None:
    answer = await sent(root, "team/handbook.md", "notes.txt", metadata='{"year": 2026}')
    job = answer.json()
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert (job["state"], job["progress"]["files_total"]) == ("PENDING", 2)
    assert [file["name"] for file in job["files"]] == ["handbook.md", "notes.txt"]
    found = await specs(desk, answer)
    assert [spec.source for spec in found] == ["team/handbook.md", "notes.txt"]
    assert [spec.content_type for spec in found] == ["text/markdown", "text/plain"]
    assert {spec.metadata["year"] for spec in found} == {2026}
    assert desk.staged == [f"{job['id']}/0", f"{job['id']}/1"]
    assert (desk.blob_folder / desk.staged[0]).read_bytes() == b"Some text.0"


async def test_texts_become_a_job_too(desk: Desk, root: httpx.AsyncClient) -> None:
    documents = [
        {"id": "guide-1", "title": "Q/A guide", "text": "Ask.", "metadata": {"tags": ["a", "b"]}},
        {"title": "Other", "text": "<p>x</p>", "content_type": "text/html"},
    ]
    found = await specs(desk, await root.post(PATH, json={"documents": documents}))
    assert [(s.document_id[:7], s.name, s.content_type) for s in found] == [
        ("guide-1", "Q/A guide", "text/markdown"),
        (found[1].document_id[:7], "Other", "text/html"),
    ]
    assert found[0].metadata == {"tags": ["a", "b"]}


async def test_the_same_source_is_the_same_document_and_another_is_another(
    desk: Desk, root: httpx.AsyncClient
) -> None:
    ids = [
        (await specs(desk, await sent(root, name)))[0].document_id
        for name in ("a/notes.txt", "a/notes.txt", "b/notes.txt")
    ]
    assert ids[0] == ids[1] != ids[2]


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("../../etc/passwd", "etc/passwd"),
        ("/etc/passwd", "etc/passwd"),
        ("a/../../b.txt", "a/b.txt"),
        ("./././b.txt", "b.txt"),
        ("a//b.txt", "a/b.txt"),
        ("..\\\\..\\\\windows\\\\system.ini", "windows/system.ini"),
        ("C:\\\\boot.ini", "boot.ini"),
        ("a\x00b.txt", "ab.txt"),
        ("\x00/\x00/b.txt", "b.txt"),
        ("rtl\u202etxt.exe", "rtltxt.exe"),
        ("línea 日本.txt", "línea 日本.txt"),
        (" padded .txt", "padded .txt"),
        ("..", None),
        ("/", None),
        ("\x00", None),
        ("../", None),
        ("x" * 501, None),
    ],
)
async def test_a_hostile_name_names_a_document_and_never_a_place(
    desk: Desk, root: httpx.AsyncClient, name: str, source: str | None
) -> None:
    answer = await sent(root, name)
    if source is None:
        problem(answer, 400, "invalid_request")
        assert desk.staged == []
        return
    (spec,) = await specs(desk, answer)
    assert spec.source == source
    assert "/" not in spec.name
    assert desk.staged == [f"{answer.json()['id']}/0"]
    assert desk.written == ["blobs"]


async def test_a_form_without_files_is_refused(root: httpx.AsyncClient) -> None:
    problem(await sent(root, metadata="{}"), 400, "invalid_request")
    problem(await sent(root, files="only text"), 400, "invalid_request")
    problem(await sent(root, ""), 400, "invalid_request")


@pytest.mark.parametrize(
    "metadata",
    [
        "{",
        "[]",
        "7",
        '{"a": null}',
        '{"a": {"b": 1}}',
        '{"a": [[1]]}',
        '{"a b": 1}',
        '{"1a": 1}',
        '{"": 1}',
        '{"a": NaN}',
        '{"a": 1e999}',
        '{"a": 99999999999999999999}',
        '{"a": "\\ud800"}',
        '{"a": ["ok", "\\udfff"]}',
        json.dumps({"k" * 65: 1}),
        json.dumps({f"k{n}": 1 for n in range(65)}),
        json.dumps({"a": "x" * 40_000}),
        '{"a":' + "[" * 50_000,
    ],
)
async def test_metadata_that_no_store_could_hold_is_refused(
    desk: Desk, root: httpx.AsyncClient, metadata: str
) -> None:
    problem(await sent(root, "a.txt", metadata=metadata), 400, "invalid_request")
    assert desk.staged == []


@pytest.mark.parametrize(
    ("documents", "status"),
    [
        ([], 422),
        ([{"title": "t"}], 422),
        ([{"title": "", "text": "x"}], 422),
        ([{"title": "t", "text": ""}], 422),
        ([{"title": "t", "text": "x", "surprise": 1}], 422),
        ([{"id": "a b", "title": "t", "text": "x"}], 422),
        ([{"title": "t", "text": "x", "content_type": "application/pdf"}], 422),
        ([{"title": "t", "text": "x", "metadata": {"a": None}}], 400),
        ([{"title": "t", "text": "x"}, {"title": "t", "text": "y"}], 400),
        ([{"id": "a", "title": "t", "text": "x"}, {"id": "a", "title": "u", "text": "y"}], 400),
        ([{"title": f"t{n}", "text": "x"} for n in range(1001)], 422),
    ],
)
async def test_texts_that_are_not_valid_leave_nothing_behind(
    desk: Desk, root: httpx.AsyncClient, documents: list[Any], status: int
) -> None:
    answer = await root.post(PATH, json={"documents": documents})
    problem(answer, status, "invalid_request")
    assert desk.staged == []
    assert desk.jobs.calls["submit"] == 0


@pytest.mark.parametrize("kind", ["text/plain", "application/xml", "", "multipart/mixed"])
async def test_another_content_type_is_not_supported(root: httpx.AsyncClient, kind: str) -> None:
    answer = await root.post(PATH, content=b"x", headers={"Content-Type": kind})
    problem(answer, 415, "unsupported_media_type")


async def test_a_form_that_cannot_be_read_is_refused(root: httpx.AsyncClient) -> None:
    for kind in ("multipart/form-data", "multipart/form-data; boundary=x"):
        answer = await root.post(PATH, content=b"not a form", headers={"Content-Type": kind})
        problem(answer, 400, "invalid_request")


async def test_two_names_for_one_document_are_refused(desk: Desk, root: httpx.AsyncClient) -> None:
    problem(await sent(root, "a.txt", "../a.txt"), 400, "invalid_request")
    assert desk.staged == []


async def test_files_are_bounded_in_number_and_size(tmp_path: Path) -> None:
    desk = Desk(tmp_path, with_uploads(max_files=2, max_file_bytes=100))
    await desk.furnish()
    async with desk.client() as client:
        assert (await sent(client, "a", "b")).status_code == 202
        found = problem(await sent(client, "a", "b", "c"), 413, "too_large")
        assert found["max_files"] == 2
        staged = desk.staged
        problem(await sent(client, "a", content=b"x" * 101), 413, "too_large")
        assert desk.staged == staged


async def test_bytes_of_a_job_that_the_queue_refused_are_removed(tmp_path: Path) -> None:
    desk = Desk(tmp_path, job_limits=JobLimits(max_queued_jobs=1))
    await desk.furnish()
    async with desk.client() as client:
        assert (await sent(client, "a.txt")).status_code == 202
        staged = desk.staged
        answer = await sent(client, "b.txt")
        problem(answer, 429, "queue_full")
        assert int(answer.headers["retry-after"]) >= 1
        assert desk.staged == staged


async def test_bytes_of_a_job_that_could_not_be_written_down_are_removed(
    desk: Desk, root: httpx.AsyncClient
) -> None:
    with out(desk.jobs, StateUnavailable("out")):
        problem(await sent(root, "a.txt"), 503, "state_unavailable")
    assert desk.staged == []


@pytest.mark.parametrize("hang_up", ["message", "cancel"])
async def test_a_caller_who_leaves_in_the_middle_of_a_file_leaves_nothing(
    desk: Desk, hang_up: Any
) -> None:
    start = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.txt"\r\n\r\n'
    body = [start, *[b"x" * 500_000] * 6]
    exchange = Exchange(
        desk.app,
        "POST",
        PATH,
        pieces=body,
        headers={"content-type": "multipart/form-data; boundary=b"},
        hang_up=hang_up,
        endless=True,
    )
    async with exchange:
        pass
    assert exchange.status == 0
    assert desk.staged == []
    assert desk.jobs.calls["submit"] == 0


async def test_an_unknown_collection_is_said_before_the_body_is_read(desk: Desk) -> None:
    headers = {"content-type": "multipart/form-data; boundary=b"}
    pieces = [b"x" * 1000] * 3
    path = "/v1/collections/absent/documents"
    async with Exchange(desk.app, "POST", path, pieces=pieces, headers=headers) as exchange:
        assert exchange.status == 404
        assert exchange.received == 0


async def test_a_repeated_request_with_its_key_is_answered_with_the_first_ones_job(
    desk: Desk, root: httpx.AsyncClient
) -> None:
    body = {"documents": [{"title": "t", "text": "x"}]}
    key = {"Idempotency-Key": "k1"}
    first, second = [await root.post(PATH, json=body, headers=key) for _ in range(2)]
    assert first.json()["id"] == second.json()["id"]
    assert second.json()["files"][0]["document_id"] == first.json()["files"][0]["document_id"]
    assert desk.staged == [f"{first.json()['id']}/0"]
    async with desk.client("alice") as alice:
        assert (await alice.post(PATH, json=body, headers=key)).json()["id"] != first.json()["id"]


async def test_a_key_that_comes_with_another_request_is_a_conflict(
    desk: Desk, root: httpx.AsyncClient
) -> None:
    await desk.furnish("other")
    key = {"Idempotency-Key": "k1"}
    body = {"documents": [{"title": "t", "text": "x"}]}
    first = await root.post(PATH, json=body, headers=key)
    other = {"documents": [{"title": "t", "text": "something else"}]}
    for path, changed in [(PATH, other), ("/v1/collections/other/documents", body)]:
        answer = await root.post(path, json=changed, headers=key)
        problem(answer, 409, "idempotency_key_reused")
    assert desk.staged == [f"{first.json()['id']}/0"]


@pytest.mark.parametrize("key", ["", "x" * 201])
async def test_an_idempotency_key_has_a_length(root: httpx.AsyncClient, key: str) -> None:
    body = {"documents": [{"title": "t", "text": "x"}]}
    answer = await root.post(PATH, json=body, headers={"Idempotency-Key": key})
    problem(answer, 422, "invalid_request")


async def test_a_deleted_document_is_gone_at_once(desk: Desk, root: httpx.AsyncClient) -> None:
    assert (await root.delete(f"{PATH}/doc_1")).status_code == 204
    problem(await root.get(f"{PATH}/doc_1"), 404, "document_not_found")
    listed = (await root.get(PATH)).json()
    assert ([d["id"] for d in listed["documents"]], listed["total"]) == (["doc_2"], 1)
    found = await root.post("/v1/search", json={"collection": "handbook", "query": "holiday"})
    assert {p["document_id"] for p in found.json()["passages"]} == {"doc_2"}
