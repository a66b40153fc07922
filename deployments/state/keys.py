"""Every Redis key and every lifetime, named once.

`P` below is the prefix. Numbers that order things (job order, versions, fences, epochs) are all
drawn from one sequence that never runs behind the clock in milliseconds, so that they keep
growing even where Redis came back empty.

    P:sequence                      last number given out
    P:job:<id>                      hash, the record           (expires with the job)
    P:job:<id>:specs                list, one JSON a file      (expires with the job)
    P:job:<id>:files                hash, number -> JSON state (expires with the job)
    P:job:<id>:events               stream, bounded            (expires with the job)
    P:jobs                          zset, every job by its number
    P:jobs:owner:<owner>            zset, the same of one owner
    P:jobs:collection:<collection>  zset, the same of one collection
    P:jobs:pending                  set, jobs that wait
    P:jobs:active                   hash, owner -> jobs not ended
    P:jobs:expiring                 zset, ended jobs by when their record expires, to prune indexes
    P:idempotency:<hash>            string, job id             (expires)
    P:queue, P:queue:dead           streams
    P:lock:<collection>             string, the lease          (expires)
    P:fence:<collection>            string, newest fence; never deleted
    P:dropped:<collection>          string, number of its last deletion; never deleted
    P:epoch:<collection>            string, newest epoch
    P:hidden:<collection>           set, versions that searches must not see
    P:sweep                         zset, <collection>:<version> by when to delete it from the store
    P:tombstones                    zset, <collection>:<version> by when to stop hiding it
    P:limits                        prefix of the rate limiter's keys
    P:api_keys, P:api_key:<prefix>  set of prefixes, hash per key
    P:cache:<key>, P:flight:<key>   strings on the cache Redis (expire)
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long things live, in seconds."""

    job_s: float = 24 * 3600
    """A job's record after its end."""
    idempotency_s: float = 24 * 3600
    lease_s: float = 300
    visibility_timeout_s: float = 30
    """A queue entry without a heartbeat for so long may be claimed by another consumer."""
    grace_s: float = 30
    """Replaced chunks stay in the store for so long: a search that began before the commit still
    finds all it saw. Longer than any search's deadline."""
    settle_s: float = 60
    """Replaced versions stay hidden for so long after their first sweep: a store with bounded
    staleness may still show what was just deleted."""
    tombstone_s: float = 24 * 3600
    """Aborted versions stay hidden for so long: a paused writer may wake up and go on writing."""


def milliseconds(duration_s: float) -> int:
    """As Redis counts."""
    return round(duration_s * 1000)


def hiding_lifetimes(lifetimes: Lifetimes) -> dict[str, object]:
    """What `versions.lua` must know."""
    return {
        "grace_ms": milliseconds(lifetimes.grace_s),
        "settle_ms": milliseconds(lifetimes.settle_s),
        "tombstone_ms": milliseconds(lifetimes.tombstone_s),
    }


@dataclass(frozen=True, slots=True)
class Keys:
    """The names, under a prefix of one's own."""

    prefix: str = "ragserve"

    @property
    def sequence(self) -> str:
        return f"{self.prefix}:sequence"

    # Jobs

    def job(self, job_id: str) -> str:
        return f"{self.prefix}:job:{job_id}"

    def job_specs(self, job_id: str) -> str:
        return f"{self.prefix}:job:{job_id}:specs"

    def job_files(self, job_id: str) -> str:
        return f"{self.prefix}:job:{job_id}:files"

    def job_events(self, job_id: str) -> str:
        return f"{self.prefix}:job:{job_id}:events"

    @property
    def jobs(self) -> str:
        return f"{self.prefix}:jobs"

    def jobs_of_owner(self, owner: str) -> str:
        return f"{self.prefix}:jobs:owner:{owner}"

    def jobs_of_collection(self, collection: str) -> str:
        return f"{self.prefix}:jobs:collection:{collection}"

    @property
    def pending_jobs(self) -> str:
        return f"{self.prefix}:jobs:pending"

    @property
    def active_jobs(self) -> str:
        return f"{self.prefix}:jobs:active"

    @property
    def expiring_jobs(self) -> str:
        return f"{self.prefix}:jobs:expiring"

    def idempotency(self, owner: str, key: str) -> str:
        # Hashed: both parts come from outside and may be long or hold any character.
        digest = hashlib.sha256(f"{len(owner)}:{owner}{key}".encode()).hexdigest()
        return f"{self.prefix}:idempotency:{digest}"

    # Queue and lock

    @property
    def queue(self) -> str:
        return f"{self.prefix}:queue"

    @property
    def dead_letters(self) -> str:
        return f"{self.prefix}:queue:dead"

    def lock(self, collection: str) -> str:
        return f"{self.prefix}:lock:{collection}"

    def fence(self, collection: str) -> str:
        return f"{self.prefix}:fence:{collection}"

    def dropped(self, collection: str) -> str:
        return f"{self.prefix}:dropped:{collection}"

    # Visibility

    def epoch(self, collection: str) -> str:
        return f"{self.prefix}:epoch:{collection}"

    def hidden(self, collection: str) -> str:
        return f"{self.prefix}:hidden:{collection}"

    @property
    def sweep(self) -> str:
        return f"{self.prefix}:sweep"

    @property
    def tombstones(self) -> str:
        return f"{self.prefix}:tombstones"

    # Limits, keys, cache

    @property
    def limits(self) -> str:
        return f"{self.prefix}:limits"

    @property
    def api_keys(self) -> str:
        return f"{self.prefix}:api_keys"

    def api_key(self, key_prefix: str) -> str:
        return f"{self.prefix}:api_key:{key_prefix}"

    def cached(self, key: str) -> str:
        return f"{self.prefix}:cache:{key}"

    def flight(self, key: str) -> str:
        return f"{self.prefix}:flight:{key}"
