"""Ingestion jobs: what is asked for, how far it is, and who may write.

The protocol in one paragraph. A job and its queue entry are written together. A supervisor
claims the entry, then the collection's lease; the lease carries a fence, a number that only
grows, and every write of job state is refused (`LeaseLost`) unless its fence is the newest. Each
attempt at a file writes its chunks under a fresh *version* that searches hide; committing the
file makes the version visible, hides the versions it replaces and marks the file done in one
atomic step. Hidden versions are swept out of the store later, when no search can still be
reading them.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from deployments.contracts.retrieval import Metadata


class JobState(StrEnum):
    """Where a job is. Only the arrows drawn here exist.

    PENDING -> PROCESSING -> COMPLETED | FAILED | CANCELLED, PENDING -> CANCELLED | FAILED, and
    back to PENDING from FAILED, CANCELLED or COMPLETED with failed files, by `resume`.
    """

    PENDING = "PENDING"
    """Queued; no supervisor works on it."""
    PROCESSING = "PROCESSING"
    """A supervisor holds it. Stays so while a dead supervisor's claim changes hands."""
    COMPLETED = "COMPLETED"
    """Every file ended; some may have failed, each with its reason."""
    FAILED = "FAILED"
    """It could not go on; `error_code` says why. What was committed stays."""
    CANCELLED = "CANCELLED"
    """Stopped by a caller. What was committed stays."""

    @property
    def ended(self) -> bool:
        return self in (JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED)


class FileState(StrEnum):
    """Where one file of a job is."""

    PENDING = "PENDING"
    PROCESSING = "PROCESSING"
    DONE = "DONE"
    """Its chunks are committed."""
    UNCHANGED = "UNCHANGED"
    """The collection already held the same content and metadata."""
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


@dataclass(frozen=True, slots=True)
class FileSpec:
    """One file to ingest: where its bytes are staged and what it becomes."""

    number: int
    document_id: str
    name: str
    source: str
    blob_url: str
    content_type: str
    content_hash: str
    size_bytes: int
    metadata: Metadata = field(default_factory=dict)
    title: str = ""
    """As the caller gave it; empty takes the one that the reader finds."""


@dataclass(frozen=True, slots=True)
class FileStatus:
    """How far one file is."""

    spec: FileSpec
    state: FileState = FileState.PENDING
    version: int = 0
    chunks_done: int = 0
    chunks_total: int = 0
    error_code: str = ""
    error_message: str = ""


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of a job's state, and when."""

    state: JobState
    at_s: float


@dataclass(frozen=True, slots=True)
class Job:
    """A job's record. Times are Unix seconds, 0.0 where not yet."""

    id: str
    collection: str
    owner: str
    state: JobState
    files_total: int
    files_done: int = 0
    """Committed or unchanged."""
    files_unchanged: int = 0
    files_failed: int = 0
    chunks_done: int = 0
    chunks_total: int = 0
    """Of the files read so far: it grows while files are being read."""
    bytes_total: int = 0
    bytes_done: int = 0
    """Of the files done."""
    attempts: int = 0
    cancel_requested: bool = False
    error_code: str = ""
    error_message: str = ""
    created_at_s: float = 0.0
    started_at_s: float = 0.0
    ended_at_s: float = 0.0
    transitions: tuple[Transition, ...] = ()


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write to a collection, until it expires or a newer fence is given out."""

    collection: str
    owner: str
    fence: int


@dataclass(frozen=True, slots=True)
class Claim:
    """A queue entry in this consumer's hands; `deliveries` counts how often it was given out."""

    entry_id: str
    job_id: str
    collection: str
    deliveries: int


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A queue entry that was given up on, and why."""

    job_id: str
    collection: str
    deliveries: int
    reason: str
    buried_at_s: float


@dataclass(frozen=True, slots=True)
class JobEvent:
    """A change of a job as a stream of events shows it; `id` orders and resumes."""

    id: str
    job: Job


class JobStore(Protocol):
    """Job records. Every method raises StateUnavailable when Redis is out."""

    async def submit(
        self,
        job_id: str,
        collection: str,
        owner: str,
        files: Sequence[FileSpec],
        idempotency_key: str | None = None,
    ) -> Job:
        """Write the job and its queue entry in one transaction.

        The same owner and `idempotency_key` again returns the first job and writes nothing.
        Raises QueueFull.
        """
        ...

    async def get(self, job_id: str) -> Job:
        """Raises JobNotFound."""
        ...

    async def page(
        self,
        *,
        owner: str | None = None,
        collection: str | None = None,
        state: JobState | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> tuple[list[Job], str | None]:
        """Newest first, and the cursor of the next page."""
        ...

    async def files(
        self, job_id: str, *, offset: int = 0, limit: int = 1000, state: FileState | None = None
    ) -> list[FileStatus]: ...

    def events(self, job_id: str, after: str = "0") -> AsyncGenerator[JobEvent, None]:
        """Changes after event id `after`, as they happen, until the job has ended."""
        ...

    async def cancel(self, job_id: str) -> Job:
        """A pending job is CANCELLED at once; a running one by its supervisor within seconds.

        Cancelling a job that has ended raises IllegalTransition.
        """
        ...

    async def resume(self, job_id: str) -> Job:
        """Queue again what is not done. Raises IllegalTransition where nothing is left to do."""
        ...

    # By the supervisor that holds the lease; each raises LeaseLost for an older fence.

    async def start(self, job_id: str, lease: Lease) -> Job:
        """PENDING or PROCESSING (taken over) -> PROCESSING.

        Raises IllegalTransition, and CollectionNotFound where the collection that the job was
        submitted for has been dropped since, though one of the same name may be there.
        """
        ...

    async def begin_file(self, job_id: str, number: int, lease: Lease) -> int:
        """Give the file a fresh version, hidden from searches, and hide its last attempt's."""
        ...

    async def report_file(
        self, job_id: str, number: int, lease: Lease, *, chunks_done: int, chunks_total: int
    ) -> Job:
        """Record progress; the answer says whether a cancel was asked for."""
        ...

    async def commit_file(
        self,
        job_id: str,
        number: int,
        lease: Lease,
        *,
        version: int,
        chunks: int,
        replaces: Sequence[int] = (),
    ) -> None:
        """DONE: show `version`, hide `replaces`, bump the epoch, in one step."""
        ...

    async def skip_file(self, job_id: str, number: int, lease: Lease) -> None:
        """UNCHANGED."""
        ...

    async def fail_file(
        self, job_id: str, number: int, lease: Lease, code: str, message: str
    ) -> None:
        """FAILED; its hidden version goes to the sweep."""
        ...

    async def finish(
        self, job_id: str, lease: Lease, *, error_code: str = "", error_message: str = ""
    ) -> Job:
        """End the job: CANCELLED if that was asked for, FAILED with an error, else COMPLETED.

        Files not ended become CANCELLED (or stay PENDING in a FAILED job) and their versions go
        to the sweep. The record expires 24 h later.
        """
        ...


