"""Ingestion in one process on the twins, whose every call can be the last one.

A `Process` stands for a supervisor with its workers. All it does goes through ports that stop
before and after each call: there it can be killed, asked to end, paused, or told that the
service behind the port is out.
"""

from __future__ import annotations

import asyncio
import inspect
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from deployments.contracts.embedding import EmbeddingModel
from deployments.contracts.jobs import FileSpec, FileState, Job
from deployments.contracts.retrieval import Chunk, Collection
from deployments.embedding.memory import HashEmbedder
from deployments.errors import (
    DependencyError,
    EmbeddingUnavailable,
    StateUnavailable,
    StoreUnavailable,
)
from deployments.ingestion.blobs import BlobStore
from deployments.ingestion.chunking import Chunker, ChunkLimits
from deployments.ingestion.file_ingestion import Done, FileIngestion
from deployments.ingestion.ranges import Reading, Step, WriteRange
from deployments.ingestion.readers.document import EVERY_PAGE, ExtractedDocument, PageRange, Section
from deployments.ingestion.settings import SupervisorSettings, SweepSettings
from deployments.ingestion.supervisor import Supervisor
from deployments.ingestion.sweep import Sweep
from deployments.resilience.retries import Retry
from deployments.retrieval.memory import MemoryStore
from deployments.state.keys import Lifetimes
from deployments.state.memory.jobs import MemoryJobStore
from deployments.state.memory.locks import MemoryCollectionLock
from deployments.state.memory.queue import MemoryJobQueue
from deployments.state.memory.visibility import MemoryVisibility
from deployments.state.memory.world import World
from deployments.state.policies import JobLimits

COLLECTION = "shelf"
PATIENT = Retry(attempts=None, patience_s=5.0, min_wait_s=0.001, max_wait_s=0.004)
HASTY = Retry(attempts=2, min_wait_s=0.001, max_wait_s=0.002)
QUICK = SupervisorSettings(
    claim_wait_s=0.0,
    heartbeat_s=0.01,
    cancel_poll_s=0.005,
    lease_renewal_s=0.02,
    busy_pause_s=0.005,
    outage_pause_s=0.002,
    outage=PATIENT,
)
LIMITS = ChunkLimits(chunk_tokens=32, overlap_tokens=0, max_tokens=256, prefix_tokens=16)

PAGE_BREAK = "\f"

Script = Callable[[Any, "Callable[[], Any]"], Any]
ChunkSet = frozenset[tuple[str, int, str]]


class Process:
    """A supervisor and its workers: what happens to them at which of their steps."""

    def __init__(self, *, dies_at: int = 0, ends_at: int = 0, pauses_at: int = 0) -> None:
        self.steps = 0
        self.dead = False
        self.running: asyncio.Task[None] | None = None
        self.paused = asyncio.Event()
        self.awake = asyncio.Event()
        self.awake.set()
        self.faults: random.Random | None = None
        self.fault_rate = 0.0
        self._dies_at = dies_at
        self._ends_at = ends_at
        self._pauses_at = pauses_at

    async def step(self) -> None:
        """One place where it may be stopped."""
        self._still_alive()
        self.steps += 1
        if self.steps == self._dies_at:
            self.dead = True
        if self.steps == self._ends_at and self.running is not None:
            self.running.cancel()
        if self.steps == self._pauses_at:
            self.awake.clear()
            self.paused.set()
        await asyncio.sleep(0)
        self._still_alive()
        await self.awake.wait()
        self._still_alive()

    def _still_alive(self) -> None:
        if self.dead:
            raise asyncio.CancelledError

    def fault(self) -> bool:
        return self.faults is not None and self.faults.random() < self.fault_rate


class Port:
    """A port as a process reaches it."""

    def __init__(self, port: Any, process: Process, error: type[DependencyError]) -> None:
        self._port = port
        self._process = process
        self._error = error

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._port, name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            await self._process.step()
            if self._process.fault():
                if name == "snapshot":  # it never raises, but may answer what it does not know
                    return replace(await method(*args), hidden_versions=frozenset(), stale=True)
                raise self._error("out before the call")
            answer = await method(*args, **kwargs)
            await self._process.step()
            if name != "snapshot" and self._process.fault():
                raise self._error("out before the answer")
            return answer

        return call


