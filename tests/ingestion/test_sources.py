"""Ingestion by URL reads what the operator allowed, and nothing else."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import fsspec
import pytest

from deployments.errors import (
    ConfigurationError,
    Forbidden,
    InvalidRequest,
    NotFound,
    SourceUnavailable,
    TooLarge,
)
from deployments.ingestion.source_policy import SourcePolicy
from deployments.ingestion.sources import SourceFile, Sources

Handler = Callable[[str, dict[str, str]], bytes]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "docs"
    (root / "deep").mkdir(parents=True)
    (root / "a.md").write_text("alpha")
    (root / "deep" / "b.txt").write_text("beta")
    (root / ".secret").write_text("hidden")
    (tmp_path / "outside.txt").write_text("outside")
    (root / "leak.txt").symlink_to(tmp_path / "outside.txt")
    (root / "leak").symlink_to(tmp_path)
    return root


async def content(sources: Sources, file: SourceFile) -> bytes:
    return b"".join([piece async for piece in sources.stream(file)])


@pytest.mark.parametrize(
    "url", ["/etc/passwd", "file:///etc/passwd", "s3://b/k", "http://example.org/", "gs://b/k"]
)
async def test_nothing_is_allowed_by_default(url: str) -> None:
    sources = Sources(SourcePolicy())
    with pytest.raises(Forbidden):
        await sources.expand([url])
    with pytest.raises(Forbidden):
        await content(sources, SourceFile(url, "x"))


async def test_a_folder_stands_for_its_files(tree: Path) -> None:
    sources = Sources(SourcePolicy(roots=(str(tree),)))
    files = await sources.expand([str(tree), f"file://{tree}/a.md"])
    assert [(file.name, file.size_bytes) for file in files] == [("a.md", 5), ("b.txt", 4)]
    assert [await content(sources, file) for file in files] == [b"alpha", b"beta"]


async def test_a_pattern_stands_for_what_it_matches(tree: Path) -> None:
    sources = Sources(SourcePolicy(roots=(f"file://{tree}",)))
    files = await sources.expand([f"{tree}/**/*.txt"])
    assert [file.name for file in files] == ["b.txt"]


@pytest.mark.parametrize(
    "url",
    [
        "{root}/../outside.txt",
        "{root}/leak.txt",
        "{root}/leak/outside.txt",
        "{root}x",
        "/etc/*",
        "file://host/{root}/a.md",
        "file://{root}/%2e%2e/outside.txt",
        "simplecache::file://{root}/a.md",
        "zip://a::file://{root}/a.md",
    ],
)
async def test_no_way_leads_out_of_a_root(tree: Path, url: str) -> None:
    sources = Sources(SourcePolicy(roots=(str(tree),)))
    with pytest.raises(Forbidden):
        await sources.expand([url.format(root=tree)])
    with pytest.raises(Forbidden):
        await content(sources, SourceFile(url.format(root=tree), "x"))


async def test_a_file_that_became_a_link_is_not_read(tree: Path) -> None:
    sources = Sources(SourcePolicy(roots=(str(tree),)))
    (file,) = await sources.expand([f"{tree}/a.md"])
    (tree / "a.md").unlink()
    (tree / "a.md").symlink_to(tree.parent / "outside.txt")
    with pytest.raises(Forbidden):
        await content(sources, file)


async def test_a_pipe_is_no_file(tree: Path) -> None:
    import os

    os.mkfifo(tree / "pipe")
    sources = Sources(SourcePolicy(roots=(str(tree),)))
    with pytest.raises(Forbidden):
        await content(sources, SourceFile(f"{tree}/pipe", "pipe"))


async def test_missing_files_relative_paths_and_too_many_are_said_so(tree: Path) -> None:
    sources = Sources(SourcePolicy(roots=(str(tree),), max_files=1))
    with pytest.raises(NotFound):
        await sources.expand([f"{tree}/none.txt"])
    with pytest.raises(InvalidRequest):
        await sources.expand(["docs/a.md"])
    with pytest.raises(InvalidRequest):
        await sources.expand([str(tree)])


async def test_a_bucket_is_read_below_its_root_only() -> None:
    bucket = f"memory://{uuid.uuid4().hex}"
    for key in ("docs/a.md", "docs/deep/b.md", "private/c.md"):
        with fsspec.open(f"{bucket}/{key}", "wb") as file:
            file.write(key.encode())
    sources = Sources(SourcePolicy(roots=(f"{bucket}/docs",)))
    files = await sources.expand([f"{bucket}/docs"])
    assert [file.name for file in files] == ["a.md", "b.md"]
    assert await content(sources, files[1]) == b"docs/deep/b.md"
    assert [file.name for file in await sources.expand([f"{bucket}/docs/*.md"])] == ["a.md"]
    for url in ("private/c.md", "docs/../private/c.md", "docsx", "**"):
        with pytest.raises(Forbidden):
            await sources.expand([f"{bucket}/{url}"])
    with pytest.raises(NotFound):
        await sources.expand([f"{bucket}/docs/none"])


def test_a_policy_that_makes_no_sense_stops_the_start() -> None:
    for wrong in ({"roots": ("docs",)}, {"roots": ("http://x/",)}, {"private_networks": ("ten",)}):
        with pytest.raises(ConfigurationError):
            SourcePolicy(**wrong)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1%eth0",
        "fd00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
    ],
)
async def test_an_address_of_our_own_network_is_refused(address: str) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return ["93.184.216.34", address]

    sources = Sources(SourcePolicy(web=True), resolve)
    with pytest.raises(Forbidden):
        await content(sources, SourceFile("http://innocent.example/", "x"))


@pytest.mark.parametrize(
    "url",
    [
        "http://user:secret@example.org/",
        "http://example.org:6379/",
        "http:///x",
        "http://127.0.0.1/",
        "http://2130706433/",
        "http://[::1]/",
        "http://localhost/",
    ],
)
async def test_a_crafted_web_address_is_refused(url: str) -> None:
    with pytest.raises(Forbidden):
        await content(Sources(SourcePolicy(web=True)), SourceFile(url, "x"))


class WebServer:
    """A real HTTP server on loopback that answers by path, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.answers: dict[str, bytes] = {}
        self.port = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        host = next(line[6:] for line in lines if line.lower().startswith("host: "))
        path = lines[0].split()[1]
        self.asked.append((host, path))
        writer.write(self.answers.get(path, b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"))
        if path == "/stalls":
            await reader.read()  # until the caller gives up
        writer.close()

    def serve(self, path: str, body: bytes, headers: str = "", status: str = "200 OK") -> None:
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
        self.answers[path] = head.encode() + body

    def redirect(self, path: str, to: str) -> None:
        self.serve(path, b"", f"Location: {to}\r\n", "302 Found")


@pytest.fixture
async def web() -> AsyncIterator[WebServer]:
    made = WebServer()
    server = await asyncio.start_server(made.handle, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    async with server:
        yield made


def fetching(web: WebServer, **changes: object) -> Sources:
    """Sources for which every name leads to the loopback server, as an intranet's would."""

    async def resolve(host: str, port: int) -> list[str]:
        return {"inside.example": ["10.9.9.9"]}.get(host, ["127.0.0.1"])

    policy = {"web": True, "private_networks": ("127.0.0.0/8",), "ports": (web.port,), **changes}
    return Sources(SourcePolicy(**policy), resolve)  # type: ignore[arg-type]


async def test_a_page_is_fetched_from_the_address_checked_by_its_own_name(web: WebServer) -> None:
    web.serve("/guide.html", b"<p>Kestrels")
    sources = fetching(web)
    url = f"http://docs.example:{web.port}/guide.html"
    (file,) = await sources.expand([url])
    assert file.name == "guide.html"
    assert await content(sources, file) == b"<p>Kestrels"
    assert web.asked == [(f"docs.example:{web.port}", "/guide.html")]


async def test_a_redirect_is_followed_and_checked_anew(web: WebServer) -> None:
    web.serve("/end", b"end")
    web.redirect("/start", "/end")
    web.redirect("/inside", f"http://inside.example:{web.port}/end")
    web.redirect("/file", "file:///etc/passwd")
    web.redirect("/loop", "/loop")
    base = f"http://docs.example:{web.port}"
    sources = fetching(web)
    assert await content(sources, SourceFile(f"{base}/start", "x")) == b"end"
    for path, error in (("inside", Forbidden), ("file", Forbidden), ("loop", SourceUnavailable)):
        with pytest.raises(error):
            await content(sources, SourceFile(f"{base}/{path}", "x"))


async def test_size_time_and_packing_are_bounded(web: WebServer) -> None:
    web.serve("/large", b"x" * 5_000)
    web.answers["/endless"] = b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 5_000
    web.serve("/packed", b"x", "Content-Encoding: gzip\r\n")
    web.serve("/broken", b"", status="500 Oh")
    web.answers["/stalls"] = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"
    sources = fetching(web, max_file_bytes=1_000, timeout_s=0.5)
    for path, error in (
        ("large", TooLarge),
        ("endless", TooLarge),
        ("packed", SourceUnavailable),
        ("broken", SourceUnavailable),
        ("stalls", SourceUnavailable),
        ("none", NotFound),
    ):
        with pytest.raises(error):
            await content(sources, SourceFile(f"http://docs.example:{web.port}/{path}", "x"))
