"""The HTTP API over the in-memory twins, everything behind it within the test's reach."""

from __future__ import annotations

import inspect
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from deployments.contracts.identity import Principal
from deployments.contracts.jobs import Job, JobState, Lease
from deployments.contracts.retrieval import Chunk, Collection, Document
from deployments.embedding.memory import HashEmbedder
from deployments.errors import Unauthenticated
from deployments.generation.memory import ScriptedGenerator
from deployments.ingestion.blobs import BlobStore
from deployments.query.pipeline import QueryPipeline
from deployments.retrieval.memory import MemoryStore
from deployments.state.memory.api_keys import MemoryKeyStore
from deployments.state.memory.cache import MemoryCache
from deployments.state.memory.jobs import MemoryJobStore
from deployments.state.memory.limits import MemoryRateLimiter
from deployments.state.memory.locks import MemoryCollectionLock
from deployments.state.memory.visibility import MemoryVisibility
from deployments.state.memory.world import World
from deployments.state.policies import JobLimits
from serve_app.app import create_app
from serve_app.audit import AuditLog
from serve_app.auth.authenticator import Authenticator
from serve_app.auth.peers import Peers
from serve_app.auth.tokens import TokenVerifier
from serve_app.dependencies import Dependencies
from serve_app.holdings import Holdings
from serve_app.services import Services
from serve_app.settings import LimitArgs, RagArgs, UploadArgs

ALL_SCOPES = frozenset({"query", "ingest", "admin"})
PEER_SECRET = "the-secret-of-services-0123456789abcdef"
QUESTION = "How many days of paid holiday do full-time employees have?"
ANSWER = "Full-time employees have 29 days of paid holiday a year."
TEXTS = {
    "leave": f"{ANSWER} Up to 5 unused days may be carried over to the next year.",
    "office": "The office is open from 7:00 to 20:00 on weekdays. Visitors get a yellow badge.",
}


