"""How many supervisors the job queue calls for.

Nobody calls a supervisor, so Serve sees no requests to scale by. Each replica reports the length
of the queue instead, and this policy turns it into a number of replicas. It runs in Serve's
controller: plain arithmetic, no connection of its own.
"""

from __future__ import annotations

import math
from typing import Any

QUEUED_JOBS = "queued_jobs"
"""What a supervisor's replica reports: jobs waiting or under way, of the whole cluster."""


class SupervisorsForQueue:
    """A Serve autoscaling policy: one replica for every `jobs_per_supervisor` jobs."""

    def __init__(self, jobs_per_supervisor: int = 4) -> None:
        if jobs_per_supervisor < 1:
            raise ValueError("jobs_per_supervisor must be at least 1")
        self._jobs_per_supervisor = jobs_per_supervisor

    def __call__(self, ctx: Any) -> tuple[int, dict[str, Any]]:
        """The replicas wanted; Serve applies its delays and the limits of the configuration.

        While no replica reports (none runs yet, or Redis is out) the number stays as it is.
        """
        reports = (ctx.aggregated_metrics or {}).get(QUEUED_JOBS) or {}
        if not reports:
            return ctx.target_num_replicas, {}
        # All count the same queue: the reports differ only in age.
        return math.ceil(max(reports.values()) / self._jobs_per_supervisor), {}