class JobQueue(Protocol):
    """Who works on what. Raises StateUnavailable."""

    async def claim(self, consumer: str, wait_s: float = 1.0) -> Claim | None:
        """A dead consumer's entry (no heartbeat for the visibility timeout), or a new one."""
        ...

    async def heartbeat(self, claim: Claim, consumer: str) -> bool:
        """Keep the claim. False: another consumer has it now."""
        ...

    async def acknowledge(self, claim: Claim) -> None:
        """The job has ended: the entry is gone for good."""
        ...

    async def postpone(self, claim: Claim) -> None:
        """Put the job at the end of the queue: its collection is another job's just now."""
        ...

    async def release(self, claim: Claim, consumer: str) -> None:
        """Give the claim up, where it is still this consumer's: whoever asks next has it.

        The job keeps its place, and this delivery does not count.
        """
        ...

    async def bury(self, claim: Claim, reason: str) -> None:
        """Move a poison job to the dead-letter stream, its reason kept."""
        ...

    async def buried(self, limit: int = 100) -> list[DeadLetter]:
        """What was buried, newest first."""
        ...

    async def depth(self) -> int:
        """Entries waiting or being worked on."""
        ...


class CollectionLock(Protocol):
    """One writer a collection. Raises StateUnavailable."""

    async def acquire(self, collection: str, owner: str) -> Lease | None:
        """A lease with a fence newer than any before, or None while another owner holds it.

        The same owner again gets a new lease, and its older one is lost: an owner names one
        undertaking (a supervisor's work on one claim), not a process.
        """
        ...

    async def renew(self, lease: Lease) -> None:
        """Raises LeaseLost."""
        ...

    async def release(self, lease: Lease) -> None:
        """Give it back; a lease already lost is left to its new owner."""
        ...


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a search must know of a collection's state.

    `epoch` grows with every commit; `stale` says that Redis was out and this is the last known.
    """

    epoch: int
    hidden_versions: frozenset[int]
    stale: bool = False


class Visibility(Protocol):
    """Which versions searches may see."""

    async def snapshot(self, collection: str) -> Snapshot:
        """Never raises: with Redis out it answers the last one known, marked stale."""
        ...

    async def hide(self, collection: str, versions: Sequence[int]) -> None:
        """Hide at once (a document was deleted), bump the epoch, sweep later."""
        ...

    async def due(self, now_s: float) -> list[tuple[str, int]]:
        """(collection, version) pairs that the sweep may delete from the store now."""
        ...

    async def swept(self, collection: str, version: int) -> None:
        """The store no longer holds the version."""
        ...

    async def forget(self, collection: str) -> None:
        """The collection was dropped.

        Whoever writes to it, and every job submitted to it until now, is refused from here on.
        """
        ...
