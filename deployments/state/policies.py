"""How many jobs may be there, and how much is kept of each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from deployments.contracts.jobs import FileSpec
from deployments.errors import InvalidRequest

EVENT_ID = re.compile(r"\d{1,19}(-\d{1,19})?")
"""An event's id, as callers send it back."""
LONGEST_MESSAGE_CHARS = 2000
"""Of an error message kept with a job or a file."""


@dataclass(frozen=True, slots=True)
class JobLimits:
    """Bounds on jobs. A submission beyond one of the first two raises QueueFull."""

    max_queued_jobs: int = 1000
    """Jobs that wait, of all owners together."""
    max_jobs_per_owner: int = 100
    """Jobs of one owner that have not ended."""
    max_events: int = 1000
    """Events kept of one job, about. Each holds the whole record: the newest tells all."""
    event_poll_s: float = 0.25
    """How often a stream of events looks for news."""


def check_files(files: Sequence[FileSpec]) -> None:
    """Raise InvalidRequest where two files have the same number."""
    if len({file.number for file in files}) != len(files):
        raise InvalidRequest("Two files of the job have the same number.")
