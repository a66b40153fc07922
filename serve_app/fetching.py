"""What callers name by URL, staged for ingestion like what they send."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

from deployments.errors import DeadlineExceeded, TooLarge
from deployments.ingestion.sources import Sources
from serve_app.schemas import SourceDocuments
from serve_app.settings import SourceArgs
from serve_app.uploads import Staging, check_metadata


async def stage_sources(
    asked: SourceDocuments, sources: Sources, staging: Staging, limits: SourceArgs
) -> None:
    """Stage every file that the URLs stand for.

    Raises:
        SourceForbidden, SourceNotFound, SourceUnavailable: what a URL stands for cannot be had.
        InvalidRequest, TooLarge, DeadlineExceeded: more than one request may bring.
    """
    metadata = check_metadata(asked.metadata)
    allowance = _Allowance(limits.max_request_bytes)
    try:
        async with asyncio.timeout(limits.request_timeout_s):
            for file in await sources.expand(asked.sources):
                async with aclosing(sources.stream(file)) as pieces:
                    await staging.add_source(
                        file.url, file.name, allowance.spent_on(pieces), metadata
                    )
    except TimeoutError as error:
        raise DeadlineExceeded(
            f"Fetching took longer than {limits.request_timeout_s:.0f} s; ask for fewer at a time."
        ) from error


class _Allowance:
    """The bytes that one request may bring, over all its files."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._left = max_bytes

    async def spent_on(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for piece in pieces:
            self._left -= len(piece)
            if self._left < 0:
                raise TooLarge(
                    f"The files have more than {self._max_bytes:,} bytes together.",
                    limit_bytes=self._max_bytes,
                )
            yield piece