class KnownKeys:
    """Knows a few keys; can be out."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self._principals: dict[str, Principal] = {}
        self.give("root", ALL_SCOPES)
        self.give("alice", {"query", "ingest"})
        self.give("bob", {"query", "ingest"}, "bobs_*")
        self.give("reader", {"query"})
        self.give("writer", {"ingest"})

    def give(self, key: str, scopes: set[str] | frozenset[str], collections: str = "*") -> None:
        self._principals[key] = Principal(f"key:{key}", key, frozenset(scopes), (collections,))

    async def verify(self, key: str) -> Principal:
        if self.error:
            raise self.error
        if key not in self._principals:
            raise Unauthenticated("The API key is not valid.")
        return self._principals[key]


class Breakable:
    """A twin that can be out: its methods raise `error` while there is one. Counts its calls."""

    def __init__(self, twin: Any) -> None:
        self.twin = twin
        self.error: Exception | None = None
        self.calls: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.twin, name)
        if inspect.iscoroutinefunction(method):
            return self._awaited(name, method)

        async def stream(*arguments: Any, **named: Any) -> Any:
            self._use(name)
            async for item in method(*arguments, **named):
                self._use(name)
                yield item

        return stream

    def _awaited(self, name: str, method: Callable[..., Awaitable[Any]]) -> Any:
        async def call(*arguments: Any, **named: Any) -> Any:
            self._use(name)
            return await method(*arguments, **named)

        return call

    def _use(self, name: str) -> None:
        self.calls[name] += 1
        if self.error is not None:
            raise self.error


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now_s = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class Desk:
    """The application and what it stands on. `args` are read when the application is made."""

    folder: Path
    args: RagArgs = field(default_factory=lambda: RagArgs(limits=GENEROUS))
    clock: Clock = field(default_factory=Clock)
    keys: KnownKeys = field(default_factory=KnownKeys)
    generator: ScriptedGenerator = field(
        default_factory=lambda: ScriptedGenerator(answers=[ANSWER])
    )
    job_limits: JobLimits = field(default_factory=lambda: JobLimits(event_poll_s=0.005))
    tokens: TokenVerifier | None = None
    peers: Peers = field(default_factory=lambda: Peers([PEER_SECRET]))

    def __post_init__(self) -> None:
        self.world = World(clock_s=self.clock)
        self.embedder = Breakable(HashEmbedder())
        self.store = Breakable(MemoryStore())
        self.visibility = Breakable(MemoryVisibility(self.world))
        self.jobs = Breakable(MemoryJobStore(self.world, self.job_limits))
        self.pings: dict[str, Any] = {
            "redis": Breakable(MemoryStore()),
            "milvus": Breakable(MemoryStore()),
            "embedding": Breakable(MemoryStore()),
            "generation": Breakable(MemoryStore()),
        }
        self.key_store = MemoryKeyStore(self.clock)
        self.audit_file = self.folder / "audit" / "log.jsonl"
        self.audit = AuditLog(self.audit_file)
        self.app = create_app(self.services())

    def services(self) -> Services:
        return Services(
            args=self.args,
            authenticator=Authenticator(self.keys, self.tokens, self.peers),
            keys=self.key_store,
            audit=self.audit,
            limiter=MemoryRateLimiter(self.args.limits.rates(), self.clock),
            embedder=self.embedder,
            generator=self.generator,
            store=self.store,
            visibility=self.visibility,
            holdings=Holdings(self.store, self.visibility, self.clock),
            jobs=self.jobs,
            blobs=BlobStore(str(self.blob_folder), min_free_bytes=0),
            pipeline=QueryPipeline(
                self.embedder, self.store, self.visibility, self.generator, cache=MemoryCache()
            ),
            dependencies=Dependencies(
                {name: part.ping for name, part in self.pings.items()}, self.clock
            ),
        )

    @property
    def blob_folder(self) -> Path:
        return self.folder / "blobs"

    @property
    def written(self) -> list[str]:
        """What there is beside the blob store, and the store itself."""
        return sorted(path.name for path in self.folder.iterdir() if path.name != "audit")

    @property
    def audited(self) -> list[dict[str, Any]]:
        """The audit log's lines."""
        lines = self.audit_file.read_text().splitlines() if self.audit_file.exists() else []
        return [json.loads(line) for line in lines]

    @property
    def staged(self) -> list[str]:
        """Every file in the blob store, by its path there."""
        files = [path for path in self.blob_folder.rglob("*") if path.is_file()]
        return sorted(str(path.relative_to(self.blob_folder)) for path in files)

    def client(self, key: str | None = "root") -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        # Exceptions that leave the application count as what they are: a broken connection.
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=True)
        return httpx.AsyncClient(transport=transport, base_url="http://desk", headers=headers)

    async def furnish(self, collection: str = "handbook", documents: int = 0) -> None:
        """A collection with the two texts, and `documents` more."""
        model = await self.embedder.twin.model()
        await self.store.twin.create_collection(Collection(collection, model, "", 1.0))
        texts = TEXTS | {f"extra {n:04d}": f"Text number {n}." for n in range(documents)}
        chunks = [
            Chunk(f"{collection}-{title}", 0, text, _document(number, title))
            for number, (title, text) in enumerate(texts.items(), start=1)
        ]
        vectors = await self.embedder.twin.embed([chunk.text for chunk in chunks])
        await self.store.twin.upsert(collection, chunks, vectors)

    async def submitted(self, client: httpx.AsyncClient, collection: str = "handbook") -> str:
        """The id of a new job of one text."""
        body = {"documents": [{"title": f"note {self.world.sequence}", "text": "A note."}]}
        answer = await client.post(f"/v1/collections/{collection}/documents", json=body)
        assert answer.status_code == 202, answer.text
        job_id: str = answer.json()["id"]
        return job_id

    async def lease(self, job: Job) -> Lease:
        lease = await MemoryCollectionLock(self.world).acquire(job.collection, "supervisor")
        assert lease is not None
        return lease

    async def complete(self, job_id: str, *, fail: bool = False) -> None:
        """Do what a supervisor does, to the job's end."""
        jobs = self.jobs.twin
        job = await jobs.get(job_id)
        lease = await self.lease(job)
        if job.state is JobState.PENDING:
            await jobs.start(job_id, lease)
        for status in await jobs.files(job_id):
            version = await jobs.begin_file(job_id, status.spec.number, lease)
            if fail:
                await jobs.fail_file(job_id, status.spec.number, lease, "damaged_document", "Torn.")
            else:
                await jobs.commit_file(job_id, status.spec.number, lease, version=version, chunks=1)
        await jobs.finish(job_id, lease)
        await MemoryCollectionLock(self.world).release(lease)


GENEROUS = LimitArgs(
    generation_per_minute=10_000,
    search_per_minute=10_000,
    ingestion_per_minute=10_000,
    strangers_per_minute=10_000,
)


def with_uploads(**bounds: int) -> RagArgs:
    return RagArgs(limits=GENEROUS, uploads=UploadArgs(**bounds))


@contextmanager
def out(part: Breakable | KnownKeys, error: Exception) -> Iterator[None]:
    """The part is out inside the block."""
    part.error = error
    try:
        yield
    finally:
        part.error = None


def _document(number: int, title: str) -> Document:
    return Document(
        id=f"doc_{number}",
        title=title,
        source=f"{title}.md",
        content_type="text/markdown",
        content_hash=f"{number:064x}",
        size_bytes=100,
        chunk_count=1,
        ingested_at_s=1_700_000_000.0,
        version=number,
        metadata={"year": 2020 + number % 6},
    )


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem document of an answer, which must be one."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["status"] == status
    assert body["code"] == code, body
    assert body["title"]
    assert body["detail"]
    assert body["request_id"] == answer.headers["x-request-id"]
    return body


def shape(body: dict[str, Any], *names: str) -> dict[str, Any]:
    """A problem without what names the request and the thing that was asked for."""
    text = {key: str(value) for key, value in body.items() if key != "request_id"}
    for name in names:
        text = {key: value.replace(name, "NAME") for key, value in text.items()}
    return text
