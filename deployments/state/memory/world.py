"""What the twins share, as the adapters share one Redis."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from deployments.contracts.jobs import DeadLetter, FileStatus, Job, JobEvent, Lease
from deployments.state.keys import Lifetimes


@dataclass(slots=True)
class JobEntry:
    """A job, its files by number, its events, and when all that is forgotten."""

    job: Job
    number: int
    files: dict[int, FileStatus]
    events: list[JobEvent]
    fence: int = 0
    expires_at_s: float | None = None


@dataclass(slots=True)
class QueueEntry:
    """A queue entry; `consumer` is "" while nobody has it."""

    job_id: str
    collection: str
    tries: int = 0
    consumer: str = ""
    deliveries: int = 0
    seen_at_s: float = 0.0


@dataclass(slots=True)
class CollectionEntry:
    """A collection's lock, fence, epoch and hidden versions."""

    lease: Lease | None = None
    lease_expires_at_s: float = 0.0
    fence: int = 0
    dropped: int = 0
    """The number of its last deletion."""
    epoch: int = 0
    hidden: set[int] = field(default_factory=set)
    due_at_s: dict[int, float] = field(default_factory=dict)
    """When the sweep may delete a condemned version."""
    forget_at_s: dict[int, float] = field(default_factory=dict)
    """When a condemned version is hidden no more."""


@dataclass(slots=True)
class World:
    """One state in memory. `clock_s` gives Unix seconds."""

    clock_s: Callable[[], float] = time.time
    lifetimes: Lifetimes = field(default_factory=Lifetimes)
    sequence: int = 0
    jobs: dict[str, JobEntry] = field(default_factory=dict)
    idempotency: dict[tuple[str, str], tuple[str, float]] = field(default_factory=dict)
    queue: dict[str, QueueEntry] = field(default_factory=dict)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    collections: dict[str, CollectionEntry] = field(default_factory=dict)

    def next_number(self) -> int:
        """Greater than any given out before, and never behind the clock in milliseconds."""
        self.sequence = max(self.sequence + 1, int(self.clock_s() * 1000))
        return self.sequence

    def collection(self, name: str) -> CollectionEntry:
        """The entry of a collection, made on demand."""
        return self.collections.setdefault(name, CollectionEntry())

    def enqueue(self, job_id: str, collection: str, tries: int = 0) -> None:
        """Add a queue entry."""
        self.queue[f"{self.next_number()}-0"] = QueueEntry(job_id, collection, tries)