@dataclass
class IngestionRoom:
    """One state, one store and one blob store for any number of processes."""

    folder: Path
    lifetimes: Lifetimes = field(default_factory=Lifetimes)
    batch: int = 2
    range_pages: int = 64
    range_chunks: int = 512
    skipped_s: float = 0.0
    model: EmbeddingModel | None = None
    reads: Counter[str] = field(default_factory=Counter)
    wasted: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.world = World(clock_s=self.clock_s, lifetimes=self.lifetimes)
        self.jobs = MemoryJobStore(self.world, JobLimits(event_poll_s=0.01))
        self.queue = MemoryJobQueue(self.world)
        self.lock = MemoryCollectionLock(self.world)
        self.visibility = MemoryVisibility(self.world)
        self.store = MemoryStore()
        self.blobs = BlobStore(str(self.folder / "blobs"), min_free_bytes=0)
        self.embedder = HashEmbedder(dimension=8)

    def clock_s(self) -> float:
        return time.time() + self.skipped_s

    def skip(self, duration_s: float) -> None:
        """Let time pass for the state."""
        self.skipped_s += duration_s

    async def open(self) -> IngestionRoom:
        model = await self.embedder.model()
        await self.store.create_collection(Collection(COLLECTION, model))
        return self

    async def submit(
        self,
        texts: Mapping[str, str],
        job_id: str = "job",
        collection: str = COLLECTION,
        *,
        document_ids: Mapping[str, str] | None = None,
        content_type: str = "text/plain",
    ) -> Job:
        """A job of one file a text; the text's name is its source."""
        specs = []
        for number, (name, text) in enumerate(texts.items()):
            blob = await self.blobs.put(job_id, number, _once(text.encode()), 10**6)
            document_id = (document_ids or {}).get(name, f"doc-{name}")
            specs.append(
                FileSpec(
                    number, document_id, name, name, blob.url, content_type,
                    blob.sha256, blob.size_bytes, {"kind": "test"},
                )
            )  # fmt: skip
        return await self.jobs.submit(job_id, collection, "alice", specs)

    def read(
        self, path: Path, content_type: str, name: str, pages: PageRange = EVERY_PAGE
    ) -> ExtractedDocument:
        """Read plain text, and note what is read though it is done."""
        self.reads[name] += 1
        for entry in self.world.jobs.values():
            self.wasted += [
                name
                for file in entry.files.values()
                if file.state is FileState.DONE and file.spec.blob_url == path.as_uri()
            ]
        return paged(name, path.read_text(), pages)

    def supervisor(
        self,
        process: Process,
        *,
        name: str = "one",
        script: Script | None = None,
        settings: SupervisorSettings = QUICK,
        read: Any = None,
    ) -> Supervisor:
        """A supervisor whose workers live in `process`; `script` stands between the two."""
        state = {
            port: Port(getattr(self, port), process, StateUnavailable)
            for port in ("jobs", "queue", "lock", "visibility")
        }
        store: Any = Port(self.store, process, StoreUnavailable)
        embedder: Any = Port(self.embedder, process, EmbeddingUnavailable)
        files = FileIngestion(
            store=store,
            jobs=state["jobs"],  # type: ignore[arg-type]
            visibility=state["visibility"],  # type: ignore[arg-type]
            embedder=embedder,
            blobs=self.blobs,
            read=read or self.read,
            chunker=Chunker(lambda _: 1, LIMITS),
            batch=self.batch,
            embed_calls=2,
            range_pages=self.range_pages,
            range_chunks=self.range_chunks,
            call=HASTY,
        )

        async def run_step(step: Step) -> Reading | None:
            drafts = step.drafts if isinstance(step, WriteRange) else ()
            done: Done = (None, [])

            async def attempt() -> None:
                nonlocal done
                done = await files.run(step, drafts)

            await (attempt() if script is None else script(step, attempt))
            reading, read = done
            return reading and replace(reading, drafts=read)

        async def model() -> EmbeddingModel:
            await process.step()
            return self.model or await self.embedder.model()

        return Supervisor(
            name,
            jobs=state["jobs"],  # type: ignore[arg-type]
            queue=state["queue"],  # type: ignore[arg-type]
            lock=state["lock"],  # type: ignore[arg-type]
            store=store,
            blobs=self.blobs,
            model=model,
            run_step=run_step,
            sweep=self.sweep(process),
            settings=replace(settings, range_chunks=self.range_chunks),
        )

    def sweep(self, process: Process) -> Sweep:
        return Sweep(
            jobs=self.jobs,
            visibility=self.visibility,
            store=self.store,
            blobs=self.blobs,
            settings=SweepSettings(versions_s=0.01, blobs_s=1e9),
            clock_s=self.clock_s,
        )

    @asynccontextmanager
    async def running(self, process: Process | None = None, **how: Any) -> AsyncIterator[Process]:
        """A process at work inside the block, asked to end after it."""
        process = process or Process()
        process.running = asyncio.create_task(self.supervisor(process, **how).run())
        try:
            yield process
        finally:
            process.awake.set()  # asleep it would not hear
            process.running.cancel()
            with suppress(asyncio.CancelledError):
                await process.running

    async def ended(self, job_id: str = "job", timeout_s: float = 10.0) -> Job:
        """The job once it has ended and its queue entry is settled."""

        async def settled() -> bool:
            return (await self.jobs.get(job_id)).state.ended and not await self.queue.depth()

        await until(settled, timeout_s)
        return await self.jobs.get(job_id)

    async def chunks(self, collection: str = COLLECTION) -> ChunkSet:
        """What a search can see: (source, number, text) of every chunk, each once."""
        visible = await self.visible(collection)
        assert len({chunk.id for chunk in visible}) == len(visible)
        named = [(chunk.document.source, chunk.number, chunk.text) for chunk in visible]
        assert len(set(named)) == len(named), "a document is there twice"
        return frozenset(named)

    async def visible(self, collection: str = COLLECTION) -> list[Chunk]:
        hidden = (await self.visibility.snapshot(collection)).hidden_versions
        held = self.store._shelf(collection).chunks.values()
        return [chunk for chunk in held if chunk.document.version not in hidden]

    def stored_versions(self, collection: str = COLLECTION) -> set[int]:
        return {c.document.version for c in self.store._shelf(collection).chunks.values()}


