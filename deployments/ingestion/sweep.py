"""Removes what nobody needs any more: versions that no search can see, uploads without a job.

Every supervisor sweeps; two at once do some work twice, and no harm.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress

from deployments.contracts.jobs import JobStore, Visibility
from deployments.contracts.retrieval import VectorStore
from deployments.errors import CollectionNotFound, DependencyError
from deployments.ingestion.blobs import BlobStore
from deployments.ingestion.settings import SweepSettings

logger = logging.getLogger(__name__)

_JOBS_PAGE = 200


class Sweep:
    """Sweeps now and then, for as long as it runs."""

    def __init__(
        self,
        *,
        jobs: JobStore,
        visibility: Visibility,
        store: VectorStore,
        blobs: BlobStore,
        settings: SweepSettings | None = None,
        clock_s: Callable[[], float] = time.time,
    ) -> None:
        self._jobs = jobs
        self._visibility = visibility
        self._store = store
        self._blobs = blobs
        self._settings = settings or SweepSettings()
        self._clock_s = clock_s

    async def run(self) -> None:
        """Sweep until cancelled. Nothing that fails here may take a supervisor along."""
        blobs_at = time.monotonic()
        while True:
            await asyncio.sleep(self._settings.versions_s)
            try:
                await self.sweep_versions()
                if time.monotonic() >= blobs_at:
                    blobs_at = time.monotonic() + self._settings.blobs_s
                    await self.sweep_blobs()
            except DependencyError as error:
                logger.warning("sweep: %s; trying again", error.message)
            except Exception:
                logger.exception("sweep: trying again")

    async def sweep_versions(self) -> None:
        """Delete from the store the versions that no search can still be reading.

        Raises:
            DependencyError: the rest waits for the next time.
        """
        for collection, version in await self._visibility.due(self._clock_s()):
            with suppress(CollectionNotFound):
                await self._store.delete_version(collection, version)
            await self._visibility.swept(collection, version)

    async def sweep_blobs(self) -> None:
        """Delete the uploads of jobs whose record has expired: those can be resumed no more.

        Raises:
            DependencyError: the rest waits for the next time.
        """
        removed = await self._blobs.sweep(await self._known_jobs(), self._settings.blob_age_s)
        if removed:
            logger.info("sweep: removed the uploads of %d jobs", len(removed))

    async def _known_jobs(self) -> set[str]:
        known: set[str] = set()
        cursor: str | None = None
        while True:
            jobs, cursor = await self._jobs.page(limit=_JOBS_PAGE, cursor=cursor)
            known.update(job.id for job in jobs)
            if cursor is None:
                return known