def paged(name: str, text: str, pages: PageRange = EVERY_PAGE) -> ExtractedDocument:
    """A text whose pages are parted by form feeds."""
    every = list(enumerate(text.split(PAGE_BREAK), 1))
    read = every[pages.first : pages.first + pages.count]
    sections = tuple(Section(page, page=number) for number, page in read if page)
    return ExtractedDocument(name, sections, pages=len(every))


def texts(count: int, words: int = 100, tag: str = "") -> dict[str, str]:
    """Texts of `words` words, each of a file of its own."""
    return {
        f"file-{n}{tag}.txt": " ".join(f"w{n}{tag}x{i}" for i in range(words)) for n in range(count)
    }


async def undisturbed(folder: Path, sent: Mapping[str, str]) -> ChunkSet:
    """The chunks of a run in which nothing happens."""
    room = await IngestionRoom(folder).open()
    await room.submit(sent)
    async with room.running():
        await room.ended()
    return await room.chunks()


async def states(room: IngestionRoom, job_id: str = "job") -> list[FileState]:
    """Where each file of the job is."""
    return [file.state for file in await room.jobs.files(job_id)]


async def until(true: Callable[[], Any], timeout_s: float = 10.0) -> None:
    """Wait for something to become true; it may be asked for by a coroutine."""
    async with asyncio.timeout(timeout_s):
        while True:
            answer = true()
            if await answer if inspect.isawaitable(answer) else answer:
                return
            await asyncio.sleep(0.001)


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content
